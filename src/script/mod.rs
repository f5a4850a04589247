//! Lua: the interpreter that scripts and functions run in.
//!
//! Invariant: the only user of mlua.

#![allow(unsafe_code)]

pub mod lib;
