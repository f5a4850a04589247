//! Functions of Lua's own that a script gets in another form: of the base library and of `math`.
//!
//! Invariant: no function has anything to drop where it may raise.
//! Source: the base library of Lua 5.1 (lbaselib.c).

#![allow(unsafe_code)]

use std::ffi::{c_char, c_int};

use mlua::ffi::{self, lua_State};

use super::{sandbox, state};

/// math.random, over a generator of ours.
pub(super) unsafe extern "C-unwind" fn random(lua: *mut lua_State) -> c_int {
    const MAX: u32 = i32::MAX as u32;
    // SAFETY: nothing to drop here; what checks an argument raises by itself.
    unsafe {
        let part = f64::from(state::of(lua).next_random() % MAX) / f64::from(MAX);
        match ffi::lua_gettop(lua) {
            0 => ffi::lua_pushnumber(lua, part),
            1 => {
                let upper = ffi::luaL_checkinteger(lua, 1) as i32;
                if upper < 1 {
                    return ffi::luaL_argerror(lua, 1, c"interval is empty".as_ptr());
                }
                ffi::lua_pushnumber(lua, (part * f64::from(upper)).floor() + 1.0);
            }
            2 => {
                let lower = ffi::luaL_checkinteger(lua, 1) as i32;
                let upper = ffi::luaL_checkinteger(lua, 2) as i32;
                if lower > upper {
                    return ffi::luaL_argerror(lua, 2, c"interval is empty".as_ptr());
                }
                let width = upper.wrapping_sub(lower).wrapping_add(1);
                let step = (part * f64::from(width)).floor();
                ffi::lua_pushnumber(lua, step + f64::from(lower));
            }
            _ => return ffi::luaL_error(lua, c"wrong number of arguments".as_ptr()),
        }
    }
    1
}

/// math.randomseed
pub(super) unsafe extern "C-unwind" fn randomseed(lua: *mut lua_State) -> c_int {
    // SAFETY: nothing to drop here; what checks the argument raises by itself.
    unsafe {
        let seed = ffi::luaL_checkinteger(lua, 1) as i32;
        state::of(lua).seed(seed);
    }
    0
}

/// pcall: an error that is a table with a text is given back as that text, as scripts from before
/// errors were tables expect it.
pub(super) unsafe extern "C-unwind" fn pcall(lua: *mut lua_State) -> c_int {
    // SAFETY: nothing to drop here. The place for the first result is made first, so that there is
    // room for it however the stack looks afterwards.
    unsafe {
        let count = ffi::lua_gettop(lua);
        if count == 0 {
            // What a stock server makes of it.
            ffi::lua_pushboolean(lua, 0);
            let text = c"attempt to call a boolean value";
            ffi::lua_pushlstring_(lua, text.as_ptr(), text.count_bytes());
            return 2;
        }
        ffi::lua_pushboolean(lua, 1);
        ffi::lua_insert(lua, 1);
        if ffi::lua_pcall(lua, count - 1, ffi::LUA_MULTRET, 0) != 0 {
            ffi::lua_remove(lua, 1);
            if ffi::lua_istable(lua, -1) != 0 {
                ffi::lua_getfield_(lua, -1, c"err".as_ptr());
                if ffi::lua_isstring(lua, -1) != 0 {
                    ffi::lua_replace(lua, -2);
                }
            }
            ffi::lua_pushboolean(lua, 0);
            ffi::lua_insert(lua, 1);
        }
        ffi::lua_gettop(lua)
    }
}

/// unpack: Lua 5.1's own counts what it is asked for in 32 bits, which overflow.
pub(super) unsafe extern "C-unwind" fn unpack(lua: *mut lua_State) -> c_int {
    // SAFETY: nothing to drop here; what checks arguments raises by itself. `lua_checkstack` makes the
    // room for all that is pushed.
    unsafe {
        ffi::luaL_checktype(lua, 1, ffi::LUA_TTABLE);
        let first = ffi::luaL_optinteger(lua, 2, 1) as i32;
        let last = match ffi::lua_type(lua, 3) {
            ffi::LUA_TNONE | ffi::LUA_TNIL => ffi::lua_objlen(lua, 1) as i32,
            _ => ffi::luaL_checkinteger(lua, 3) as i32,
        };
        if first > last {
            return 0;
        }
        let count = c_int::try_from(i64::from(last) - i64::from(first) + 1);
        let count = count.ok().filter(|count| ffi::lua_checkstack(lua, *count) != 0);
        let Some(count) = count else {
            return ffi::luaL_error(lua, c"too many results to unpack".as_ptr());
        };
        for place in first..=last {
            ffi::lua_rawgeti(lua, 1, place.into());
        }
        count
    }
}

/// loadstring: text only.
pub(super) unsafe extern "C-unwind" fn loadstring(lua: *mut lua_State) -> c_int {
    // SAFETY: nothing to drop here; the string stays at its place while it is read.
    unsafe {
        let mut len = 0;
        let text = ffi::luaL_checklstring(lua, 1, &raw mut len);
        let name = ffi::luaL_optlstring(lua, 2, text, std::ptr::null_mut());
        load_text(lua, text, len, name)
    }
}

/// load: text only; the pieces are joined first.
pub(super) unsafe extern "C-unwind" fn load(lua: *mut lua_State) -> c_int {
    // SAFETY: nothing to drop here. Stack: the function, the name, the pieces so far.
    unsafe {
        let name = ffi::luaL_optlstring(lua, 2, c"=(load)".as_ptr(), std::ptr::null_mut());
        ffi::luaL_checktype(lua, 1, ffi::LUA_TFUNCTION);
        ffi::lua_settop(lua, 3);
        ffi::lua_pushlstring_(lua, c"".as_ptr(), 0);
        ffi::lua_replace(lua, 3);
        loop {
            ffi::lua_pushvalue(lua, 1);
            if ffi::lua_pcall(lua, 0, 1, 0) != 0 {
                return not_loaded(lua);
            }
            if ffi::lua_type(lua, 4) == ffi::LUA_TNIL {
                break;
            }
            if ffi::lua_isstring(lua, 4) == 0 {
                let text = c"reader function must return a string";
                ffi::lua_pushlstring_(lua, text.as_ptr(), text.count_bytes());
                return not_loaded(lua);
            }
            if ffi::lua_objlen(lua, 4) == 0 {
                break;
            }
            ffi::lua_concat(lua, 2);
        }
        let mut len = 0;
        let text = ffi::lua_tolstring(lua, 3, &raw mut len);
        load_text(lua, text, len, name)
    }
}

/// Loads a piece of text; nil and a message if it is none.
unsafe fn load_text(
    lua: *mut lua_State,
    text: *const c_char,
    len: usize,
    name: *const c_char,
) -> c_int {
    // SAFETY: the callers have text of this length; nothing to drop here.
    unsafe {
        let failed = len > 0 && *text.cast::<u8>() == BYTECODE;
        if failed {
            // What the parser says of the first byte, where it reads text alone.
            sandbox::push_chunk_name(lua, name);
            ffi::lua_pushfstring(
                lua,
                c"%s:1: unexpected symbol near 'char(27)'".as_ptr(),
                ffi::lua_tolstring(lua, -1, std::ptr::null_mut()),
            );
        } else if ffi::luaL_loadbuffer(lua, text, len, name) == 0 {
            return 1;
        }
        not_loaded(lua)
    }
}

/// Nil, and the message on the top.
unsafe fn not_loaded(lua: *mut lua_State) -> c_int {
    // SAFETY: there is room for one more.
    unsafe {
        ffi::lua_pushnil(lua);
        ffi::lua_insert(lua, -2);
    }
    2
}

/// The first byte of compiled code, which is not taken from anybody.
pub(super) const BYTECODE: u8 = 0x1b;

/// collectgarbage: what a script may change of the collector is nothing that stays.
pub(super) unsafe extern "C-unwind" fn collectgarbage(lua: *mut lua_State) -> c_int {
    // SAFETY: nothing to drop here; what checks arguments raises by itself.
    unsafe {
        let options: [*const c_char; 8] = [
            c"collect".as_ptr(),
            c"count".as_ptr(),
            c"step".as_ptr(),
            c"stop".as_ptr(),
            c"restart".as_ptr(),
            c"setpause".as_ptr(),
            c"setstepmul".as_ptr(),
            std::ptr::null(),
        ];
        let chosen = ffi::luaL_checkoption(lua, 1, c"collect".as_ptr(), options.as_ptr());
        let extra = ffi::luaL_optinteger(lua, 2, 0) as c_int;
        match chosen {
            0 => {
                ffi::lua_gc(lua, ffi::LUA_GCCOLLECT, 0);
                ffi::lua_pushnumber(lua, 0.0);
            }
            1 => ffi::lua_pushnumber(lua, state::of(lua).memory.used.get() as f64 / 1024.0),
            2 => {
                let ended = ffi::lua_gc(lua, ffi::LUA_GCSTEP, extra);
                ffi::lua_pushboolean(lua, ended);
            }
            3 | 4 => ffi::lua_pushnumber(lua, 0.0),
            _ => ffi::lua_pushnumber(lua, 200.0),
        }
    }
    1
}
