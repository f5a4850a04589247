//! What needs a word with the processor or the system directly: the time stamp counter, CPU time,
//! affinity, signals, limits. Invariant: the only file of `base` that does.  Source: Intel SDM volume 3, "Invariant
//! TSC"; AMD APM volume 3, CPUID Fn8000_0007.

#![allow(unsafe_code)]

use std::ffi::CString;

pub mod crash;
pub mod process;

/// Whether the counter runs at one constant rate in every power state, so that it measures time.
/// False on processors without such a counter.
pub(super) fn has_invariant_tsc() -> bool {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::__cpuid;
        const POWER_MANAGEMENT_LEAF: u32 = 0x8000_0007;
        const INVARIANT_TSC: u32 = 1 << 8;
        __cpuid(0x8000_0000).eax >= POWER_MANAGEMENT_LEAF
            && __cpuid(POWER_MANAGEMENT_LEAF).edx & INVARIANT_TSC != 0
    }
    #[cfg(not(target_arch = "x86_64"))]
    false
}

/// The counter now; 0 where there is none. Not ordered with the instructions around it: good for
/// durations of a command, not for a benchmark of one instruction.
#[inline(always)]
pub(super) fn read_tsc() -> u64 {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: every x86_64 processor has RDTSC, it touches no memory, and Linux leaves it open to
    // user space; a task that forbids it for itself (PR_SET_TSC) would get SIGSEGV, and we never
    // do.
    unsafe {
        std::arch::x86_64::_rdtsc()
    }
    #[cfg(not(target_arch = "x86_64"))]
    0
}

/// Bytes that come into the processor's caches together.
pub const CACHE_LINE: usize = 64;

/// Fetches the cache line at an address; any address will do.
#[inline(always)]
pub fn prefetch(address: *const u8) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    // SAFETY: a prefetch reads nothing that a program can observe and faults on no address; SSE is
    // part of every x86-64.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(address.cast());
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    let _ = address;
}

/// CPU time of the calling thread in nanoseconds.
pub fn thread_cpu_nanos() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the kernel writes one timespec, which `time` is; the clock exists since Linux 2.6.12.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// CPU time of the calling thread in microseconds: in user mode, and in the kernel.
pub fn thread_cpu_micros() -> (u64, u64) {
    usage(libc::RUSAGE_THREAD)
}

/// CPU time of the process in microseconds: in user mode, and in the kernel.
pub fn process_cpu_micros() -> (u64, u64) {
    usage(libc::RUSAGE_SELF)
}

fn usage(who: libc::c_int) -> (u64, u64) {
    // SAFETY: an all-zero rusage is a valid value, and the kernel writes exactly one.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        libc::getrusage(who, &raw mut usage);
        usage
    };
    let micros = |time: libc::timeval| time.tv_sec as u64 * 1_000_000 + time.tv_usec as u64;
    (micros(usage.ru_utime), micros(usage.ru_stime))
}

/// A descriptor that somebody else owns, as std's types take it.
///
/// The descriptor must be open for as long as the result lives; a closed one gives errors, or
/// another file's answers, but never undefined behaviour.
pub fn borrow_fd(fd: std::os::fd::RawFd) -> std::os::fd::BorrowedFd<'static> {
    assert!(fd >= 0, "a descriptor that the kernel gave out");
    // SAFETY: not -1, which is all that the type relies on for memory safety; callers hold a
    // descriptor that the kernel has just given to them.
    unsafe { std::os::fd::BorrowedFd::borrow_raw(fd) }
}

/// The descriptor becomes the caller's alone, who got it from the kernel just now.
pub fn own_fd(fd: std::os::fd::RawFd) -> std::os::fd::OwnedFd {
    assert!(fd >= 0, "a descriptor that the kernel gave out");
    // SAFETY: not -1; the kernel has just given it out and nobody else knows it.
    unsafe { std::os::fd::FromRawFd::from_raw_fd(fd) }
}

/// Lets others go before this thread. Source: setpriority(2), which on Linux is about a thread.
pub fn lower_priority(niceness: i32) {
    // SAFETY: a plain system call without pointers. One that fails changes nothing.
    unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, niceness) };
}

/// Fills `bytes` with what nobody can guess. Source: getrandom(2).
pub fn random_bytes(bytes: &mut [u8]) {
    let mut rest = bytes;
    while !rest.is_empty() {
        // SAFETY: the kernel writes at most `rest.len()` bytes to where `rest` points.
        let got = unsafe { libc::getrandom(rest.as_mut_ptr().cast(), rest.len(), 0) };
        // A signal may come in between; no other failure is possible with valid memory.
        rest = &mut rest[usize::try_from(got).unwrap_or(0)..];
    }
}

/// Restricts the calling thread to one processor.
pub fn pin_thread(processor: usize) -> std::io::Result<()> {
    restrict_thread(&[processor])
}

/// Restricts the calling thread, and those that it starts from now on, to some processors.
pub fn restrict_thread(processors: &[usize]) -> std::io::Result<()> {
    let known = processors.iter().filter(|processor| **processor < libc::CPU_SETSIZE as usize);
    // SAFETY: an all-zero cpu_set_t is the empty set; every index is below its size.
    let done = unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        known.for_each(|processor| libc::CPU_SET(*processor, &mut set));
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set)
    };
    if done == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
}

/// Lets the calling thread run wherever the main thread may: a new one begins on the processor that
/// the thread which made it is restricted to.
pub fn unpin_thread() {
    // SAFETY: the kernel fills one cpu_set_t, which starts as the empty set, and reads it again.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        let size = size_of::<libc::cpu_set_t>();
        if libc::sched_getaffinity(libc::getpid(), size, &raw mut set) == 0 {
            libc::sched_setaffinity(0, size, &raw const set);
        }
    }
}

/// The processors that the process may use, ascending.
pub fn allowed_processors() -> Vec<usize> {
    // SAFETY: the kernel fills one cpu_set_t, which starts as the empty set; CPU_ISSET checks its
    // index against the size.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        if libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &raw mut set) != 0 {
            return vec![0];
        }
        (0..libc::CPU_SETSIZE as usize).filter(|cpu| libc::CPU_ISSET(*cpu, &set)).collect()
    }
}

/// The number of a group of users. None if there is no such group. Source: getgrnam_r(3).
pub fn group_id(name: &str) -> Option<u32> {
    let name = CString::new(name).ok()?;
    let mut room = vec![0; GROUP_BYTES_MAX];
    // SAFETY: `name` ends with a zero; the entry is filled in before it is read, and points into
    // `room` only, which outlives it.
    unsafe {
        let mut entry: libc::group = std::mem::zeroed();
        let mut found = std::ptr::null_mut();
        let (text, len) = (room.as_mut_ptr(), room.len());
        libc::getgrnam_r(name.as_ptr(), &raw mut entry, text, len, &raw mut found);
        (!found.is_null()).then_some(entry.gr_gid)
    }
}

/// Room for the members of a group.
const GROUP_BYTES_MAX: usize = 1 << 20;

/// Blocks the signals that end the process, for this thread and those that it starts.
pub fn block_signals(signals: &[i32]) {
    // SAFETY: the set is initialised by sigemptyset before it is used.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        for signal in signals {
            libc::sigaddset(&raw mut set, *signal);
        }
        libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut());
    }
}

/// Waits for one of the blocked signals.
pub fn wait_for_signal(signals: &[i32]) -> i32 {
    // SAFETY: the set is initialised by sigemptyset before it is used; the kernel writes one int.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        for signal in signals {
            libc::sigaddset(&raw mut set, *signal);
        }
        let mut signal = 0;
        libc::sigwait(&raw const set, &raw mut signal);
        signal
    }
}

/// Ignores SIGPIPE and SIGHUP, as servers do.
pub fn ignore_signals() {
    // SAFETY: SIG_IGN is a valid disposition for both.
    unsafe {
        libc::signal(libc::SIGPIPE, libc::SIG_IGN);
        libc::signal(libc::SIGHUP, libc::SIG_IGN);
    }
}

/// Sends a signal to the process itself.
pub fn raise_signal(signal: i32) {
    // SAFETY: a plain system call.
    unsafe { libc::kill(libc::getpid(), signal) };
}

/// Raises the limit of open files to at least `wanted`, or as far as allowed; the limit in force.
pub fn raise_open_files(wanted: u64) -> u64 {
    // SAFETY: the kernel reads and writes one rlimit, which `limit` is.
    unsafe {
        let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        if libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) != 0 || limit.rlim_cur >= wanted {
            return limit.rlim_cur;
        }
        let raised = libc::rlimit { rlim_cur: wanted, rlim_max: limit.rlim_max.max(wanted) };
        if libc::setrlimit(libc::RLIMIT_NOFILE, &raw const raised) == 0 {
            return wanted;
        }
        let raised = libc::rlimit { rlim_cur: limit.rlim_max.min(wanted), ..limit };
        libc::setrlimit(libc::RLIMIT_NOFILE, &raw const raised);
        raised.rlim_cur
    }
}

/// Enters a directory; its absolute path, or why not in the system's words. Source: chdir(2).
pub fn enter_dir(path: &[u8]) -> Result<Vec<u8>, String> {
    use std::os::unix::ffi::{OsStrExt, OsStringExt};
    let entered = std::env::set_current_dir(std::ffi::OsStr::from_bytes(path));
    let dir = entered.and_then(|()| std::env::current_dir());
    dir.map(|dir| dir.into_os_string().into_vec()).map_err(|error| reason(&error))
}

/// Makes a directory, if it is not there, and looks whether files can be made in it; the system's reason
/// if not.
pub fn make_directory(path: &[u8]) -> Result<(), String> {
    let Ok(path) = std::ffi::CString::new(path) else { return Err("Invalid argument".into()) };
    let error = || std::io::Error::last_os_error();
    // SAFETY: a path that ends in NUL.
    let made = unsafe { libc::mkdir(path.as_ptr(), 0o755) } == 0;
    if !made && error().kind() != std::io::ErrorKind::AlreadyExists {
        return Err(reason(&error()));
    }
    // SAFETY: a path that ends in NUL.
    let is_open = unsafe { libc::access(path.as_ptr(), libc::W_OK | libc::X_OK) } == 0;
    if is_open { Ok(()) } else { Err(reason(&error())) }
}

/// An error in the system's words, without Rust's number behind them.
pub fn reason(error: &std::io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_owned()
}

/// Writes 1 to an eventfd.
pub fn write_event(fd: std::os::fd::RawFd) {
    let one = 1_u64;
    // SAFETY: eight readable bytes, as an eventfd takes them.
    unsafe { libc::write(fd, (&raw const one).cast(), size_of::<u64>()) };
}

/// A new eventfd. Reading it waits until somebody has written to it.
pub fn event_fd() -> std::io::Result<std::os::fd::OwnedFd> {
    use std::os::fd::FromRawFd;
    // SAFETY: a system call without pointers; the descriptor is new and belongs to nobody else.
    unsafe {
        let fd = libc::eventfd(0, libc::EFD_CLOEXEC);
        if fd < 0 {
            return Err(std::io::Error::last_os_error());
        }
        Ok(std::os::fd::OwnedFd::from_raw_fd(fd))
    }
}

/// Bytes that are free on the file system of a file; 0 if that cannot be told.
pub fn free_bytes(file: std::os::fd::BorrowedFd<'_>) -> u64 {
    use std::os::fd::AsRawFd;
    // SAFETY: the kernel fills one statvfs of the open file.
    let stat = unsafe {
        let mut stat: libc::statvfs = std::mem::zeroed();
        (libc::fstatvfs(file.as_raw_fd(), &raw mut stat) == 0).then_some(stat)
    };
    stat.map_or(0, |stat| stat.f_bavail.saturating_mul(stat.f_frsize))
}

/// System name, release and machine, as `uname -srm` prints them.
pub fn uname() -> String {
    // SAFETY: the kernel fills one utsname with strings that end in NUL.
    let name = unsafe {
        let mut name: libc::utsname = std::mem::zeroed();
        libc::uname(&raw mut name);
        name
    };
    let text = |field: &[libc::c_char]| {
        field.iter().take_while(|byte| **byte != 0).map(|byte| char::from(*byte as u8)).collect()
    };
    let parts: [String; 3] = [text(&name.sysname), text(&name.release), text(&name.machine)];
    parts.join(" ")
}

/// Bytes of a page.
pub fn page_bytes() -> u64 {
    // SAFETY: a plain query.
    unsafe { libc::sysconf(libc::_SC_PAGESIZE) }.max(0) as u64
}

/// Physical memory in bytes.
pub fn system_memory() -> u64 {
    // SAFETY: plain queries.
    let (pages, size) =
        unsafe { (libc::sysconf(libc::_SC_PHYS_PAGES), libc::sysconf(libc::_SC_PAGESIZE)) };
    pages.max(0) as u64 * size.max(0) as u64
}
