//! The schema is closed: there is no field into which a name, a number, a photo or free text could be put.

use crate::support::Schema;
use prost_types::field_descriptor_proto::Type;
use std::collections::{BTreeMap, BTreeSet};

/// A1, B2, C12: the only texts of the record are those of organizations and of the network itself. All else is keys,
/// hashes, numbers and members of closed sets.
#[test]
fn a1_b2_c12_the_only_texts_are_those_of_organizations_and_of_the_network() {
    let schema = Schema::record();
    let mut texts = BTreeSet::new();
    for (name, message) in &schema.messages {
        for field in &message.field {
            if field.r#type() == Type::String {
                texts.insert(format!("{name}.{}", field.name()));
            }
        }
    }
    let allowed = [
        "Genesis.network",
        "GenesisOrganization.name",
        "NewGrant.name",
        "Organization.name",
        "Parameters.list_base",
        "Service.endpoint",
    ];
    assert_eq!(texts, allowed.map(str::to_owned).into());
}

/// What an operation, a document or a transaction can say, field by field. A new field is a new line here, read by
/// somebody who asks what a person could put into it.
#[test]
fn a1_a18_every_field_of_a_transaction_is_on_this_list() {
    let schema = Schema::record();
    let mut fields = BTreeMap::new();
    let mut left = vec!["Transaction".to_owned()];
    while let Some(name) = left.pop() {
        if fields.contains_key(&name) {
            continue;
        }
        let message = schema.message(&name);
        let mut names: Vec<&str> = Vec::new();
        for field in &message.field {
            names.push(field.name());
            if field.r#type() == Type::Message {
                left.push(field.type_name().rsplit('.').next().unwrap().to_owned());
            }
        }
        fields.insert(name, names.join(" "));
    }
    let listed = [
        ("Approval", "expires_ms signature"),
        ("Approve", "operator proposal_hash"),
        ("BoundKey", "key relationships expires_ms"),
        (
            "Change",
            "admit_operator replace_operator remove_operator admit_observer remove_observer accredit \
             withdraw set_parameters",
        ),
        ("CreateDid", "did kind authority recovery document_hash"),
        ("DeactivateDid", "did previous"),
        ("DidDocument", "keys services"),
        ("Join", "operator validator_key header_height header_hash"),
        ("KeySignature", "key_id signature"),
        ("Observer", "node_key archive"),
        (
            "Operation",
            "create_did update_did set_device deactivate_did propose approve join rekey accredit \
             withdraw publish_type create_list set_status set_enrollment",
        ),
        ("Operator", "organization validator_key node_key governance_key archive"),
        ("OperationSignatures", "any_submitter valid_until_ms whole_list signatures"),
        (
            "PrivateContent",
            "salt acting_role approvers channel reason assurance_level organization_code handles \
             enrollment padding",
        ),
        ("PrivateOperationSignatures", "operation acting_role approvals holder_keys"),
        ("PrivateSignatures", "salt operations"),
        ("Proposal", "expires_ms change"),
        ("Propose", "operator proposal"),
        ("PublicKey", "algorithm point"),
        ("PublicSignatures", "submitter operations"),
        ("RecoveryChange", "rule"),
        ("RecoveryRule", "countersigner"),
        ("Rekey", "operator validator_key"),
        ("RemoveObserver", "node_key"),
        ("RemoveOperator", "organization"),
        ("Service", "kind endpoint"),
        ("SetDevice", "did previous document_hash"),
        ("Transaction", "body documents private_contents signatures private_signatures"),
        ("TransactionBody", "submitter valid_until_ms operations"),
        ("Accredit", "grantor grant"),
        (
            "NewGrant",
            "organization action resource from_ms until_ms gained_hourly suspended_hourly ended_hourly name",
        ),
        ("Withdraw", "by grant"),
        ("EndedGrant", "organization action resource at_ms"),
        ("PublishType", "publisher type version nonce content"),
        ("TypeVersion", "schema_hash render_hash policy"),
        (
            "TypePolicy",
            "exclusive reasons channels assurance_levels key_algorithms purposes validity_max_ms renewal_window_ms reservation_max_ms approval_max_ms backdating_max_ms grace_max_ms reissue_after_expiry",
        ),
        ("ReasonRule", "reason approvals replaces"),
        ("CreateList", "issuer list type nonce capacity max_age_s"),
        ("SetStatus", "list state indexes grace_until_ms invalid_from_ms content_hash"),
        ("SetEnrollment", "issuer type content_hash"),
        (
            "EnrollmentRequest",
            "change number one_time_key deadline_ms valid_until_ms new_handle enrollment_key grace_until_ms invalid_from_ms",
        ),
        (
            "Parameters",
            "valid_until_window_ms heartbeat_ms clock_behind_ms clock_ahead_ms trusting_period_ms block_bytes_max block_state_writes_max block_signature_checks_max archives_min list_base previous",
        ),
        ("UpdateDid", "did previous document_hash recovery"),
    ];
    // A18: neither here nor in any leaf is an amount, a balance, a fee or a price.
    let listed: BTreeMap<String, String> =
        listed.iter().map(|(name, names)| ((*name).to_owned(), (*names).to_owned())).collect();
    assert_eq!(fields, listed);
}

/// A23, B3: whoever shows a credential and whoever verifies one writes nothing: every write is one of these operations.
#[test]
fn a23_b3_every_write_is_one_of_these_operations() {
    let schema = Schema::record();
    let operation = schema.message("Operation");
    assert_eq!(operation.oneof_decl.len(), 1, "one of them, and nothing beside it");
    let kinds: Vec<&str> = operation.field.iter().map(|field| field.type_name()).collect();
    let names = [
        "CreateDid",
        "UpdateDid",
        "SetDevice",
        "DeactivateDid",
        "Propose",
        "Approve",
        "Join",
        "Rekey",
        "Accredit",
        "Withdraw",
        "PublishType",
        "CreateList",
        "SetStatus",
        "SetEnrollment",
    ];
    assert_eq!(kinds, names.map(|name| format!(".sillok.v1.{name}")));
    assert!(operation.field.iter().all(|field| field.oneof_index == Some(0)));
}

#[test]
fn a18_no_fee_no_field_of_the_record_is_an_amount() {
    let money = ["amount", "balance", "fee", "gas", "price", "token", "coin", "value_transferred"];
    for (name, message) in &Schema::record().messages {
        for field in &message.field {
            let parts: Vec<&str> = field.name().split('_').collect();
            assert!(!parts.iter().any(|part| money.contains(part)), "{name}.{}", field.name());
        }
    }
}

/// Maps, floats and groups have no one encoding; explicit presence would let a default be written or left out.
#[test]
fn there_is_no_type_with_two_encodings_of_one_value() {
    let allowed = [
        Type::Bytes,
        Type::String,
        Type::Uint32,
        Type::Uint64,
        Type::Bool,
        Type::Enum,
        Type::Message,
    ];
    for (name, message) in &Schema::record().messages {
        assert!(message.nested_type.is_empty(), "{name} has nested messages, which maps are");
        assert!(message.enum_type.is_empty() && message.extension.is_empty(), "{name}");
        for field in &message.field {
            let at = format!("{name}.{}", field.name());
            assert!(allowed.contains(&field.r#type()), "{at} is of type {:?}", field.r#type());
            assert!(!field.proto3_optional(), "{at} has explicit presence");
            let unpacked = field.options.as_ref().is_some_and(|options| options.packed.is_some());
            assert!(!unpacked, "{at} chooses how it is packed");
        }
    }
}

#[test]
fn every_message_is_reached_without_recursion_and_at_most_8_deep() {
    fn depth(schema: &Schema, name: &str, above: &[String]) -> usize {
        let name = name.rsplit('.').next().unwrap().to_owned();
        assert!(!above.contains(&name), "{name} contains itself, through {above:?}");
        let path = [above, std::slice::from_ref(&name)].concat();
        let inner =
            schema.message(&name).field.iter().filter(|field| field.r#type() == Type::Message);
        1 + inner.map(|field| depth(schema, field.type_name(), &path)).max().unwrap_or(0)
    }
    let schema = Schema::record();
    let deepest =
        schema.messages.keys().map(|name| (depth(schema, name, &[]), name)).max().unwrap();
    assert!(deepest.0 <= 8, "{deepest:?}");
}

/// An enum is a closed set: zero says nothing, and every other number is named once.
#[test]
fn enums_begin_with_unspecified_and_have_no_two_names_for_one_number() {
    for (name, set) in &Schema::record().enums {
        let mut numbers: Vec<i32> = set.value.iter().map(|value| value.number()).collect();
        assert!(set.value[0].name().ends_with("_UNSPECIFIED") && numbers[0] == 0, "{name}");
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), set.value.len(), "{name}");
    }
}
