//! An interpreter with its sandbox: compiles scripts, runs a compiled function with keys and arguments.
//!
//! Invariant: between two runs its stack holds what `new` has put there and nothing else; a function
//! that was compiled stays until it is forgotten.
//!
//! | stack | holds |
//! |---|---|
//! | 1 | the error handler |
//! | 2 | the backing table of the globals |
//! | 3, 4 | the names `KEYS` and `ARGV` |

#![allow(unsafe_code)]

mod load;

use std::ffi::c_int;
use std::ptr::NonNull;

use mlua::ffi::{self, lua_State};

use super::caller::Caller;
use super::convert::{self, Errors, bytes_at, push_bytes};
use super::state::{self, State};
use super::{base, hook, sandbox};
use crate::base::words::c_string;
use crate::resp::Proto;
use crate::resp::reply::Reply;

pub(super) use load::Loading;

const HANDLER: c_int = 1;
const BACKING: c_int = 2;
const KEYS: c_int = 3;
const ARGV: c_int = 4;

/// How far the collector goes in one step, in hundredths of a KiB for each KiB that was allocated. An
/// allocation makes it take one step at most, however large it is, so that garbage of a few large
/// strings would fill the limit before a cycle ends: this ends one of a usual heap in one step.
const GC_STEP_MULTIPLIER: c_int = 10_000;
/// An interpreter that holds more than this part of its limit after a run collects its garbage at once.
const FULL_PART: usize = 2;

/// An interpreter. It may be moved between threads, and is used by one at a time.
pub struct Engine {
    lua: *mut lua_State,
    state: NonNull<State>,
}

// SAFETY: an interpreter knows nothing of threads. All that refers to it from Rust is behind these two
// pointers, which nobody else has: mlua's own handles are made and dropped within `new`.
unsafe impl Send for Engine {}

/// A compiled function of one interpreter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Function(c_int);

/// What an interpreter may use.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes that it may hold.
    pub memory_bytes: usize,
}

/// How a function is run.
pub struct Call<'a, K, A> {
    /// What to run.
    pub function: Function,
    /// Its name in errors: the SHA1 of a script, the name of a function.
    pub name: &'a [u8],
    /// The names of its keys.
    pub keys: K,
    /// Its arguments.
    pub arguments: A,
    /// Keys and arguments are the globals KEYS and ARGV; else the two arguments of the function.
    pub as_globals: bool,
    /// What it may use.
    pub limits: Limits,
}

impl Engine {
    /// An interpreter with everything that scripts find in it.
    pub fn new(limits: Limits) -> Engine {
        let state = NonNull::from(Box::leak(Box::new(State::new(limits.memory_bytes))));
        // SAFETY: the allocator gets the address of the state, which is freed behind the interpreter
        // alone. All that is built here is built under a `Lenient`, so that nothing raises outside of
        // a protected call. mlua's handle is used for nothing but the libraries that are written with
        // it, and does not own the interpreter.
        unsafe {
            let lenient = state.as_ref().memory.lenient();
            let lua = ffi::lua_newstate(state::allocate, state.as_ptr().cast());
            assert!(!lua.is_null(), "memory is not refused here");
            let engine = Engine { lua, state };
            engine.state().main.set(lua);
            sandbox::open(lua, || install_libraries(lua));
            ffi::lua_settop(lua, 0);
            ffi::lua_pushcfunction(lua, hook::error_handler);
            ffi::lua_pushvalue(lua, ffi::LUA_GLOBALSINDEX);
            push_bytes(lua, b"KEYS");
            push_bytes(lua, b"ARGV");
            sandbox::seal(lua);
            assert_eq!(ffi::lua_gettop(lua), ARGV, "what the table above says");
            ffi::lua_gc(lua, ffi::LUA_GCSETSTEPMUL, GC_STEP_MULTIPLIER);
            hook::arm_hook(lua);
            drop(lenient);
            engine
        }
    }

    fn state(&self) -> &State {
        // SAFETY: it lives as long as the engine, and nobody holds a `&mut` to it.
        unsafe { self.state.as_ref() }
    }

    /// Bytes that it holds. Source: INFO, used_memory_vm_eval.
    pub fn memory_bytes(&self) -> usize {
        self.state().memory.used.get()
    }

    /// Compiles the code of a script. An error is the line of the reply.
    pub fn compile(&mut self, code: &[u8]) -> Result<Function, Vec<u8>> {
        const HEAD: &[u8] = b"ERR Error compiling script (new function): ";
        if code.first() == Some(&base::BYTECODE) {
            let text = b"user_script:1: unexpected symbol near 'char(27)'";
            return Err([HEAD, text].concat());
        }
        let _lenient = self.state().memory.lenient();
        // SAFETY: loading is protected by Lua itself; the text is only read; the stack is put back.
        unsafe {
            let name = c"@user_script".as_ptr();
            if ffi::luaL_loadbuffer(self.lua, code.as_ptr().cast(), code.len(), name) == 0 {
                return Ok(Function(ffi::luaL_ref(self.lua, ffi::LUA_REGISTRYINDEX)));
            }
            let text = bytes_at(self.lua, -1).unwrap_or_default().to_vec();
            ffi::lua_settop(self.lua, ARGV);
            Err([HEAD, c_string(&text)].concat())
        }
    }

    /// Forgets a function that was compiled here.
    pub fn forget(&mut self, function: Function) {
        let _lenient = self.state().memory.lenient();
        // SAFETY: the reference is one of this interpreter, and is used no more.
        unsafe { ffi::luaL_unref(self.lua, ffi::LUA_REGISTRYINDEX, function.0) };
    }

    /// Runs a function and writes its reply, in any case; the errors in it. `caller` does what the
    /// function asks for.
    pub fn run<'a, K, A>(
        &mut self,
        call: Call<'_, K, A>,
        caller: &mut dyn Caller,
        reply: &mut Reply<'_>,
    ) -> Errors
    where
        K: ExactSizeIterator<Item = &'a [u8]>,
        A: ExactSizeIterator<Item = &'a [u8]>,
    {
        let Call { function, name, keys, arguments, as_globals, limits } = call;
        let (lua, state) = (self.lua, self.state());
        state.memory.limit.set(limits.memory_bytes);
        // SAFETY: the interpreter is this one, and nothing of it runs.
        unsafe { state.relax(lua) };
        state.proto.set(Proto::Resp2);
        let mut errors = Errors::default();
        // SAFETY: the caller is reached through this pointer only until it is taken away below, before
        // the borrow ends; `api` never makes two references of it at once. What is pushed outside of
        // the protected call is pushed under a `Lenient`. The result is on the top, and is taken off.
        unsafe {
            state.caller.set(Some(erase(caller)));
            let lenient = state.memory.lenient();
            let status = if as_globals {
                ffi::lua_pushvalue(lua, KEYS);
                push_words(lua, keys);
                ffi::lua_rawset(lua, BACKING);
                ffi::lua_pushvalue(lua, ARGV);
                push_words(lua, arguments);
                ffi::lua_rawset(lua, BACKING);
                ffi::lua_rawgeti_(lua, ffi::LUA_REGISTRYINDEX, function.0);
                drop(lenient);
                ffi::lua_pcall(lua, 0, 1, HANDLER)
            } else {
                ffi::lua_rawgeti_(lua, ffi::LUA_REGISTRYINDEX, function.0);
                push_words(lua, keys);
                push_words(lua, arguments);
                drop(lenient);
                ffi::lua_pcall(lua, 2, 1, HANDLER)
            };
            state.caller.set(None);
            let _lenient = state.memory.lenient();
            if status == 0 {
                convert::write_result(lua, state.proto.get(), reply, &mut errors);
            } else {
                self.write_failure(status, name, reply, &mut errors);
            }
            ffi::lua_settop(lua, ARGV);
            if state.is_killed.replace(false) {
                hook::arm_hook(lua);
            }
        }
        self.collect_if_full();
        errors
    }

    /// Writes the error that has ended a run; it is on the top.
    unsafe fn write_failure(
        &self,
        status: c_int,
        name: &[u8],
        reply: &mut Reply<'_>,
        errors: &mut Errors,
    ) {
        let lua = self.lua;
        // SAFETY: the error is on the top, a `Lenient` is held, and only raw access is used.
        let (text, is_known) = unsafe {
            if ffi::lua_type(lua, -1) == ffi::LUA_TTABLE {
                error_line(lua, name)
            } else if status == ffi::LUA_ERRMEM {
                let limit = self.state().memory.limit.get();
                let reason =
                    format!(", it needs more memory than script-memory-limit ({limit} bytes)");
                ([b"ERR Error running script ", name, reason.as_bytes()].concat(), false)
            } else {
                let told = bytes_at(lua, -1).unwrap_or(b"execution failure");
                let told = &told[..told.len().min(TOLD_BYTES_MAX)];
                ([b"ERR Error running script ", name, b", ", told].concat(), false)
            }
        };
        reply.error(&text);
        errors.add(&text, is_known);
    }

    /// Garbage that fills much of the limit goes now: the next script is to have room.
    fn collect_if_full(&mut self) {
        let memory = &self.state().memory;
        if memory.used.get() > memory.limit.get() / FULL_PART {
            let _lenient = memory.lenient();
            // SAFETY: a collection runs no code of scripts.
            unsafe { ffi::lua_gc(self.lua, ffi::LUA_GCCOLLECT, 0) };
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        // SAFETY: nobody uses the interpreter any more; its state goes behind it.
        unsafe {
            ffi::lua_close(self.lua);
            drop(Box::from_raw(self.state.as_ptr()));
        }
    }
}

/// Bytes that an error says of what is no error object, as in stock servers.
const TOLD_BYTES_MAX: usize = 100;

/// The same caller for as long as `run` says.
///
/// # Safety
/// The pointer is used only while the borrow lasts.
unsafe fn erase(caller: &mut dyn Caller) -> NonNull<dyn Caller> {
    let caller: NonNull<dyn Caller + '_> = NonNull::from(caller);
    // SAFETY: only the lifetime changes, which the caller of this keeps.
    unsafe { std::mem::transmute::<NonNull<dyn Caller + '_>, NonNull<dyn Caller>>(caller) }
}

/// Pushes a list of strings.
#[inline]
unsafe fn push_words<'a>(lua: *mut lua_State, words: impl ExactSizeIterator<Item = &'a [u8]>) {
    // SAFETY: the stack has room for 20 values more; a `Lenient` is held.
    unsafe {
        ffi::lua_createtable(lua, words.len() as c_int, 0);
        for (at, word) in words.enumerate() {
            push_bytes(lua, word);
            ffi::lua_rawseti_(lua, -2, at as c_int + 1);
        }
    }
}

/// The line of the error object on the top, and whether it has been counted.
unsafe fn error_line(lua: *mut lua_State, name: &[u8]) -> (Vec<u8>, bool) {
    // SAFETY: only raw access; each field is popped again.
    unsafe {
        let field = |key: &[u8]| {
            push_bytes(lua, key);
            ffi::lua_rawget_(lua, -2);
            let text = bytes_at(lua, -1).map(|text| c_string(text).to_vec());
            let flag = ffi::lua_toboolean(lua, -1) != 0;
            ffi::lua_pop(lua, 1);
            (text, flag)
        };
        let mut line = field(b"err").0.unwrap_or_else(|| b"ERR unknown error".to_vec());
        if let (Some(source), Some(at)) = (field(b"source").0, field(b"line").0) {
            let tail: [&[u8]; 7] = [b" script: ", name, b", on ", &source, b":", &at, b"."];
            line.extend_from_slice(&tail.concat());
        }
        (line, field(b"ignore_error_stats_update").1)
    }
}

/// The libraries that are written in Rust.
unsafe fn install_libraries(lua: *mut lua_State) {
    // SAFETY: mlua makes what it needs in the interpreter's registry; the handle ends with this call.
    let installed = super::lib::install(unsafe { mlua::Lua::get_or_init_from_ptr(lua) });
    installed.expect("memory is not refused while the interpreter is made");
}

#[cfg(test)]
mod tests;
