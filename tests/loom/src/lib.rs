//! What cores share without locks, compiled with loom's atomics: `ci/loom.sh` runs the tests.
//!
//! Invariant: these are the server's files, not copies of them.

#[path = "../../../src/base/letterbox.rs"]
pub mod letterbox;
#[path = "../../../src/base/mailbox.rs"]
pub mod mailbox;
#[path = "../../../src/base/turns.rs"]
pub mod turns;
