//! The code of a library runs once in an interpreter, and registers its functions.
//!
//! Invariant: while it runs it finds `redis.register_function`, the log and nothing else, so all
//! interpreters get the same functions of the same code; it ends after [`BREATHS_MAX`] looks of the
//! hook. Source: "Redis functions"; the texts are those of stock servers.

use std::ffi::c_int;

use mlua::ffi::{self, lua_State};

use super::{ARGV, BACKING, Engine, Function, Limits, erase};
use crate::base::words::c_string;
use crate::observe::log::{self, Level};
use crate::resp::Proto;
use crate::resp::reply::ReplyBuffer;
use crate::script::api::{self, Exit};
use crate::script::caller::{Caller, Refusal, Words};
use crate::script::convert::{self, bytes_at};
use crate::script::interrupt::Verdict;
use crate::script::library::{Declared, is_name};
use crate::script::shebang::ScriptFlags;
use crate::script::{hook, sandbox, state};

/// Looks of the hook until a library has run for too long: half a second or so.
const BREATHS_MAX: u32 = 500;

/// What the library has registered that is being loaded.
#[derive(Debug, Default)]
pub(in crate::script) struct Loading(Vec<(Declared, Function)>);

impl Engine {
    /// An interpreter for functions, which do not find what is for scripts of EVAL alone.
    pub fn for_functions(limits: Limits) -> Engine {
        let engine = Engine::new(limits);
        let lenient = engine.state().memory.lenient();
        // SAFETY: nothing is raised under a `Lenient`, and the backing is where `new` has put it.
        unsafe { sandbox::remove_eval_only(engine.lua, BACKING) };
        drop(lenient);
        engine
    }

    /// Runs the code of a library, and returns what it has registered, in its order. An error is the
    /// line of the reply.
    pub fn load(
        &mut self,
        code: &[u8],
        limits: Limits,
    ) -> Result<Vec<(Declared, Function)>, Vec<u8>> {
        let (lua, state) = (self.lua, self.state());
        state.memory.limit.set(limits.memory_bytes);
        let lenient = state.memory.lenient();
        let mut watch = Watch { breaths: 0 };
        // SAFETY: as in `run`: the caller is reached only while the code runs; what is pushed outside of
        // the protected call is pushed under a `Lenient`; the stack is put back.
        let outcome = unsafe {
            let name = c"@user_function".as_ptr();
            if ffi::luaL_loadbuffer(lua, code.as_ptr().cast(), code.len(), name) != 0 {
                let text = bytes_at(lua, -1).unwrap_or_default();
                let text = [b"ERR Error compiling function: ", c_string(text)].concat();
                ffi::lua_settop(lua, ARGV);
                return Err(text);
            }
            sandbox::push_library_globals(lua, register_function);
            sandbox::lead_globals_to(lua, ffi::lua_gettop(lua));
            ffi::lua_pop(lua, 1);
            state.loading.set(Some(Box::default()));
            state.caller.set(Some(erase(&mut watch)));
            drop(lenient);
            let status = ffi::lua_pcall(lua, 0, 0, 0);
            state.caller.set(None);
            let _lenient = state.memory.lenient();
            sandbox::lead_globals_to(lua, BACKING);
            let failure = (status != 0).then(|| self.load_failure());
            ffi::lua_settop(lua, ARGV);
            if state.is_killed.replace(false) {
                hook::arm_hook(lua);
            }
            failure
        };
        let registered = state.loading.take().map_or(Vec::new(), |loading| loading.0);
        self.collect_if_full();
        let Some(text) = outcome else { return Ok(registered) };
        registered.into_iter().for_each(|(_, function)| self.forget(function));
        let text =
            if watch.breaths >= BREATHS_MAX { &b"ERR FUNCTION LOAD timeout"[..] } else { &text };
        Err([b"ERR Error registering functions: ", text].concat())
    }

    /// What the error on the top says.
    unsafe fn load_failure(&self) -> Vec<u8> {
        // SAFETY: a `Lenient` is held, and only raw access is used.
        unsafe {
            if ffi::lua_type(self.lua, -1) == ffi::LUA_TTABLE {
                convert::push_bytes(self.lua, b"err");
                ffi::lua_rawget_(self.lua, -2);
                let text = bytes_at(self.lua, -1).map(|text| c_string(text).to_vec());
                return text.unwrap_or_else(|| b"ERR unknown error".to_vec());
            }
            let text = bytes_at(self.lua, -1).unwrap_or(b"execution failure");
            [b"ERR ", c_string(text)].concat()
        }
    }
}

/// Who stands in for the caller while a library is loaded: it may write to the log.
struct Watch {
    breaths: u32,
}

impl Caller for Watch {
    fn call(
        &mut self,
        _words: Words<'_>,
        _proto: Proto,
        _replies: &mut ReplyBuffer,
    ) -> Result<(), Refusal> {
        Err(Refusal(b"ERR redis.call/pcall can only be called inside a script invocation".to_vec()))
    }

    fn may(&mut self, _words: Words<'_>) -> Option<bool> {
        None
    }

    fn log(&mut self, level: Level, text: &[u8]) {
        log::write(level, || String::from_utf8_lossy(text).into_owned());
    }

    fn propagate_to(&mut self, _places: u8) {}

    fn interrupt(&mut self) -> Verdict {
        self.breaths += 1;
        if self.breaths < BREATHS_MAX { Verdict::GoOn } else { Verdict::Killed }
    }
}

/// redis.register_function
unsafe extern "C-unwind" fn register_function(lua: *mut lua_State) -> c_int {
    // SAFETY: nothing to drop here.
    unsafe {
        let exit = register(lua);
        api::leave(lua, exit)
    }
}

unsafe fn register(lua: *mut lua_State) -> Exit {
    // SAFETY: called by Lua in an interpreter of ours; a `Lenient` is held; only raw access is used.
    unsafe {
        let state = state::of(lua);
        let _lenient = state.memory.lenient();
        let Some(mut loading) = state.loading.take() else {
            return api::raise(
                lua,
                b"ERR redis.register_function can only be called on FUNCTION LOAD command",
            );
        };
        let read = match ffi::lua_gettop(lua) {
            1 => read_named(lua),
            2 => read_positional(lua),
            _ => Err("wrong number of arguments to redis.register_function"),
        };
        let added = read.and_then(|declared| {
            if !is_name(&declared.name) {
                return Err("Library names can only contain letters, numbers, or underscores(_) and must be at least one character long");
            }
            let same = |(known, _): &(Declared, Function)| known.name == declared.name;
            if loading.0.iter().any(same) {
                return Err("Function already exists in the library");
            }
            // The callback is on the top.
            let function = Function(ffi::luaL_ref(lua, ffi::LUA_REGISTRYINDEX));
            loading.0.push((declared, function));
            Ok(())
        });
        state.loading.set(Some(loading));
        match added {
            Ok(()) => Exit::Results(0),
            Err(text) => api::raise(lua, [b"ERR ", text.as_bytes()].concat().as_slice()),
        }
    }
}

/// `register_function(name, callback)`: leaves the callback on the top.
unsafe fn read_positional(lua: *mut lua_State) -> Result<Declared, &'static str> {
    // SAFETY: there are two arguments; the name is copied.
    unsafe {
        let name = string_at(lua, 1)
            .ok_or("first argument to redis.register_function must be a string")?;
        if ffi::lua_type(lua, 2) != ffi::LUA_TFUNCTION {
            return Err("second argument to redis.register_function must be a function");
        }
        Ok(Declared { name, description: None, flags: ScriptFlags::default() })
    }
}

/// `register_function{function_name = ..., callback = ...}`: leaves the callback on the top.
unsafe fn read_named(lua: *mut lua_State) -> Result<Declared, &'static str> {
    // SAFETY: the one argument is looked at before it is walked; a key is never turned into text where
    // it stands, since that would confuse `lua_next`. Stack: table, callback or nil, key, value.
    unsafe {
        if ffi::lua_type(lua, 1) != ffi::LUA_TTABLE {
            return Err(
                "calling redis.register_function with a single argument is only applicable to Lua table (representing named arguments).",
            );
        }
        let (mut name, mut description, mut flags) = (None, None, ScriptFlags::default());
        ffi::lua_pushnil(lua);
        ffi::lua_pushnil(lua);
        while ffi::lua_next(lua, 1) != 0 {
            let key = match ffi::lua_type(lua, -2) {
                ffi::LUA_TSTRING => bytes_at(lua, -2).unwrap_or_default(),
                ffi::LUA_TNUMBER => b"",
                _ => {
                    return Err(
                        "named argument key given to redis.register_function is not a string",
                    );
                }
            };
            if key.eq_ignore_ascii_case(b"function_name") {
                name = Some(string_at(lua, -1).ok_or(
                    "function_name argument given to redis.register_function must be a string",
                )?);
            } else if key.eq_ignore_ascii_case(b"description") {
                description = Some(string_at(lua, -1).ok_or(
                    "description argument given to redis.register_function must be a string",
                )?);
            } else if key.eq_ignore_ascii_case(b"callback") {
                if ffi::lua_type(lua, -1) != ffi::LUA_TFUNCTION {
                    return Err(
                        "callback argument given to redis.register_function must be a function",
                    );
                }
                ffi::lua_pushvalue(lua, -1);
                ffi::lua_replace(lua, 2);
            } else if key.eq_ignore_ascii_case(b"flags") {
                if ffi::lua_type(lua, -1) != ffi::LUA_TTABLE {
                    return Err(
                        "flags argument to redis.register_function must be a table representing function flags",
                    );
                }
                flags = read_flags(lua).ok_or("unknown flag given")?;
            } else {
                return Err("unknown argument given to redis.register_function");
            }
            ffi::lua_pop(lua, 1);
        }
        let name = name.ok_or("redis.register_function must get a function name argument")?;
        if ffi::lua_type(lua, 2) != ffi::LUA_TFUNCTION {
            return Err("redis.register_function must get a callback argument");
        }
        Ok(Declared { name, description, flags })
    }
}

/// The flags that the list on the top names, in any case. None if one is unknown.
unsafe fn read_flags(lua: *mut lua_State) -> Option<ScriptFlags> {
    let mut flags = ScriptFlags::default();
    for at in 1.. {
        // SAFETY: a table is on the top, there is room for one more.
        let name = unsafe {
            ffi::lua_rawgeti_(lua, -1, at);
            let is_end = ffi::lua_type(lua, -1) == ffi::LUA_TNIL;
            let name = string_at(lua, -1);
            ffi::lua_pop(lua, 1);
            if is_end {
                break;
            }
            name?
        };
        flags = flags.with(ScriptFlags::named(&name.to_ascii_lowercase())?);
    }
    Some(flags)
}

/// A copy of the string or number at a place.
unsafe fn string_at(lua: *mut lua_State, at: c_int) -> Option<Box<[u8]>> {
    // SAFETY: the place exists; the bytes are copied before anything else happens.
    unsafe {
        let is_text = matches!(ffi::lua_type(lua, at), ffi::LUA_TSTRING | ffi::LUA_TNUMBER);
        is_text.then(|| bytes_at(lua, at).unwrap_or_default().into())
    }
}
