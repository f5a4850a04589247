//! Lua: one interpreter a core, its sandbox, the scripts that EVAL and its kin run.
//!
//! Invariant: a script reaches data only through the `Caller` that runs it; nothing that one script
//! does stays for the next but what it wrote to the keyspace.
//! Source: Lua 5.1 reference manual; Redis' "Scripting with Lua".

pub mod interrupt;
