//! The rules of a credential type, read from its leaves.
//!
//! A type is two leaves and more: who owns it and which version is the latest, and one leaf for each version, which is
//! written once and never again. The rules of the latest version hold for whatever happens from then on; a credential
//! is read by the version that it names.
//!
//! Like [`crate::authority`] this reads leaves and nothing else, so a client runs it on the leaves of a proof.
//! Deliberately absent: who may publish (`operation/publish_type.rs`).

use crate::overlay::read;
use crate::{StateFault, StateView, TreeKey};
use sillok_proto::{Hash, v1};

/// The type of this name, and its latest version; `None` if nobody published it.
///
/// # Errors
///
/// [`StateFault`] if the view could not be read, or holds a type without its latest version.
pub fn latest_type<V: StateView + ?Sized>(
    view: &V,
    name: &Hash,
) -> Result<Option<(v1::CredentialType, v1::TypeVersionRecord)>, StateFault> {
    let Some(credential_type): Option<v1::CredentialType> =
        read(view, &TreeKey::credential_type(name))?
    else {
        return Ok(None);
    };
    let record = type_version(view, name, credential_type.version)?
        .ok_or_else(|| StateFault::new("a credential type has no latest version"))?;
    Ok(Some((credential_type, record)))
}

/// This version of a type; `None` if it was not published. What is once here never changes.
///
/// # Errors
///
/// [`StateFault`] if the view could not be read.
pub fn type_version<V: StateView + ?Sized>(
    view: &V,
    name: &Hash,
    version: u32,
) -> Result<Option<v1::TypeVersionRecord>, StateFault> {
    read(view, &TreeKey::type_version(name, version))
}
