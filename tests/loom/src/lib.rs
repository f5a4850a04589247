//! `src/base/mailbox.rs`, compiled with loom's atomics: `ci/loom.sh` runs its tests.
//!
//! Invariant: this is the server's file, not a copy of it.

#[path = "../../../src/base/mailbox.rs"]
pub mod mailbox;
