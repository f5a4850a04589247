//! What Rust keeps beside an interpreter: who runs its script, its memory, buffers that are used again.
//!
//! Invariant: it lives at one address from before the interpreter is made until after it is closed;
//! the interpreter's allocator holds that address, so every function that Lua calls finds it. All of
//! it is cells, since the allocator, the hook and nested functions look at it at any time.

#![allow(unsafe_code)]

use std::cell::Cell;
use std::ffi::{c_int, c_void};
use std::ptr::{self, NonNull};

use libmimalloc_sys::{mi_free, mi_realloc};
use mlua::ffi::{self, lua_CFunction, lua_State};

use super::caller::Caller;
use super::engine::Loading;
use super::interrupt::Verdict;
use crate::resp::Proto;
use crate::resp::reply::ReplyBuffer;
use crate::resp::request::ArgRange;

/// The state beside an interpreter.
pub(super) struct State {
    /// What the interpreter holds.
    pub(super) memory: Memory,
    /// Who runs the script; None while none runs.
    pub(super) caller: Cell<Option<NonNull<dyn Caller>>>,
    /// A command of the script is on its way.
    pub(super) is_calling: Cell<bool>,
    /// Commands that the script has called since it was last asked whether it goes on.
    pub(super) calls: Cell<u32>,
    /// The script is to end.
    pub(super) is_killed: Cell<bool>,
    /// The protocol that replies to the script are written in (redis.setresp).
    pub(super) proto: Cell<Proto>,
    /// The generator behind math.random: 48 bits, as drand48's.
    pub(super) random: Cell<u64>,
    /// Lua's own table.insert, which ours calls.
    pub(super) table_insert: Cell<Option<lua_CFunction>>,
    /// The interpreter's first thread.
    pub(super) main: Cell<*mut lua_State>,
    /// What the library has registered that is being loaded; None while none is.
    pub(super) loading: Cell<Option<Box<Loading>>>,
    /// Buffers of calls, kept from one to the next.
    pub(super) buffers: Cell<Buffers>,
}

/// What a call of a command needs room for.
#[derive(Default)]
pub(super) struct Buffers {
    /// The words of the command.
    pub(super) words: Vec<u8>,
    /// Where each of them is.
    pub(super) ranges: Vec<ArgRange>,
    /// Its reply.
    pub(super) replies: ReplyBuffer,
}

impl Buffers {
    /// Empties them for the next call.
    pub(super) fn clear(&mut self) {
        self.words.clear();
        self.ranges.clear();
        self.replies.clear();
    }

    /// Gives back what a large call has made of them.
    pub(super) fn keep_small(&mut self) {
        let held = self.words.capacity() + self.replies.bytes.capacity();
        if held > KEPT_BYTES_MAX || self.ranges.capacity() > KEPT_BYTES_MAX / 16 {
            *self = Buffers::default();
        }
        self.replies.spliced.clear();
    }
}

/// Buffers of calls that grew beyond this are given back.
const KEPT_BYTES_MAX: usize = 256 * 1024;

/// What an interpreter holds, and may hold, in bytes.
pub(super) struct Memory {
    pub(super) used: Cell<usize>,
    pub(super) limit: Cell<usize>,
    /// Where the collector is to become eager: `SMALL_HEAP_BYTES`, or never since it is.
    eager_at: Cell<usize>,
    /// How many `Lenient` there are: while there is one, nothing is refused.
    lenient: Cell<u32>,
}

impl State {
    pub(super) fn new(limit: usize) -> State {
        State {
            memory: Memory {
                used: Cell::new(0),
                limit: Cell::new(limit),
                eager_at: Cell::new(usize::MAX),
                lenient: Cell::new(0),
            },
            caller: Cell::new(None),
            is_calling: Cell::new(false),
            calls: Cell::new(0),
            is_killed: Cell::new(false),
            proto: Cell::new(Proto::Resp2),
            random: Cell::new(RANDOM_START),
            table_insert: Cell::new(None),
            main: Cell::new(ptr::null_mut()),
            loading: Cell::default(),
            buffers: Cell::default(),
        }
    }

    /// Lets garbage lie in a small heap, most of which are the libraries that each cycle of the
    /// collector walks; `allocate` ends that when the heap is no longer small.
    ///
    /// # Safety
    /// `lua` is the interpreter of this state.
    #[inline]
    pub(super) unsafe fn relax(&self, lua: *mut lua_State) {
        let memory = &self.memory;
        if memory.eager_at.get() == usize::MAX && memory.used.get() < SMALL_HEAP_BYTES {
            memory.eager_at.set(SMALL_HEAP_BYTES);
            // SAFETY: it sets a number.
            unsafe { ffi::lua_gc(lua, ffi::LUA_GCSETPAUSE, PAUSE_OF_SMALL_HEAP) };
        }
    }

    #[cold]
    fn become_eager(&self) {
        self.memory.eager_at.set(usize::MAX);
        // SAFETY: it sets a number, which is looked at when a cycle of the collector ends.
        unsafe { ffi::lua_gc(self.main.get(), ffi::LUA_GCSETPAUSE, PAUSE) };
    }

    /// The next 31 random bits. Source: lrand48 of POSIX, which scripts have come to rely on.
    pub(super) fn next_random(&self) -> u32 {
        let next =
            self.random.get().wrapping_mul(0x5_deec_e66d).wrapping_add(0xb) & ((1 << 48) - 1);
        self.random.set(next);
        (next >> 17) as u32
    }

    /// Begins the sequence of a seed.
    pub(super) fn seed(&self, seed: i32) {
        self.random.set(u64::from(seed as u32) << 16 | 0x330e);
    }

    /// Lets whoever runs the script breathe; whether the script goes on.
    pub(super) fn interrupt(&self) -> Verdict {
        if self.is_killed.get() {
            return Verdict::Killed;
        }
        let Some(mut caller) = self.caller.get() else { return Verdict::GoOn };
        if self.is_calling.get() {
            return Verdict::GoOn;
        }
        // SAFETY: the pointer is set for the time of `Engine::run` alone, from the one reference to
        // the caller; nobody else uses it meanwhile but `api::call`, which has set `is_calling`.
        let verdict = unsafe { caller.as_mut() }.interrupt();
        self.is_killed.set(verdict == Verdict::Killed);
        verdict
    }
}

/// A heap is small up to this.
const SMALL_HEAP_BYTES: usize = 1024 * 1024;
/// A cycle of the collector begins when the heap is this many hundredths of what the last one left.
const PAUSE_OF_SMALL_HEAP: c_int = 400;
/// The same for others: Lua's own number, so that a limit is met by what is in use and not by garbage.
const PAUSE: c_int = 200;

/// Where lrand48 begins without a seed.
const RANDOM_START: u64 = 0x1234_abcd_330e;

/// While one is held, the interpreter is given all the memory that it asks for: so that what Rust asks
/// of Lua does not raise an error over frames of Rust. Who held one looks at `is_over` when back.
pub(super) struct Lenient<'a>(&'a Memory);

impl Memory {
    /// Refuses nothing for a while.
    pub(super) fn lenient(&self) -> Lenient<'_> {
        self.lenient.set(self.lenient.get() + 1);
        Lenient(self)
    }

    /// True if the interpreter holds more than it may.
    pub(super) fn is_over(&self) -> bool {
        self.used.get() > self.limit.get()
    }
}

impl Drop for Lenient<'_> {
    fn drop(&mut self) {
        self.0.lenient.set(self.0.lenient.get() - 1);
    }
}

/// The state beside the interpreter of a thread.
///
/// # Safety
/// The interpreter was made by `Engine::new`; the reference is not kept beyond the call that Lua made.
#[inline]
pub(super) unsafe fn of<'a>(lua: *mut lua_State) -> &'a State {
    let mut data: *mut c_void = ptr::null_mut();
    // SAFETY: the interpreter's allocator was given the address of its state, which outlives it.
    unsafe {
        ffi::lua_getallocf(lua, &raw mut data);
        &*data.cast::<State>()
    }
}

/// The allocator of interpreters: mimalloc, past the accounting of the server's data (a stock server
/// does not count its interpreters as data either), with a limit.
///
/// # Safety
/// `data` is the address of a `State`; `block` came from here, with `old` bytes, or is null.
pub(super) unsafe extern "C" fn allocate(
    data: *mut c_void,
    block: *mut c_void,
    old: usize,
    new: usize,
) -> *mut c_void {
    // SAFETY: the state outlives its interpreter, and nobody ever holds a `&mut` to it.
    let state = unsafe { &*data.cast::<State>() };
    let memory = &state.memory;
    let used = memory.used.get() - old;
    if new == 0 {
        memory.used.set(used);
        // SAFETY: it came from `mi_realloc`, or is null.
        unsafe { mi_free(block) };
        return ptr::null_mut();
    }
    if new > old && memory.lenient.get() == 0 && used.saturating_add(new) > memory.limit.get() {
        return ptr::null_mut();
    }
    if new > old && used.saturating_add(new) > memory.eager_at.get() {
        state.become_eager();
    }
    // SAFETY: as above.
    let block = unsafe { mi_realloc(block, new) };
    if block.is_null() {
        // The machine has no more; Lua must not raise an error over frames of Rust for that.
        std::alloc::handle_alloc_error(std::alloc::Layout::new::<State>());
    }
    memory.used.set(used + new);
    block
}
