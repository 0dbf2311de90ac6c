//! The simulated world: virtual time, a bad network, crashes, liars, and checkers that know nothing of the faults.
//!
//! Compiled only for tests and for `sillok-devnet`. One seed decides everything.

pub use crate::mutant::Mutant;
