//! What runs long inside an interpreter asks here whether it may go on.
//!
//! Invariant: once a script was told to end, every further question is answered with an error; so a
//! loop around `pcall` ends as well.
//!
//! A function that is written in Rust and loops over what a script gave it calls `check` every few
//! thousand steps: the interpreter's own hook does not fire inside of it. It says what went wrong
//! with `mlua::Error::runtime(text)`, without a position; the engine adds that, as `luaL_error` would.

use std::cell::Cell;
use std::rc::Rc;

use mlua::{Error, Lua, Result};

/// Whether a script goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It may.
    GoOn,
    /// It was killed.
    Killed,
}

/// What a killed script is told. Source: SCRIPT KILL.
pub const KILLED: &str = "Script killed by user with SCRIPT KILL...";

/// Whether the script that runs in an interpreter was killed; kept in the interpreter's data.
#[derive(Clone, Debug, Default)]
pub struct Pulse(Rc<Cell<bool>>);

/// Lets the core breathe if the script has run for long; an error if the script is to end.
pub fn check(lua: &Lua) -> Result<()> {
    let killed = lua.app_data_ref::<Pulse>().is_some_and(|pulse| pulse.0.get());
    if killed { Err(Error::runtime(KILLED)) } else { Ok(()) }
}
