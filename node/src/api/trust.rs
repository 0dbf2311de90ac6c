//! `TrustRegistry`: the leaves by which anybody can say who may do what, and under whom.
//!
//! The node runs the walk of `sillok_ledger::authority` and proves every leaf that it read, present or absent. It says
//! neither yes nor no: the caller runs the same walk on the proof and finds out (PROTOCOL §5.1).

use super::Api;
use super::moment::Asked;
use super::problem::Refused;
use crate::storage::StateAt;
use sillok_ledger::answer::{self, Recorder};
use sillok_ledger::{StateFault, TreeKey, authority};
use sillok_proto::v1::trust_registry_server::TrustRegistry;
use sillok_proto::{Hash, v1};
use tonic::{Request, Response, Status};

#[tonic::async_trait]
impl TrustRegistry for Api {
    async fn get_authority(
        &self,
        request: Request<v1::GetAuthorityRequest>,
    ) -> Result<Response<v1::StateAnswer>, Status> {
        let request = request.into_inner();
        let organization = read_organization(&request.organization)?;
        let action = read_action(request.action)?;
        let resource = read_resource(action, request.resource)?;
        let asked = Asked::read(request.at)?;
        self.tip_at(request.min_height.max(asked.height()).max(1)).await?;
        let api = self.clone();
        let read = move || {
            // Grants are never rewritten for a time that has passed: what is known says all about it.
            let place = api.place(asked, false)?;
            api.answer(&place, |state, time_ms| {
                recorded(state, |view| {
                    authority::chain(view, &organization, action, &resource, time_ms)
                })
            })
        };
        self.blocking(read).await?.map(Response::new)
    }

    async fn get_grants(
        &self,
        request: Request<v1::GetGrantsRequest>,
    ) -> Result<Response<v1::StateProof>, Status> {
        let request = request.into_inner();
        let organization = read_organization(&request.organization)?;
        self.proof_at_tip(request.min_height, move |state| {
            recorded(state, |view| answer::grants(view, &organization))
        })
        .await
    }

    async fn get_type(
        &self,
        request: Request<v1::GetTypeRequest>,
    ) -> Result<Response<v1::StateProof>, Status> {
        let request = request.into_inner();
        let name = Hash::from_slice(&request.r#type).ok_or_else(|| {
            Refused::malformed(
                "INVALID_TYPE",
                format!("the name of a type has 32 bytes, not {}", request.r#type.len()),
            )
        })?;
        self.proof_at_tip(request.min_height, move |state| {
            recorded(state, |view| answer::type_and_version(view, &name, request.version))
        })
        .await
    }
}

/// The keys that a question reads of a state.
pub(crate) fn recorded<T>(
    state: &StateAt<'_>,
    ask: impl Fn(&Recorder<'_, StateAt<'_>>) -> Result<T, StateFault>,
) -> Result<Vec<TreeKey>, StateFault> {
    let recorder = Recorder::new(state);
    ask(&recorder)?;
    Ok(recorder.into_keys())
}

fn read_organization(digest: &[u8]) -> Result<Hash, Refused> {
    Hash::from_slice(digest).ok_or_else(|| {
        Refused::malformed(
            "INVALID_ORGANIZATION",
            format!("the digest of an organization has 32 bytes, not {}", digest.len()),
        )
    })
}

fn read_action(number: i32) -> Result<v1::Action, Refused> {
    v1::Action::try_from(number)
        .ok()
        .filter(|action| *action != v1::Action::Unspecified)
        .ok_or_else(|| {
            Refused::malformed("INVALID_ACTION", format!("there is no action {number}; name one"))
        })
}

fn read_resource(action: v1::Action, resource: Vec<u8>) -> Result<Vec<u8>, Refused> {
    use v1::Action::{Countersign, Register, Submit};
    let refuse = |message: String| Err(Refused::malformed("INVALID_RESOURCE", message));
    match resource.len() {
        0 => Ok(resource),
        _ if matches!(action, Register | Submit | Countersign) => {
            refuse("the action is on nothing; leave the resource out".to_owned())
        }
        32 => Ok(resource),
        len => refuse(format!("a resource has 32 bytes or none, not {len}")),
    }
}

impl Api {
    async fn proof_at_tip(
        &self,
        min_height: u64,
        keys: impl Fn(&StateAt<'_>) -> Result<Vec<TreeKey>, StateFault> + Send + 'static,
    ) -> Result<Response<v1::StateProof>, Status> {
        self.tip_at(min_height.max(1)).await?;
        let api = self.clone();
        let read = move || {
            let answer = api.answer(&api.place(Asked::Tip, false)?, |state, _| keys(state))?;
            Ok(Response::new(answer.proof.unwrap_or_default()))
        };
        self.blocking(read).await?
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use v1::Action::{Issue, Submit};

    #[test]
    fn a_question_names_an_action_and_what_it_is_on() {
        assert_eq!(read_action(Issue.into()), Ok(Issue));
        assert!(read_action(0).is_err() && read_action(99).is_err());
        assert_eq!(read_resource(Issue, vec![]), Ok(vec![]));
        assert_eq!(read_resource(Issue, vec![7; 32]), Ok(vec![7; 32]));
        assert!(read_resource(Issue, vec![7; 31]).is_err());
        assert_eq!(read_resource(Submit, vec![]), Ok(vec![]));
        assert!(read_resource(Submit, vec![7; 32]).is_err(), "submitting is on nothing");
        assert!(read_organization(&[1; 33]).is_err());
    }
}
