//! The interpreter's stack as the libraries see it: arguments in, results out, errors and memory.
//!
//! Invariant: a Lua error, also the one for lack of memory, is a jump over the frames of the library
//! that was called, so nothing with a destructor may live across a call of this file. The libraries
//! hold `Copy` values only. An argument is never popped or replaced while a slice of it is in use.
//! Source: Lua 5.1's reference manual, chapters 3 and 4.

use std::cell::Cell;
use std::ffi::{CStr, c_int};
use std::fmt::{self, Write};
use std::marker::PhantomData;
use std::mem::MaybeUninit;

use mlua::ffi;

/// What Lua calls: one library function.
pub(super) type Entry = unsafe extern "C-unwind" fn(*mut ffi::lua_State) -> c_int;

/// What Lua calls for a plain `fn(Stack<'_>) -> c_int`, which returns how many of the topmost values
/// are its results.
macro_rules! entry {
    ($function:path) => {{
        unsafe extern "C-unwind" fn entry(state: *mut mlua::ffi::lua_State) -> std::ffi::c_int {
            // SAFETY: Lua calls this with the state that runs, which outlives the call.
            $function(unsafe { $crate::script::lib::stack::Stack::of(state) })
        }
        entry as $crate::script::lib::stack::Entry
    }};
}
pub(super) use entry;

/// A table of library functions by name.
macro_rules! functions {
    ($($name:literal => $function:path),* $(,)?) => {
        &[$(($name, $crate::script::lib::stack::entry!($function))),*]
    };
}
pub(super) use functions;

/// The stack of one running library function.
#[derive(Clone, Copy)]
pub(super) struct Stack<'l> {
    state: *mut ffi::lua_State,
    call: PhantomData<&'l ()>,
}

/// What a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// No value at this index.
    None,
    /// nil.
    Nil,
    /// true or false.
    Boolean,
    /// A pointer without content; NULL is cjson's null.
    LightUserdata,
    /// A double.
    Number,
    /// Bytes.
    String,
    /// A table.
    Table,
    /// A function of Lua or of ours.
    Function,
    /// An object or a coroutine.
    Other,
}

impl<'l> Stack<'l> {
    /// The stack of `state`.
    ///
    /// # Safety
    /// `state` is a valid state that lives as long as `'l`, and the caller is a function that Lua
    /// called, or runs under a protected call.
    pub(super) unsafe fn of(state: *mut ffi::lua_State) -> Self {
        Self { state, call: PhantomData }
    }

    /// How many values there are.
    pub(super) fn top(self) -> c_int {
        // SAFETY: `state` is valid (`of`); this holds for every call below and is not repeated.
        unsafe { ffi::lua_gettop(self.state) }
    }

    /// Cuts or fills (with nil) to `top` values.
    pub(super) fn set_top(self, top: c_int) {
        // SAFETY: as in `top`; callers pass what `check_stack` or LUA_MINSTACK allows.
        unsafe { ffi::lua_settop(self.state, top) }
    }

    /// Drops the topmost `count` values.
    pub(super) fn pop(self, count: c_int) {
        self.set_top(-count - 1);
    }

    /// Pushes a copy of the value at `index`.
    pub(super) fn push_value(self, index: c_int) {
        // SAFETY: as in `top`; `index` is valid.
        unsafe { ffi::lua_pushvalue(self.state, index) }
    }

    /// Moves the topmost value to `index`, and what is there up.
    pub(super) fn insert(self, index: c_int) {
        // SAFETY: as in `top`; `index` is valid.
        unsafe { ffi::lua_insert(self.state, index) }
    }

    /// Pops the topmost value into `index`.
    pub(super) fn replace(self, index: c_int) {
        // SAFETY: as in `top`; `index` is valid.
        unsafe { ffi::lua_replace(self.state, index) }
    }

    /// Whether `count` more values have room, which is made if need be. Lua allows a function 8000.
    pub(super) fn check_stack(self, count: c_int) -> bool {
        // SAFETY: as in `top`.
        unsafe { ffi::lua_checkstack(self.state, count) != 0 }
    }

    /// Room for `count` more values, or the error "stack overflow (`message`)".
    pub(super) fn need_stack(self, count: c_int, message: &'static CStr) {
        // SAFETY: as in `top`; the message is a C string.
        unsafe { ffi::luaL_checkstack_(self.state, count, message.as_ptr()) }
    }

    /// What the value at `index` is.
    pub(super) fn kind(self, index: c_int) -> Kind {
        // SAFETY: as in `top`; any acceptable index may be asked for.
        match unsafe { ffi::lua_type(self.state, index) } {
            ffi::LUA_TNONE => Kind::None,
            ffi::LUA_TNIL => Kind::Nil,
            ffi::LUA_TBOOLEAN => Kind::Boolean,
            ffi::LUA_TLIGHTUSERDATA => Kind::LightUserdata,
            ffi::LUA_TNUMBER => Kind::Number,
            ffi::LUA_TSTRING => Kind::String,
            ffi::LUA_TTABLE => Kind::Table,
            ffi::LUA_TFUNCTION => Kind::Function,
            _ => Kind::Other,
        }
    }

    /// Lua's name of the type of the value at `index`.
    pub(super) fn type_name(self, index: c_int) -> &'static str {
        // SAFETY: as in `top`; Lua's type names are static C strings of ASCII.
        unsafe { CStr::from_ptr(ffi::luaL_typename(self.state, index)) }.to_str().unwrap_or("?")
    }

    /// The bytes of the argument, which may be a number; else Lua's error about it.
    pub(super) fn check_bytes(self, index: c_int) -> &'l [u8] {
        let text = self.check_text(index);
        &text[..text.len() - 1]
    }

    /// [`Stack::check_bytes`] with the zero that ends every string of Lua.
    pub(super) fn check_text(self, index: c_int) -> &'l [u8] {
        let mut length = 0;
        // SAFETY: as in `top`; Lua keeps a zero behind the bytes of every string, and they stay where
        // they are while the value is on the stack, where the file's invariant keeps arguments for
        // the whole call.
        unsafe {
            let start = ffi::luaL_checklstring(self.state, index, &raw mut length);
            std::slice::from_raw_parts(start.cast(), length + 1)
        }
    }

    /// The bytes of a string or number; none for other values. A number becomes a string in place.
    /// The slice is good while the value is on the stack.
    pub(super) fn bytes(self, index: c_int) -> Option<&'l [u8]> {
        let mut length = 0;
        // SAFETY: as in `check_bytes`.
        unsafe {
            let start = ffi::lua_tolstring(self.state, index, &raw mut length);
            (!start.is_null()).then(|| std::slice::from_raw_parts(start.cast(), length))
        }
    }

    /// The number of the argument; else Lua's error about it.
    pub(super) fn check_number(self, index: c_int) -> f64 {
        // SAFETY: as in `top`.
        unsafe { ffi::luaL_checknumber(self.state, index) }
    }

    /// The number at `index`, 0 when it is none.
    pub(super) fn number(self, index: c_int) -> f64 {
        // SAFETY: as in `top`.
        unsafe { ffi::lua_tonumber(self.state, index) }
    }

    /// Whether the value is a number or a string that reads as one.
    pub(super) fn is_number(self, index: c_int) -> bool {
        // SAFETY: as in `top`.
        unsafe { ffi::lua_isnumber(self.state, index) != 0 }
    }

    /// Whether the value is a string or a number.
    pub(super) fn is_string(self, index: c_int) -> bool {
        matches!(self.kind(index), Kind::String | Kind::Number)
    }

    /// The integer of the argument; else Lua's error about it.
    pub(super) fn check_integer(self, index: c_int) -> i64 {
        // SAFETY: as in `top`.
        unsafe { ffi::luaL_checkinteger(self.state, index) }
    }

    /// The integer of the argument, `default` where there is none.
    pub(super) fn integer_or(self, index: c_int, default: i64) -> i64 {
        // SAFETY: as in `top`.
        unsafe { ffi::luaL_optinteger(self.state, index, default) }
    }

    /// The integer at `index`, 0 when it is no number.
    pub(super) fn integer(self, index: c_int) -> i64 {
        // SAFETY: as in `top`.
        unsafe { ffi::lua_tointeger_(self.state, index) }
    }

    /// Whether the value is neither nil nor false.
    pub(super) fn truth(self, index: c_int) -> bool {
        // SAFETY: as in `top`.
        unsafe { ffi::lua_toboolean(self.state, index) != 0 }
    }

    /// Whether the value is the light userdata NULL.
    pub(super) fn is_null(self, index: c_int) -> bool {
        // SAFETY: as in `top`; the kind is looked at first.
        self.kind(index) == Kind::LightUserdata
            && unsafe { ffi::lua_touserdata(self.state, index) }.is_null()
    }

    /// The error unless the argument is a table.
    pub(super) fn check_table(self, index: c_int) {
        // SAFETY: as in `top`.
        unsafe { ffi::luaL_checktype(self.state, index, ffi::LUA_TTABLE) }
    }

    /// The error unless the argument is a function.
    pub(super) fn check_function(self, index: c_int) {
        // SAFETY: as in `top`.
        unsafe { ffi::luaL_checktype(self.state, index, ffi::LUA_TFUNCTION) }
    }

    /// Pushes nil.
    pub(super) fn push_nil(self) {
        // SAFETY: as in `top`; for all pushes: LUA_MINSTACK or `check_stack` gave the room.
        unsafe { ffi::lua_pushnil(self.state) }
    }

    /// Pushes true or false.
    pub(super) fn push_boolean(self, value: bool) {
        // SAFETY: as in `push_nil`.
        unsafe { ffi::lua_pushboolean(self.state, c_int::from(value)) }
    }

    /// Pushes a number.
    pub(super) fn push_number(self, value: f64) {
        // SAFETY: as in `push_nil`.
        unsafe { ffi::lua_pushnumber(self.state, value) }
    }

    /// Pushes a copy of `bytes`.
    pub(super) fn push_bytes(self, bytes: &[u8]) {
        // SAFETY: as in `push_nil`; Lua copies the bytes.
        unsafe { ffi::lua_pushlstring_(self.state, bytes.as_ptr().cast(), bytes.len()) }
    }

    /// Pushes the light userdata NULL.
    pub(super) fn push_null(self) {
        // SAFETY: as in `push_nil`.
        unsafe { ffi::lua_pushlightuserdata(self.state, std::ptr::null_mut()) }
    }

    /// Pushes an empty table.
    pub(super) fn push_table(self) {
        // SAFETY: as in `push_nil`.
        unsafe { ffi::lua_createtable(self.state, 0, 0) }
    }

    /// Pops `upvalues` values and pushes the function that has them.
    pub(super) fn push_closure(self, entry: Entry, upvalues: c_int) {
        // SAFETY: as in `push_nil`.
        unsafe { ffi::lua_pushcclosure(self.state, entry, upvalues) }
    }

    /// Pushes `table[position]` without metamethods.
    pub(super) fn raw_get_at(self, table: c_int, position: i32) {
        // SAFETY: as in `push_nil`; the callers know a table at `table`.
        unsafe { ffi::lua_rawgeti_(self.state, table, position) }
    }

    /// Pops a value into `table[position]` without metamethods.
    pub(super) fn raw_set_at(self, table: c_int, position: i32) {
        // SAFETY: as in `raw_get_at`.
        unsafe { ffi::lua_rawseti_(self.state, table, position) }
    }

    /// Pops a value and a key into the table, without metamethods.
    pub(super) fn raw_set(self, table: c_int) {
        // SAFETY: as in `raw_get_at`.
        unsafe { ffi::lua_rawset(self.state, table) }
    }

    /// Pops a value into the table's field `name`.
    pub(super) fn set_field(self, table: c_int, name: &CStr) {
        // SAFETY: as in `raw_get_at`; the name is a C string.
        unsafe { ffi::lua_setfield(self.state, table, name.as_ptr()) }
    }

    /// Pushes the table's field `name`.
    pub(super) fn get_field(self, table: c_int, name: &CStr) {
        // SAFETY: as in `set_field`.
        unsafe { ffi::lua_getfield_(self.state, table, name.as_ptr()) }
    }

    /// Replaces the topmost key by the value that the table (or its metamethod) has for it.
    pub(super) fn get_table(self, table: c_int) {
        // SAFETY: as in `top`; any value may be indexed, Lua raises the error.
        unsafe { ffi::lua_gettable_(self.state, table) }
    }

    /// Replaces the topmost key by the next key and value, true; or pops it, false, at the end.
    pub(super) fn next(self, table: c_int) -> bool {
        // SAFETY: as in `raw_get_at`; the key came from this table or is nil.
        unsafe { ffi::lua_next(self.state, table) != 0 }
    }

    /// The length of a table or string without metamethods.
    pub(super) fn raw_length(self, index: c_int) -> usize {
        // SAFETY: as in `top`.
        unsafe { ffi::lua_objlen(self.state, index) }
    }

    /// Whether the one value is less than the other, by Lua's `<`.
    pub(super) fn less_than(self, left: c_int, right: c_int) -> bool {
        // SAFETY: as in `top`.
        unsafe { ffi::lua_lessthan(self.state, left, right) != 0 }
    }

    /// Calls the function under its `arguments`, which all are popped, for `results` values.
    pub(super) fn call(self, arguments: c_int, results: c_int) {
        // SAFETY: as in `top`; the callers pushed a function and that many arguments.
        unsafe { ffi::lua_call(self.state, arguments, results) }
    }

    /// Memory of the interpreter for `count` values, pushed: alive while something of Lua holds it.
    pub(super) fn push_memory<T: Copy>(self, count: usize) -> *mut T {
        const { assert!(align_of::<T>() <= 8, "Lua aligns userdata to a double") };
        // SAFETY: as in `push_nil`.
        unsafe { ffi::lua_newuserdata(self.state, count * size_of::<T>()).cast() }
    }

    /// A copy of `value` in memory of the interpreter, pushed; for an upvalue.
    pub(super) fn push_cell<T: Copy>(self, value: T) {
        // SAFETY: the memory has room for a `T`, and is aligned for it.
        unsafe { self.push_memory::<T>(1).write(value) }
    }

    /// The cell that [`Stack::push_cell`] made, now an upvalue of the running function.
    ///
    /// # Safety
    /// The upvalue is a cell of a `T`, and no other reference to it is in use.
    pub(super) unsafe fn cell<T: Copy>(self, upvalue: c_int) -> &'l mut T {
        // SAFETY: the caller's promise; the running function keeps its upvalues alive.
        unsafe { &mut *ffi::lua_touserdata(self.state, ffi::lua_upvalueindex(upvalue)).cast::<T>() }
    }

    /// Raises an error with the position of the caller, as Lua's own functions do. The text may have
    /// at most [`MESSAGE_MAX`] bytes.
    pub(super) fn raise(self, text: fmt::Arguments<'_>) -> ! {
        let message = Message::of(text);
        // What is on the stack is of no use any more, and its room is needed.
        self.set_top(0);
        // SAFETY: as in `push_nil`; `Message` has no destructor.
        unsafe {
            ffi::luaL_where(self.state, 1);
            self.push_bytes(message.bytes());
            ffi::lua_concat(self.state, 2);
            ffi::lua_error(self.state)
        }
    }

    /// Raises Lua's "bad argument" error about an argument.
    pub(super) fn argument_error(self, index: c_int, text: fmt::Arguments<'_>) -> ! {
        let message = Message::of(text);
        // SAFETY: as in `raise`; the message ends with a zero.
        unsafe { ffi::luaL_argerror(self.state, index, message.bytes.as_ptr().cast()) };
        unreachable!("luaL_argerror does not return")
    }

    /// Raises Lua's "bad argument" error about a character, which may be any byte but zero.
    pub(super) fn argument_error_about(self, index: c_int, text: &str, byte: u8) -> ! {
        let mut message = Message::of(format_args!("{text} '"));
        for byte in [byte, b'\''] {
            message.bytes[message.length] = byte;
            message.length += 1;
        }
        // SAFETY: as in `argument_error`.
        unsafe { ffi::luaL_argerror(self.state, index, message.bytes.as_ptr().cast()) };
        unreachable!("luaL_argerror does not return")
    }

    /// Which of the options the argument names; else Lua's error about it.
    pub(super) fn check_option(self, index: c_int, options: &[&'static CStr]) -> usize {
        let mut names = [std::ptr::null(); OPTIONS_MAX + 1];
        for (name, option) in names.iter_mut().zip(options).take(OPTIONS_MAX) {
            *name = option.as_ptr();
        }
        // SAFETY: as in `top`; the names end with a null.
        unsafe {
            ffi::luaL_checkoption(self.state, index, std::ptr::null(), names.as_ptr()) as usize
        }
    }

    /// Raises Lua's error about an argument that is not a `wanted`.
    pub(super) fn type_error(self, index: c_int, wanted: &'static CStr) -> ! {
        // SAFETY: as in `top`; the name is a C string.
        unsafe { ffi::luaL_typerror(self.state, index, wanted.as_ptr()) };
        unreachable!("luaL_typerror does not return")
    }

    /// Counts work that the interpreter does not see (a step is about a nanosecond or a few), and
    /// calls the script's hook when enough has come together, so that a loop of ours can be
    /// interrupted like a loop of the script.
    pub(super) fn charge(self, steps: usize) {
        WORK_LEFT.with(|left| {
            if let Some(rest) = left.get().checked_sub(steps) {
                left.set(rest);
            } else {
                left.set(WORK_PER_CHECK);
                self.check();
            }
        });
    }

    /// Calls the hook that watches the script, as the interpreter does every so many instructions.
    /// It may raise an error.
    fn check(self) {
        let mut record = MaybeUninit::<ffi::lua_Debug>::zeroed();
        // SAFETY: zero is a valid lua_Debug; `lua_getstack` names the running function, level 0,
        // in it, and a hook gets such a record and the state it is set for.
        unsafe {
            if let Some(hook) = ffi::lua_gethook(self.state)
                && ffi::lua_getstack(self.state, 0, record.as_mut_ptr()) != 0
            {
                (*record.as_mut_ptr()).event = ffi::LUA_HOOKCOUNT;
                hook(self.state, record.as_mut_ptr());
            }
        }
    }
}

/// Puts `functions` into the global table `name`, which is made if it is missing.
pub(super) fn install(
    lua: &mlua::Lua,
    name: &CStr,
    functions: &[(&CStr, Entry)],
    extra: fn(Stack<'_>),
) -> mlua::Result<()> {
    // SAFETY: the closure runs under mlua's protected call and owns nothing.
    unsafe {
        lua.exec_raw::<()>((), |state| {
            let stack = Stack::of(state);
            stack.get_field(ffi::LUA_GLOBALSINDEX, name);
            if stack.kind(-1) != Kind::Table {
                stack.pop(1);
                stack.push_table();
                stack.push_value(-1);
                stack.set_field(ffi::LUA_GLOBALSINDEX, name);
            }
            for (name, entry) in functions {
                stack.push_closure(*entry, 0);
                stack.set_field(-2, name);
            }
            extra(stack);
            stack.pop(1);
        })
    }
}

/// An index of a running function's upvalue.
pub(super) const fn upvalue(number: c_int) -> c_int {
    ffi::lua_upvalueindex(number)
}

/// An error's text, composed without allocation, with a zero at its end.
struct Message {
    bytes: [u8; MESSAGE_MAX + 1],
    length: usize,
}

impl Message {
    fn of(text: fmt::Arguments<'_>) -> Self {
        let mut message = Self { bytes: [0; MESSAGE_MAX + 1], length: 0 };
        // What does not fit is left out.
        let _ = message.write_fmt(text);
        message
    }

    fn bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

impl Write for Message {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let count = text.len().min(MESSAGE_MAX - self.length);
        self.bytes[self.length..self.length + count].copy_from_slice(&text.as_bytes()[..count]);
        self.length += count;
        Ok(())
    }
}

thread_local! {
    /// What remains until the next check; a core runs one script at a time, so its thread keeps the count.
    static WORK_LEFT: Cell<usize> = const { Cell::new(WORK_PER_CHECK) };
}

/// About a tenth of a millisecond.
const WORK_PER_CHECK: usize = 100_000;

/// No list of options is longer.
const OPTIONS_MAX: usize = 3;

/// Our longest text has 120 bytes.
const MESSAGE_MAX: usize = 255;
