//! Every question that a node answers. None is about one credential, and none about all that a person has.

use prost::Message;
use prost_types::FileDescriptorSet;
use std::collections::BTreeMap;

/// C4: each question with the fields that it is put by. A new one is a new line here, read by somebody who asks whether it
/// tells which credential is meant, or gathers what is one person's.
#[test]
fn c4_no_question_is_about_one_credential_or_about_all_of_a_person() {
    let files = FileDescriptorSet::decode(sillok_proto::DESCRIPTORS).unwrap();
    let ours = || files.file.iter().filter(|file| file.package() == "sillok.v1");
    let fields = |name: &str| {
        let short = name.rsplit('.').next().unwrap();
        let mut messages = ours().flat_map(|file| &file.message_type);
        let message = messages.find(|message| message.name() == short).unwrap();
        message.field.iter().map(|field| field.name()).collect::<Vec<_>>().join(" ")
    };
    let mut asked = BTreeMap::new();
    for service in ours().flat_map(|file| &file.service) {
        for method in &service.method {
            let name = format!("{}.{}", service.name(), method.name());
            asked.insert(name, fields(method.input_type()));
        }
    }
    let listed = [
        // A DID is no credential, and no credential names one (PROTOCOL §4.3).
        ("DidResolver.History", "did min_height"),
        ("DidResolver.Resolve", "did min_height version_id version_time"),
        // A bucket, of as many DIDs as the caller wants to hide among.
        ("DidResolver.ResolveBucket", "prefix prefix_bits k min_height"),
        ("Ledger.GetBlock", "height"),
        ("Ledger.GetEvidence", "from_height count"),
        ("Ledger.GetGenesis", ""),
        ("Ledger.GetHistoryProof", "height at_height"),
        ("Ledger.GetMembers", "min_height proposal_hashes"),
        ("Ledger.GetProposals", ""),
        // Leaves by key; those of chunks and of enrollments are refused.
        ("Ledger.GetState", "keys min_height"),
        ("Ledger.GetStatus", ""),
        ("Ledger.GetTransaction", "transaction_id wait_ms"),
        ("Ledger.GetTrustBundle", "from_height"),
        ("Ledger.GetValidators", "height"),
        ("Ledger.Simulate", "transaction submitter roles"),
        ("Ledger.Submit", "transaction wait_ms prepared_id"),
        ("Ledger.Subscribe", "after"),
        // Signed, by the issuer or an auditor: what it holds are the lines below.
        ("PrivateStatus.OwnEnrollment", "statement signature min_height"),
        ("PrivateStatus.OwnEntries", "statement signature min_height"),
        ("PrivateStatus.PrivateContents", "statement signature min_height"),
        // The smallest is a chunk of 8,192 entries.
        ("StatusRegistry.ExportList", "list min_height at"),
        ("StatusRegistry.GetChunks", "list chunks min_height at"),
        ("StatusRegistry.GetList", "lists min_height"),
        ("StatusRegistry.WatchList", "list after_height"),
        ("TrustRegistry.GetAuthority", "organization action resource min_height at"),
        ("TrustRegistry.GetGrants", "organization min_height"),
        ("TrustRegistry.GetType", "type version min_height"),
    ];
    assert_eq!(asked, listed.map(|(name, fields)| (name.to_owned(), fields.to_owned())).into());
    // The issuer too names its entries, or one type and one handle: it asks for no person's credentials.
    assert_eq!(
        fields("ReadStatement"),
        "organization header_height header_hash entries enrollment contents"
    );
    assert_eq!(fields("ReadEntries"), "list indexes");
    assert_eq!(fields("ReadEnrollment"), "issuer type handle");
    assert_eq!(fields("ReadContents"), "transaction_id");
}
