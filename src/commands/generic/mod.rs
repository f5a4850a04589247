//! Commands of no type: they treat every value alike.
//!
//! Invariant: nothing here but DUMP, RESTORE and MIGRATE looks into a value; what a key holds matters to TYPE,
//! OBJECT and the TYPE option of SCAN only by its name. Source: the generic group of the command
//! reference.

pub mod dump;
pub mod expire;
pub mod keys;
pub mod migrate;
pub mod object;
pub mod scan;
pub mod sort;
pub mod transfer;
