//! Commands on their way between cores: batches, loans of partitions, and who waits for what.
//!
//! Invariant: state machines without I/O; a partition has one owner at any time, by value.

pub mod batch;
pub mod cores;
pub mod loan;
pub mod multi;
