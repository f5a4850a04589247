//! What outlives the process.
//!
//! Invariant: no file, no socket and no clock here; bytes come and go through [`storage::Storage`].

pub mod simulated;
pub mod storage;
