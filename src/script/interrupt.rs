//! Whether a script goes on.
//!
//! Invariant: once a script was told to end, it is told so again and again; so a loop around `pcall`
//! ends as well. The interpreter asks every so many instructions, and the libraries that are written
//! in Rust after as much work, through the interpreter's hook.

/// Whether a script goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It does.
    GoOn,
    /// It was killed.
    Killed,
}

/// What a killed script is told. Source: SCRIPT KILL.
pub const KILLED: &str = "Script killed by user with SCRIPT KILL...";
