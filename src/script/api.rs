//! The functions of the `redis` table.
//!
//! Invariant: a function is in two parts where it has anything to drop: the inner one returns an
//! `Exit`, the outer one raises. Texts of errors are those of a stock server.
//! Source: "Lua API reference".

#![allow(unsafe_code)]

use std::ffi::{CStr, c_int};

use mlua::ffi::{self, lua_State};
use sha1::{Digest, Sha1};

use super::caller::Words;
use super::convert::{self, bytes_at, push_bytes, push_error, push_reply};
use super::hook::end_soon;
use super::interrupt::Verdict;
use super::state::{self, Buffers, State};
use crate::base::number::format_f64_shortest;
use crate::base::words::c_string;
use crate::observe::log::Level;
use crate::resp::Proto;
use crate::resp::request::ArgRange;

/// How a function goes back to Lua.
pub(super) enum Exit {
    /// With so many results on the top.
    Results(c_int),
    /// By raising the value on the top.
    Raise,
}

/// Commands between two looks at the clock: they take longer than instructions.
const CALLS_PER_INTERRUPT: u32 = 1000;
/// What a script is told that has used up its memory; Lua's own words.
const NO_MEMORY: &CStr = c"not enough memory";

/// Leaves a function whose inner part has ended.
///
/// # Safety
/// The calling frame has nothing to drop.
#[inline]
pub(super) unsafe fn leave(lua: *mut lua_State, exit: Exit) -> c_int {
    // SAFETY: the inner part has left its results or its error on the top. No `Lenient` is left.
    unsafe {
        if state::of(lua).memory.is_over() {
            ffi::lua_gc(lua, ffi::LUA_GCCOLLECT, 0);
            if state::of(lua).memory.is_over() {
                ffi::lua_pushlstring_(lua, NO_MEMORY.as_ptr(), NO_MEMORY.count_bytes());
                ffi::lua_error(lua);
            }
        }
        match exit {
            Exit::Results(count) => count,
            Exit::Raise => ffi::lua_error(lua),
        }
    }
}

/// Leaves an error for the outer part to raise.
///
/// # Safety
/// A `Lenient` is held, and there is room for three more.
pub(super) unsafe fn raise(lua: *mut lua_State, text: &[u8]) -> Exit {
    // SAFETY: a function has room for 20 values from the start; callers hold a `Lenient`.
    unsafe { push_error(lua, text) };
    Exit::Raise
}

/// redis.call
pub(super) unsafe extern "C-unwind" fn call(lua: *mut lua_State) -> c_int {
    // SAFETY: nothing to drop here.
    unsafe {
        let exit = run_command(lua, true);
        leave(lua, exit)
    }
}

/// redis.pcall
pub(super) unsafe extern "C-unwind" fn pcall_command(lua: *mut lua_State) -> c_int {
    // SAFETY: nothing to drop here.
    unsafe {
        let exit = run_command(lua, false);
        leave(lua, exit)
    }
}

unsafe fn run_command(lua: *mut lua_State, raises: bool) -> Exit {
    // SAFETY: called by Lua in an interpreter of ours; everything is done under a `Lenient`.
    unsafe {
        let state = state::of(lua);
        let _lenient = state.memory.lenient();
        let mut buffers = state.buffers.take();
        let failed = match take_words(lua, &mut buffers) {
            Ok(()) => call_and_push(lua, state, &mut buffers),
            Err(text) => {
                push_error(lua, text);
                true
            }
        };
        buffers.keep_small();
        state.buffers.set(buffers);
        if failed && raises { Exit::Raise } else { Exit::Results(1) }
    }
}

/// Runs the command whose words were taken, and pushes what it answers. True if that is an error.
unsafe fn call_and_push(lua: *mut lua_State, state: &State, buffers: &mut Buffers) -> bool {
    let Buffers { words, ranges, replies } = buffers;
    // SAFETY: the caller lives as long as `Engine::run`, in which this is; `is_calling` keeps the hook
    // of an interpreter that it might wake from using it meanwhile. A `Lenient` is held.
    unsafe {
        let Some(mut caller) = state.caller.get().filter(|_| !state.is_calling.get()) else {
            push_error(lua, b"ERR redis.call/pcall can only be called inside a script invocation");
            return true;
        };
        state.is_calling.set(true);
        let words = Words { bytes: words, ranges };
        let outcome = caller.as_mut().call(words, state.proto.get(), replies);
        state.is_calling.set(false);
        let calls = state.calls.get() + 1;
        state.calls.set(if calls == CALLS_PER_INTERRUPT { 0 } else { calls });
        if calls == CALLS_PER_INTERRUPT && state.interrupt() == Verdict::Killed {
            end_soon(lua);
        }
        match outcome {
            Ok(()) => push_reply(lua, replies),
            Err(refusal) => {
                push_error(lua, &refusal.0);
                convert::mark_counted(lua);
                true
            }
        }
    }
}

/// Takes the arguments off the stack as the words of a command.
unsafe fn take_words(lua: *mut lua_State, buffers: &mut Buffers) -> Result<(), &'static [u8]> {
    buffers.clear();
    // SAFETY: only places up to the top are looked at; bytes are copied before they are popped.
    unsafe {
        let count = ffi::lua_gettop(lua);
        if count == 0 {
            return Err(b"ERR Please specify at least one argument for this redis lib call");
        }
        for at in 1..=count {
            let start = buffers.words.len();
            match ffi::lua_type(lua, at) {
                ffi::LUA_TNUMBER => write_number(&mut buffers.words, ffi::lua_tonumber(lua, at)),
                ffi::LUA_TSTRING => {
                    buffers.words.extend_from_slice(bytes_at(lua, at).unwrap_or_default());
                }
                _ => {
                    ffi::lua_settop(lua, 0);
                    return Err(b"ERR Lua redis lib command arguments must be strings or integers");
                }
            }
            let len = buffers.words.len() - start;
            let (Ok(start), Ok(len)) = (u32::try_from(start), u32::try_from(len)) else {
                ffi::lua_settop(lua, 0);
                return Err(b"ERR The arguments of a command in a script are too large");
            };
            buffers.ranges.push(ArgRange { start, len });
        }
        ffi::lua_settop(lua, 0);
    }
    Ok(())
}

/// A number as a word: an integer where it is one, else its shortest digits.
fn write_number(out: &mut Vec<u8>, value: f64) {
    const HALF: f64 = (i64::MAX / 2) as f64;
    if (-HALF..=HALF).contains(&value) && value.fract() == 0.0 {
        out.extend_from_slice(itoa::Buffer::new().format(value as i64).as_bytes());
    } else {
        if value.is_nan() && value.is_sign_negative() {
            out.push(b'-');
        }
        out.extend_from_slice(format_f64_shortest(value).as_bytes());
    }
}

/// redis.error_reply
pub(super) unsafe extern "C-unwind" fn error_reply(lua: *mut lua_State) -> c_int {
    // SAFETY: nothing to drop here.
    unsafe {
        let exit = make_error(lua);
        leave(lua, exit)
    }
}

unsafe fn make_error(lua: *mut lua_State) -> Exit {
    // SAFETY: a `Lenient` is held; the text is copied into the new table before it is popped.
    unsafe {
        let _lenient = state::of(lua).memory.lenient();
        match single_string(lua) {
            None => push_error(lua, WRONG_ARGUMENTS),
            Some(text) => {
                let text = c_string(text);
                convert::push_error_line(lua, text.strip_prefix(b"-").unwrap_or(text));
            }
        }
    }
    Exit::Results(1)
}

/// redis.status_reply
pub(super) unsafe extern "C-unwind" fn status_reply(lua: *mut lua_State) -> c_int {
    // SAFETY: nothing to drop here.
    unsafe {
        let exit = make_status(lua);
        leave(lua, exit)
    }
}

unsafe fn make_status(lua: *mut lua_State) -> Exit {
    // SAFETY: as in `make_error`.
    unsafe {
        let _lenient = state::of(lua).memory.lenient();
        match single_string(lua) {
            None => push_error(lua, WRONG_ARGUMENTS),
            Some(text) => {
                ffi::lua_createtable(lua, 0, 1);
                convert::set_field(lua, b"ok", text);
            }
        }
    }
    Exit::Results(1)
}

const WRONG_ARGUMENTS: &[u8] = b"ERR wrong number or type of arguments";

/// The one argument, if it is a string.
unsafe fn single_string<'a>(lua: *mut lua_State) -> Option<&'a [u8]> {
    // SAFETY: the argument stays on the stack while it is used.
    unsafe {
        let fits = ffi::lua_gettop(lua) == 1 && ffi::lua_type(lua, 1) == ffi::LUA_TSTRING;
        if fits { bytes_at(lua, 1) } else { None }
    }
}

/// redis.sha1hex
pub(super) unsafe extern "C-unwind" fn sha1hex(lua: *mut lua_State) -> c_int {
    // SAFETY: nothing to drop here.
    unsafe {
        let exit = push_sha1hex(lua);
        leave(lua, exit)
    }
}

unsafe fn push_sha1hex(lua: *mut lua_State) -> Exit {
    // SAFETY: a `Lenient` is held; there is room for one more.
    unsafe {
        let _lenient = state::of(lua).memory.lenient();
        if ffi::lua_gettop(lua) != 1 {
            return raise(lua, b"ERR wrong number of arguments");
        }
        let digest = hex(&Sha1::digest(bytes_at(lua, 1).unwrap_or_default()).into());
        push_bytes(lua, &digest);
    }
    Exit::Results(1)
}

/// A digest as a script's name has it.
pub(super) fn hex(digest: &[u8; 20]) -> [u8; 40] {
    let mut text = [0; 40];
    for (pair, byte) in text.chunks_exact_mut(2).zip(digest) {
        pair[0] = b"0123456789abcdef"[usize::from(byte >> 4)];
        pair[1] = b"0123456789abcdef"[usize::from(byte & 15)];
    }
    text
}

/// redis.log
pub(super) unsafe extern "C-unwind" fn log(lua: *mut lua_State) -> c_int {
    // SAFETY: nothing to drop here.
    unsafe {
        let exit = write_log(lua);
        leave(lua, exit)
    }
}

unsafe fn write_log(lua: *mut lua_State) -> Exit {
    // SAFETY: a `Lenient` is held; only arguments are looked at; the caller is used as in `run_command`.
    unsafe {
        let state = state::of(lua);
        let _lenient = state.memory.lenient();
        let count = ffi::lua_gettop(lua);
        if count < 2 {
            return raise(lua, b"ERR redis.log() requires two arguments or more.");
        }
        if ffi::lua_isnumber(lua, 1) == 0 {
            return raise(lua, b"ERR First argument must be a number (log level).");
        }
        let level = match ffi::lua_tonumber(lua, 1) as i64 {
            0 => Level::Debug,
            1 => Level::Verbose,
            2 => Level::Notice,
            3 => Level::Warning,
            _ => return raise(lua, b"ERR Invalid log level."),
        };
        let mut text = Vec::new();
        for at in 2..=count {
            if let Some(part) = bytes_at(lua, at) {
                if at > 2 {
                    text.push(b' ');
                }
                text.extend_from_slice(part);
            }
        }
        if let Some(mut caller) = state.caller.get().filter(|_| !state.is_calling.get()) {
            caller.as_mut().log(level, &text);
        }
    }
    Exit::Results(0)
}

/// redis.setresp
pub(super) unsafe extern "C-unwind" fn setresp(lua: *mut lua_State) -> c_int {
    // SAFETY: nothing to drop here.
    unsafe {
        let exit = choose_proto(lua);
        leave(lua, exit)
    }
}

unsafe fn choose_proto(lua: *mut lua_State) -> Exit {
    // SAFETY: a `Lenient` is held.
    unsafe {
        let state = state::of(lua);
        let _lenient = state.memory.lenient();
        if ffi::lua_gettop(lua) != 1 {
            return raise(lua, b"ERR redis.setresp() requires one argument.");
        }
        match ffi::lua_tonumber(lua, 1) as i64 {
            2 => state.proto.set(Proto::Resp2),
            3 => state.proto.set(Proto::Resp3),
            _ => return raise(lua, b"ERR RESP version must be 2 or 3."),
        }
    }
    Exit::Results(0)
}

/// redis.set_repl
pub(super) unsafe extern "C-unwind" fn set_repl(lua: *mut lua_State) -> c_int {
    // SAFETY: nothing to drop here.
    unsafe {
        let exit = choose_places(lua);
        leave(lua, exit)
    }
}

unsafe fn choose_places(lua: *mut lua_State) -> Exit {
    // SAFETY: a `Lenient` is held; the caller is used as in `run_command`.
    unsafe {
        let state = state::of(lua);
        let _lenient = state.memory.lenient();
        if ffi::lua_gettop(lua) != 1 {
            return raise(lua, b"ERR redis.set_repl() requires one argument.");
        }
        let places = ffi::lua_tonumber(lua, 1) as i64;
        if !(0..=i64::from(REPL_ALL)).contains(&places) {
            return raise(
                lua,
                b"ERR Invalid replication flags. Use REPL_AOF, REPL_REPLICA, REPL_ALL or REPL_NONE.",
            );
        }
        if let Some(mut caller) = state.caller.get().filter(|_| !state.is_calling.get()) {
            caller.as_mut().propagate_to(places as u8);
        }
    }
    Exit::Results(0)
}

/// Everywhere: the sum of the others.
pub(super) const REPL_ALL: u8 = 3;

/// redis.acl_check_cmd
pub(super) unsafe extern "C-unwind" fn acl_check_cmd(lua: *mut lua_State) -> c_int {
    // SAFETY: nothing to drop here.
    unsafe {
        let exit = check_command(lua);
        leave(lua, exit)
    }
}

unsafe fn check_command(lua: *mut lua_State) -> Exit {
    // SAFETY: as in `run_command`.
    unsafe {
        let state = state::of(lua);
        let _lenient = state.memory.lenient();
        let mut buffers = state.buffers.take();
        let taken = take_words(lua, &mut buffers);
        let caller = state.caller.get().filter(|_| !state.is_calling.get());
        let may = match (taken, caller) {
            (Err(text), _) => Err(text),
            (Ok(()), None) => Ok(false),
            (Ok(()), Some(mut caller)) => {
                let words = Words { bytes: &buffers.words, ranges: &buffers.ranges };
                let unknown = b"ERR Invalid command passed to redis.acl_check_cmd()".as_slice();
                caller.as_mut().may(words).ok_or(unknown)
            }
        };
        state.buffers.set(buffers);
        match may {
            Ok(may) => ffi::lua_pushboolean(lua, c_int::from(may)),
            Err(text) => return raise(lua, text),
        }
    }
    Exit::Results(1)
}

/// redis.breakpoint: there is no debugger.
pub(super) unsafe extern "C-unwind" fn breakpoint(lua: *mut lua_State) -> c_int {
    // SAFETY: there is room for one more.
    unsafe { ffi::lua_pushboolean(lua, 0) };
    1
}

/// redis.debug: there is no debugger.
pub(super) unsafe extern "C-unwind" fn debug(_: *mut lua_State) -> c_int {
    0
}

/// redis.replicate_commands: scripts always are.
pub(super) unsafe extern "C-unwind" fn replicate_commands(lua: *mut lua_State) -> c_int {
    // SAFETY: there is room for one more.
    unsafe { ffi::lua_pushboolean(lua, 1) };
    1
}
