//! What outlives the process: values as bytes (RDB, DUMP), and the storage that they go to.
//!
//! Invariant: codecs over bytes; no file, no socket and no clock here. What is decoded may come from
//! anybody: it is an error or a sound value, and memory grows with the bytes at hand, not with what
//! they announce. Files are reached through [`storage::Storage`] only.

pub mod aof;
pub mod dump;
pub mod load;
pub mod migration;
pub mod rdb;
pub mod save;
pub mod simulated;
pub mod storage;
