//! What Lua calls by itself: the hook that watches a script, and the handler of its errors.
//!
//! Invariant: both are in two parts, as the functions of `api.rs` are.

#![allow(unsafe_code)]

use std::ffi::{CStr, c_int};

use mlua::ffi::{self, lua_State};

use super::api::{Exit, leave, raise};
use super::convert::{self, push_bytes};
use super::interrupt::{KILLED, Verdict};
use super::{sandbox, state};

/// Instructions between two looks at the clock, as in stock servers.
const HOOK_INSTRUCTIONS: c_int = 100_000;

/// What Lua calls every so many instructions: the core breathes, or the script ends.
pub(super) unsafe extern "C-unwind" fn hook(lua: *mut lua_State, _: *mut ffi::lua_Debug) {
    // SAFETY: nothing to drop here; the hook may raise. A hook has room for 20 values.
    unsafe {
        if state::of(lua).interrupt() == Verdict::Killed {
            end_soon(lua);
            let exit = killed(lua);
            leave(lua, exit);
        }
    }
}

/// Has the hook called before every line from now on: what the script catches comes again at once.
pub(super) unsafe fn end_soon(lua: *mut lua_State) {
    let mask = ffi::LUA_MASKLINE | ffi::LUA_MASKCOUNT;
    // SAFETY: both are threads of an interpreter of ours.
    unsafe {
        ffi::lua_sethook(lua, Some(hook), mask, 1);
        ffi::lua_sethook(state::of(lua).main.get(), Some(hook), mask, 1);
    }
}

unsafe fn killed(lua: *mut lua_State) -> Exit {
    // SAFETY: a `Lenient` is held.
    unsafe {
        let _lenient = state::of(lua).memory.lenient();
        raise(lua, format!("ERR {KILLED}").as_bytes())
    }
}

/// Has the hook called as usual.
///
/// # Safety
/// The interpreter is one of ours.
pub(super) unsafe fn arm_hook(lua: *mut lua_State) {
    // SAFETY: the hook is made for every interpreter of ours.
    unsafe { ffi::lua_sethook(lua, Some(hook), ffi::LUA_MASKCOUNT, HOOK_INSTRUCTIONS) };
}

/// Makes an error object of whatever was raised, and notes where. Source: what a stock server calls
/// `__redis__err__handler`.
pub(super) unsafe extern "C-unwind" fn error_handler(lua: *mut lua_State) -> c_int {
    // SAFETY: nothing to drop here.
    unsafe {
        let exit = describe_error(lua);
        leave(lua, exit)
    }
}

unsafe fn describe_error(lua: *mut lua_State) -> Exit {
    // SAFETY: a `Lenient` is held; a function has room for 20 values; `lua_getinfo` fills what it is
    // asked for, and its strings live as long as the function that they are about.
    unsafe {
        let _lenient = state::of(lua).memory.lenient();
        ffi::lua_settop(lua, 1);
        if ffi::lua_type(lua, 1) != ffi::LUA_TTABLE {
            let mut text = b"ERR ".to_vec();
            text.extend_from_slice(&sandbox::text_of(lua, 1));
            ffi::lua_createtable(lua, 0, 4);
            convert::set_field(lua, b"err", &text);
            ffi::lua_replace(lua, 1);
        }
        let mut at: ffi::lua_Debug = std::mem::zeroed();
        let mut found = false;
        for level in 1..=2 {
            found = ffi::lua_getstack(lua, level, &raw mut at) != 0
                && ffi::lua_getinfo(lua, c"nSl".as_ptr(), &raw mut at) != 0;
            if !found || CStr::from_ptr(at.what) != c"C" {
                break;
            }
        }
        if found && !sandbox::is_protected(lua, 1) {
            convert::set_field(lua, b"source", CStr::from_ptr(at.source).to_bytes());
            push_bytes(lua, b"line");
            ffi::lua_pushnumber(lua, f64::from(at.currentline));
            ffi::lua_rawset(lua, -3);
        }
    }
    Exit::Results(1)
}
