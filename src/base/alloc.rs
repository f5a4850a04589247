//! The global allocator: mimalloc, asked in the way that wastes least, and its accounting: how many
//! bytes are held, exactly, at the price of a few instructions per allocation.
//!
//! mimalloc's aligned functions keep to classes that have the alignment, so they take 64 bytes for 56
//! at any alignment above 8; the plain ones take the tightest class. What needs no more than
//! `PLAIN_ALIGN` therefore goes to the plain ones.
//!
//! Each thread that registered counts in a counter of its own, which only it writes: a load, an
//! addition and a store, without a locked instruction. The others share one counter. A free counts
//! on the thread that frees, so one counter may be negative; the sum is right.
//! An allocation counts with the size of its class in mimalloc (mimalloc's page-queue.c): what it
//! really takes, not what was asked for.

#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout};
use std::cell::Cell;
use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering};

use libmimalloc_sys::{
    mi_collect, mi_free, mi_malloc, mi_malloc_aligned, mi_process_info, mi_realloc,
    mi_realloc_aligned, mi_zalloc, mi_zalloc_aligned,
};

/// mimalloc.
pub struct Mimalloc;

// SAFETY: the plain functions align to at least `PLAIN_ALIGN` however mimalloc was built, the aligned
// ones to what they are asked for, which a layout keeps to a power of two. A pointer may be freed and
// reallocated by either family, zeroed or not; mimalloc knows the size itself. None unwinds.
unsafe impl GlobalAlloc for Mimalloc {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if layout.align() <= PLAIN_ALIGN {
            // SAFETY: any size will do.
            return unsafe { mi_malloc(layout.size()) }.cast();
        }
        // SAFETY: any size will do, and the alignment is a power of two.
        unsafe { mi_malloc_aligned(layout.size(), layout.align()) }.cast()
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if layout.align() <= PLAIN_ALIGN {
            // SAFETY: any size will do.
            return unsafe { mi_zalloc(layout.size()) }.cast();
        }
        // SAFETY: any size will do, and the alignment is a power of two.
        unsafe { mi_zalloc_aligned(layout.size(), layout.align()) }.cast()
    }

    #[inline]
    unsafe fn dealloc(&self, pointer: *mut u8, _layout: Layout) {
        // SAFETY: the caller promises that the pointer came from here and is not used again.
        unsafe { mi_free(pointer.cast()) }
    }

    #[inline]
    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        if layout.align() <= PLAIN_ALIGN {
            // SAFETY: the caller promises that the pointer came from here.
            return unsafe { mi_realloc(pointer.cast(), new_size) }.cast();
        }
        // SAFETY: the caller promises that the pointer came from here, with this alignment.
        unsafe { mi_realloc_aligned(pointer.cast(), new_size, layout.align()) }.cast()
    }
}

/// An allocator that counts what it hands out of `A`. Make it the global one:
///
/// ```ignore
/// #[global_allocator]
/// static ALLOCATOR: Counting<Mimalloc> = Counting(Mimalloc);
/// ```
pub struct Counting<A>(pub A);

// SAFETY: every call goes to `A`, which fulfils the contract, with the arguments unchanged;
// counting neither allocates nor unwinds.
unsafe impl<A: GlobalAlloc> GlobalAlloc for Counting<A> {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promises are those that `A` wants.
        let allocated = unsafe { self.0.alloc(layout) };
        count_allocation(allocated, layout.size());
        allocated
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promises are those that `A` wants.
        let allocated = unsafe { self.0.alloc_zeroed(layout) };
        count_allocation(allocated, layout.size());
        allocated
    }

    #[inline]
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are those that `A` wants.
        unsafe { self.0.dealloc(pointer, layout) };
        count(-(class_size(layout.size()) as i64), 0);
    }

    #[inline]
    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // SAFETY: the caller's promises are those that `A` wants.
        let allocated = unsafe { self.0.realloc(pointer, layout, new_size) };
        if !allocated.is_null() {
            count(class_size(new_size) as i64 - class_size(layout.size()) as i64, 1);
        }
        allocated
    }
}

/// Makes whole pages that the calling thread has freed free for every thread.
pub fn give_back() {
    // SAFETY: frees only what nobody holds.
    unsafe { mi_collect(false) }
}

/// Gives the pages that no thread holds back to the system, whoever has freed them. Takes as long as the
/// kernel needs for that: not for a core.
pub fn give_back_all() {
    // SAFETY: frees only what nobody holds.
    unsafe { mi_collect(true) }
}

/// Bytes of the pages that mimalloc has from the system: what is in use, and what is free beside it. Some that it gave
/// back count, too: more than what is resident are not there.
pub fn committed_memory() -> usize {
    let mut committed = 0;
    let unasked = std::ptr::null_mut();
    // SAFETY: `committed` is one number that lives on; what is not asked for may be null.
    unsafe {
        mi_process_info(
            unasked,
            unasked,
            unasked,
            unasked,
            unasked,
            &raw mut committed,
            unasked,
            unasked,
        );
    }
    committed
}

/// Bytes that the process holds now, at the sizes of their classes. Exact when no thread allocates
/// meanwhile.
pub fn used_memory() -> usize {
    let registered = REGISTERED.load(Ordering::Acquire).min(THREADS_MAX);
    let own: i64 = COUNTERS[..registered].iter().map(Counter::bytes).sum();
    usize::try_from(own + SHARED_BYTES.load(Ordering::Relaxed)).unwrap_or(0)
}

/// Gives the calling thread a counter of its own, for its lifetime; a second call changes nothing.
/// Past `THREADS_MAX` threads it goes on with the shared one: slower, just as right.
pub fn register_thread() {
    if MINE.get().is_none() {
        let index = REGISTERED.fetch_add(1, Ordering::AcqRel);
        MINE.set(COUNTERS.get(index));
    }
}

/// Bytes that the calling thread has allocated less those it has freed, since it registered.
/// Negative where it frees what others allocated; 0 for a thread that did not register.
pub fn thread_memory() -> i64 {
    MINE.get().map_or(0, Counter::bytes)
}

/// How many times the calling thread has allocated or reallocated since it registered; 0 if it did
/// not.
pub fn thread_allocations() -> u64 {
    MINE.get().map_or(0, |mine| mine.allocations.load(Ordering::Relaxed))
}

/// What an allocation of `size` bytes takes: 8-byte steps up to 64, four classes per doubling above,
/// whole pages for what is larger than any class. Never less than `size`. This is mimalloc as
/// `.cargo/config.toml` has it built; built without that, steps of 16 take up to 8 bytes more.
#[inline]
pub fn class_size(size: usize) -> usize {
    if size <= 64 {
        return size.max(1).next_multiple_of(8);
    }
    if size > CLASS_SIZE_MAX {
        return size.saturating_add(PAGE_SIZE - 1) & !(PAGE_SIZE - 1);
    }
    // The highest bit of `size - 1` says the doubling, the two bits below it the class in there.
    let step = 1usize << ((size - 1).ilog2() - 2);
    (size + step - 1) & !(step - 1)
}

/// What one thread has allocated. Alone on its cache lines, which only that thread writes.
#[repr(align(128))]
struct Counter {
    bytes: AtomicI64,
    allocations: AtomicU64,
}

impl Counter {
    const fn new() -> Self {
        Self { bytes: AtomicI64::new(0), allocations: AtomicU64::new(0) }
    }

    fn bytes(&self) -> i64 {
        self.bytes.load(Ordering::Relaxed)
    }
}

#[inline(always)]
fn count_allocation(allocated: *mut u8, size: usize) {
    if !allocated.is_null() {
        count(class_size(size) as i64, 1);
    }
}

#[inline(always)]
fn count(bytes: i64, allocations: u64) {
    // A thread-local that needs neither initialisation nor destruction can be read at any time,
    // also while a thread ends, and does not allocate.
    if let Some(mine) = MINE.get() {
        // Load and store instead of fetch_add: nobody else writes. Wrapping, because an allocator
        // must not panic.
        mine.bytes.store(mine.bytes().wrapping_add(bytes), Ordering::Relaxed);
        let counted = mine.allocations.load(Ordering::Relaxed).wrapping_add(allocations);
        mine.allocations.store(counted, Ordering::Relaxed);
    } else {
        SHARED_BYTES.fetch_add(bytes, Ordering::Relaxed);
    }
}

thread_local! {
    static MINE: Cell<Option<&'static Counter>> = const { Cell::new(None) };
}

static COUNTERS: [Counter; THREADS_MAX] = [const { Counter::new() }; THREADS_MAX];
/// How many threads asked for a counter; may exceed `THREADS_MAX`.
static REGISTERED: AtomicUsize = AtomicUsize::new(0);
static SHARED_BYTES: AtomicI64 = AtomicI64::new(0);

/// More than there are cores in a machine; 128 KiB that cost nothing until touched.
const THREADS_MAX: usize = 1024;
/// What every block of mimalloc is aligned to: a machine word, which is the least that its
/// MI_MAX_ALIGN_SIZE can be.
const PLAIN_ALIGN: usize = 8;
/// Up to here mimalloc (version 3) has classes; what is larger gets whole pages.
const CLASS_SIZE_MAX: usize = 512 << 10;
const PAGE_SIZE: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    static ALLOCATOR: Counting<Mimalloc> = Counting(Mimalloc);

    fn layout(size: usize) -> Layout {
        Layout::from_size_align(size, 8).expect("a small layout")
    }

    /// Runs in a thread of its own, which no other test counts on.
    fn on_a_thread(test: impl FnOnce() + Send + 'static) {
        assert!(std::thread::spawn(test).join().is_ok());
    }

    #[test]
    fn what_is_held_is_counted_on_the_thread() {
        on_a_thread(|| {
            register_thread();
            register_thread();
            // SAFETY: each pointer comes from this allocator with the layout it is given back with.
            unsafe {
                let first = ALLOCATOR.alloc(layout(100));
                assert_eq!((thread_memory(), thread_allocations()), (112, 1));
                let second = ALLOCATOR.alloc_zeroed(layout(1));
                assert_eq!((thread_memory(), thread_allocations()), (120, 2));
                let first = ALLOCATOR.realloc(first, layout(100), 1000);
                assert_eq!((thread_memory(), thread_allocations()), (8 + 1024, 3));
                ALLOCATOR.dealloc(second, layout(1));
                ALLOCATOR.dealloc(first, layout(1000));
            }
            assert_eq!((thread_memory(), thread_allocations()), (0, 3));
        });
    }

    #[test]
    fn a_free_counts_where_it_happens() {
        // SAFETY: the layout is not empty.
        let address = unsafe { ALLOCATOR.alloc(layout(1 << 20)) }.expose_provenance();
        on_a_thread(move || {
            register_thread();
            let pointer = std::ptr::with_exposed_provenance_mut(address);
            // SAFETY: allocated above with this layout, and freed only here.
            unsafe { ALLOCATOR.dealloc(pointer, layout(1 << 20)) };
            assert_eq!((thread_memory(), thread_allocations()), (-(1 << 20), 0));
        });
    }

    #[test]
    fn the_sum_has_what_any_thread_holds() {
        const SIZE: usize = 64 << 20;
        let before = used_memory();
        // SAFETY: the layout is not empty; the memory is given back with the same layout.
        unsafe {
            let held = ALLOCATOR.alloc(layout(SIZE));
            // Other tests allocate meanwhile, but far less.
            assert!(used_memory() - before > SIZE - (4 << 20));
            ALLOCATOR.dealloc(held, layout(SIZE));
        }
    }

    #[test]
    fn threads_without_a_counter_count_nothing_of_their_own() {
        on_a_thread(|| {
            // SAFETY: allocated and freed with one layout.
            unsafe { ALLOCATOR.dealloc(ALLOCATOR.alloc(layout(50)), layout(50)) };
            assert_eq!((thread_memory(), thread_allocations()), (0, 0));
        });
    }

    unsafe extern "C" {
        /// mimalloc's own word on the size of a class.
        safe fn mi_good_size(size: usize) -> usize;
    }

    #[test]
    fn classes_are_those_of_mimalloc() {
        assert_eq!(
            [0, 1, 8, 9, 64, 65, 81, 113, 129].map(class_size),
            [8, 8, 8, 16, 64, 80, 96, 128, 160]
        );
        let around = |size: usize| [size - 1, size, size + 1];
        let powers = (4..30).flat_map(|power| [4, 5, 6, 7].map(|quarters| quarters << power >> 2));
        for size in (0..10_000).chain(powers.flat_map(around)) {
            assert_eq!(class_size(size), mi_good_size(size), "{size}");
        }
    }

    proptest! {
        #[test]
        fn a_layout_is_honoured(size in 1usize..5000, power in 0u32..13, grown in 1usize..9000) {
            let wanted = Layout::from_size_align(size, 1 << power).expect("a small layout");
            // SAFETY: the layouts are not empty, each pointer is used within its layout, and given
            // back with the layout that it then has.
            unsafe {
                let zeroed = ALLOCATOR.alloc_zeroed(wanted);
                prop_assert!(std::slice::from_raw_parts(zeroed, size).iter().all(|&b| b == 0));
                zeroed.write_bytes(7, size);
                let moved = ALLOCATOR.realloc(zeroed, wanted, grown);
                let kept = std::slice::from_raw_parts(moved, size.min(grown));
                prop_assert!(kept.iter().all(|&b| b == 7));
                let plain = ALLOCATOR.alloc(wanted);
                for pointer in [zeroed, moved, plain] {
                    prop_assert!(pointer.addr().is_multiple_of(wanted.align()));
                }
                ALLOCATOR.dealloc(plain, wanted);
                let grown = Layout::from_size_align(grown, wanted.align()).expect("a small layout");
                ALLOCATOR.dealloc(moved, grown);
            }
        }

        #[test]
        fn a_class_is_tight_and_closed(size in 1usize..1 << 40) {
            let class = class_size(size);
            prop_assert!(class >= size && class_size(class) == class);
            prop_assert!(class - size <= (size / 4).max(15));
        }
    }
}
