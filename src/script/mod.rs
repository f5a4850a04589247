//! Lua: one interpreter a core, its sandbox, the scripts that EVAL and its kin run.
//!
//! Invariant: a script reaches data only through the `Caller` that runs it; nothing that one script
//! does stays for the next but what it wrote to the keyspace. The folder is the only user of mlua,
//! and of Lua's C interface through it; its public face is safe.
//! Source: Lua 5.1 reference manual; Redis' "Scripting with Lua".
//!
//! **How C and Rust share a stack.** Lua 5.1 raises errors with `longjmp`, which skips destructors. So
//! a function here that Lua calls is in two parts: an outer one without anything to drop, which alone
//! raises, and an inner one that only says whether to. What the inner one asks of Lua cannot raise:
//! it takes no path through metamethods, and memory is never refused while it runs (`state::Lenient`).

mod api;
mod base;
mod caller;
mod convert;
pub mod engine;
mod hook;
pub mod interrupt;
pub mod lib;
pub mod library;
pub mod registry;
mod sandbox;
pub mod shebang;
mod state;

pub use caller::{Caller, Refusal, Words};

pub use convert::Errors;
pub use engine::{Call, Engine, Function, Limits};
pub use interrupt::Verdict;
pub use library::{Change, Declared, FunctionId, Functions, Library, Policy, RunningFunction};
pub use registry::{Reach, Script, ScriptId, Scripts, Sha};
pub use shebang::ScriptFlags;
