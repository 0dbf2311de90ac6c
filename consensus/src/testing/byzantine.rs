//! Traitors, each named after its sin.

pub(super) mod equivocator;
