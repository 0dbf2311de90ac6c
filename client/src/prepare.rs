//! Preparing a transaction: the request that is signed before a person confirms (PROTOCOL §5.3).
//!
//! The submitter signs the id under a tag of its own, so that this is no submission; and so does an acting role that has
//! not signed the transaction yet. What a node answers is its word, as every refusal is; what it confirms is the id, which
//! is computed here.

use crate::connection::CallError;
use crate::identity::Identity;
use crate::keys::{SecretKey, SecretKeyError};
use crate::read::{Client, ReadError};
use crate::transaction::{BuildError, PartlySigned};
use crate::write::WriteError;
use sillok_did_method::{SUBMIT, prepare_string, transaction_id};
use sillok_proto::{Hash, encode, v1};
use std::time::Duration;

/// The request to try `transaction`, with the signatures that it has so far, and the id to confirm it by. `roles` are
/// keys of acting roles that neither bring it nor have signed it yet.
///
/// # Errors
///
/// [`SecretKeyError`] if a key cannot sign.
pub fn simulate_request(
    genesis_hash: &Hash,
    transaction: &v1::Transaction,
    submitter: &SecretKey,
    roles: &[&SecretKey],
) -> Result<(v1::SimulateRequest, Hash), SecretKeyError> {
    // Without a body it is the empty one's, which a node refuses.
    let body = transaction.body.clone().unwrap_or_default();
    let id = transaction_id(genesis_hash, &body);
    let string = prepare_string(genesis_hash, &id);
    let roles = roles.iter().map(|key| key.key_signature(&string)).collect::<Result<_, _>>()?;
    let submitter = Some(submitter.key_signature(&string)?);
    Ok((v1::SimulateRequest { transaction: encode(transaction), submitter, roles }, id))
}

impl Client {
    /// Has a node try the transaction with the signatures that it has so far, and keep nothing: what it would do, every
    /// rule that it breaks, and who has still to sign. It is one node's word.
    ///
    /// # Errors
    ///
    /// [`WriteError`]; a rule that the transaction breaks is no error.
    pub async fn prepare(
        &self,
        partly: &PartlySigned,
        submitter: &Identity,
    ) -> Result<v1::SimulateResponse, WriteError> {
        let key = self.acting_key(submitter, SUBMIT).await?;
        let (request, _) = simulate_request(partly.genesis_hash(), partly.transaction(), &key, &[])
            .map_err(BuildError::from)?;
        let called = self
            .connection()
            .call(Duration::ZERO, |node| {
                let request = request.clone();
                async move { node.ledger().simulate(request).await }
            })
            .await;
        match called {
            Ok((response, _)) => Ok(response),
            Err(CallError::Refused { problem, .. }) => Err(WriteError::Refused { problem }),
            Err(error) => Err(ReadError::from(error).into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::KeyAlgorithm::{Ed25519, P256};

    #[test]
    fn a_preparation_is_signed_by_all_and_is_no_submission() {
        let genesis = Hash([1; 32]);
        let [submitter, role] =
            [Ed25519, P256].map(|algorithm| SecretKey::generate(algorithm).unwrap());
        let body = v1::TransactionBody { submitter: vec![2; 32], ..Default::default() };
        let transaction = v1::Transaction { body: Some(body.clone()), ..Default::default() };
        let (request, id) = simulate_request(&genesis, &transaction, &submitter, &[&role]).unwrap();
        assert_eq!(id, transaction_id(&genesis, &body));
        assert_eq!(request.transaction, encode(&transaction));
        let string = prepare_string(&genesis, &id);
        let signatures = [request.submitter.unwrap(), request.roles[0].clone()];
        for (key, one) in [&submitter, &role].into_iter().zip(&signatures) {
            sillok_did_method::verify(key.public(), &string, &one.signature).unwrap();
            let submitted = sillok_did_method::submitter_string(&genesis, &id);
            assert!(sillok_did_method::verify(key.public(), &submitted, &one.signature).is_err());
        }
    }
}
