//! What values are as bytes outside of the process: RDB, and what DUMP makes of it.
//!
//! Invariant: codecs over bytes; no files, no clock. What is decoded may come from anybody: it is an
//! error or a sound value, and memory grows with the bytes at hand, not with what they announce.

pub mod dump;
pub mod rdb;
