//! The last words of a process that fails, and what a core does that is stuck: stack, registers, and
//! the last command of each core.
//!
//! Invariant: a handler of a signal takes no lock and no memory, and writes to the log straight away;
//! only behind the whole report, under an alarm, are addresses turned into names, which takes both. The
//! first thread that fails reports; the others wait for the end. Source: signal-safety(7),
//! sigaction(2); the words of reports are those that tools look for in logs of Redis 8.0.6.

#![allow(unsafe_code)]

use std::ffi::{CString, c_int, c_void};
use std::fmt::{self, Write};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering};

/// Writes what a core ran last; all cores without a number. It must do no more than a handler may.
pub type Teller = Box<dyn Fn(&mut dyn Write, Option<usize>) + Send + Sync>;

/// What reports are made of, and where they go.
pub struct Reporter {
    /// The log file; None for standard output.
    pub log_file: Option<CString>,
    /// What runs.
    pub version: String,
    /// The last commands.
    pub teller: Teller,
    /// Removed at the end.
    pub pid_file: Option<CString>,
}

static REPORTER: OnceLock<Reporter> = OnceLock::new();
/// Reports are wanted.
static ENABLED: AtomicBool = AtomicBool::new(false);
/// The thread that reports; 0 as long as all is well.
static REPORTING: AtomicI32 = AtomicI32::new(0);
/// The thread of each core; 0 where there is none.
static THREADS: [AtomicI32; CORES_MAX] = [const { AtomicI32::new(0) }; CORES_MAX];
/// A bit for each core whose turn takes too long.
static STUCK: AtomicU64 = AtomicU64::new(0);

/// A thread tells what it does.
static TELLING: AtomicBool = AtomicBool::new(false);
/// Together a second.
const TURN_TRIES: usize = 1000;

/// A word has a bit for each.
const CORES_MAX: usize = 64;
const FRAMES_MAX: usize = 100;
/// Words of the stack that a report shows.
const STACK_WORDS: usize = 16;
/// To find the names of functions takes no longer, or is given up.
const NAMES_SECONDS_MAX: u32 = 10;
/// The stack that handlers run on: enough to find names on it.
const HANDLER_STACK_BYTES: usize = 512 << 10;
const CRASHES: [c_int; 5] =
    [libc::SIGSEGV, libc::SIGBUS, libc::SIGFPE, libc::SIGILL, libc::SIGABRT];

type Handler = extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void);

/// Says what reports are made of; the first call counts. Panics are reported, and SIGALRM is answered
/// with the stacks of the cores.
pub fn install(reporter: Reporter) {
    if REPORTER.set(reporter).is_err() {
        return;
    }
    std::panic::set_hook(Box::new(report_panic));
    handle(libc::SIGALRM, alarmed, libc::SA_RESTART);
    register_thread(None);
}

/// Turns reports of signals on or off.
pub fn enable(on: bool) {
    if ENABLED.swap(on, Ordering::AcqRel) == on {
        return;
    }
    for signal in CRASHES {
        if on {
            handle(signal, crashed, libc::SA_NODEFER | libc::SA_RESETHAND);
        } else {
            restore(signal);
        }
    }
}

/// Gives the calling thread a stack for handlers; it is that of this core.
pub fn register_thread(core: Option<usize>) {
    // SAFETY: the memory is never given back, and nobody else uses it; the thread's stack for handlers
    // may be replaced while no handler runs on it.
    unsafe {
        let memory = libc::mmap(
            std::ptr::null_mut(),
            HANDLER_STACK_BYTES,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
            -1,
            0,
        );
        if memory != libc::MAP_FAILED {
            let stack = libc::stack_t { ss_sp: memory, ss_flags: 0, ss_size: HANDLER_STACK_BYTES };
            libc::sigaltstack(&raw const stack, std::ptr::null_mut());
        }
    }
    if let Some(thread) = core.and_then(|core| THREADS.get(core)) {
        thread.store(thread_id(), Ordering::Release);
    }
}

/// Has a core whose turn takes too long log what it does.
pub fn prod(core: usize) {
    STUCK.fetch_or(1 << (core % CORES_MAX), Ordering::AcqRel);
    alarm_core(core);
}

/// Writes a line to the log before anything else can happen.
pub fn tell(text: &str) {
    if let Some(reporter) = REPORTER.get() {
        Out::open(reporter).line(format_args!("{text}"));
    }
}

/// Touches memory that is not there.
pub fn touch_nothing() {
    // SAFETY: no object of ours is there; the fault that follows is what this is for.
    unsafe { std::ptr::without_provenance_mut::<u8>(1).write_volatile(0) };
}

fn alarm_core(core: usize) {
    let thread = THREADS[core % CORES_MAX].load(Ordering::Acquire);
    if thread != 0 {
        // SAFETY: a system call without pointers; a thread that has ended gives an error.
        unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), thread, libc::SIGALRM) };
    }
}

fn thread_id() -> i32 {
    // SAFETY: a system call without arguments.
    unsafe { libc::gettid() }
}

fn handle(signal: c_int, handler: Handler, flags: c_int) {
    // SAFETY: the handler has the form that SA_SIGINFO asks for and keeps to what handlers may do.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = handler as *const () as usize;
        action.sa_flags = flags | libc::SA_SIGINFO | libc::SA_ONSTACK;
        libc::sigemptyset(&raw mut action.sa_mask);
        libc::sigaction(signal, &raw const action, std::ptr::null_mut());
    }
}

fn restore(signal: c_int) {
    // SAFETY: the default is valid for every signal.
    unsafe { libc::signal(signal, libc::SIG_DFL) };
}

/// The log, written to straight away, a line at a time.
struct Out {
    fd: c_int,
    line: [u8; 1024],
    len: usize,
}

impl Out {
    fn open(reporter: &Reporter) -> Out {
        let fd = match &reporter.log_file {
            None => libc::STDOUT_FILENO,
            // SAFETY: the path ends in NUL and lives as long as the process.
            Some(path) => unsafe {
                let flags = libc::O_APPEND | libc::O_CREAT | libc::O_WRONLY | libc::O_CLOEXEC;
                libc::open(path.as_ptr(), flags, 0o644)
            },
        };
        Out { fd, line: [0; 1024], len: 0 }
    }

    /// A line with the mark of a handler in front, as tools know it.
    fn line(&mut self, text: fmt::Arguments<'_>) {
        // SAFETY: system calls; the first has no arguments, the second is given no pointer.
        let (pid, seconds) = unsafe { (libc::getpid(), libc::time(std::ptr::null_mut())) };
        let _ = writeln!(self, "{pid}:signal-handler ({seconds}) {text}");
    }

    fn raw(&mut self, text: &str) {
        let _ = self.write_str(text);
    }

    fn flush(&mut self) {
        // SAFETY: the kernel reads `len` bytes of the line; a descriptor that is wrong gives an error.
        unsafe { libc::write(self.fd, self.line.as_ptr().cast(), self.len) };
        self.len = 0;
    }
}

impl Write for Out {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            self.line[self.len] = byte;
            self.len += 1;
            if byte == b'\n' || self.len == self.line.len() {
                self.flush();
            }
        }
        Ok(())
    }
}

extern "C" fn crashed(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    let Some(reporter) = REPORTER.get() else { return };
    let me = thread_id();
    match REPORTING.compare_exchange(0, me, Ordering::AcqRel, Ordering::Acquire) {
        Ok(_) => {}
        // The report itself has failed; this comes back with the default action.
        Err(other) if other == me => return raise(signal),
        Err(_) => loop {
            // SAFETY: a system call without arguments.
            unsafe { libc::pause() };
        },
    }
    let mut out = Out::open(reporter);
    begin_report(&mut out);
    // SAFETY: the kernel hands valid pointers to a handler with SA_SIGINFO; the fields are those of the
    // signals that carry an address, or a sender.
    let (code, address, sender) = unsafe { ((*info).si_code, (*info).si_addr(), (*info).si_pid()) };
    let version = &reporter.version;
    out.line(format_args!("{version} crashed by signal: {signal}, si_code: {code}"));
    if matches!(signal, libc::SIGSEGV | libc::SIGBUS) && code > 0 {
        out.line(format_args!("Accessing address: {address:p}"));
    }
    if code == libc::SI_USER {
        out.line(format_args!("Killed by PID: {sender}"));
    }
    show_stack(&mut out);
    // SAFETY: the context is that of the signal that is handled.
    unsafe { show_registers(&mut out, context) };
    show_cores(&mut out, reporter, None);
    show_names(&mut out, signal);
    end_report(&mut out, reporter);
    raise(signal);
}

/// Ends the process by a signal.
fn raise(signal: c_int) {
    restore(signal);
    // SAFETY: plain system calls.
    unsafe { libc::kill(libc::getpid(), signal) };
}

fn begin_report(out: &mut Out) {
    out.raw("\n\n=== REDIS BUG REPORT START: Cut & paste starting from here ===\n");
}

fn end_report(out: &mut Out, reporter: &Reporter) {
    out.raw("\n=== REDIS BUG REPORT END. Make sure to include from START to END. ===\n\n");
    out.raw("       Please report the crash, with this text and what the clients did.\n\n");
    out.raw("  Some other issues could be detected by ironring --check-system\n");
    if let Some(path) = &reporter.pid_file {
        // SAFETY: the path ends in NUL and lives as long as the process.
        unsafe { libc::unlink(path.as_ptr()) };
    }
}

/// Addresses only; `addr2line -Cfpe ironring <offset>` names them.
fn show_stack(out: &mut Out) {
    out.raw("\n------ STACK TRACE ------\n\nBacktrace:\n");
    let mut frames = [std::ptr::null_mut(); FRAMES_MAX];
    // SAFETY: at most FRAMES_MAX addresses are written; they are then only looked up and printed.
    unsafe {
        let count = libc::backtrace(frames.as_mut_ptr(), FRAMES_MAX as c_int);
        libc::backtrace_symbols_fd(frames.as_ptr(), count, out.fd);
    }
    out.raw("\n------ STACK TRACE DONE ------\n");
}

fn show_cores(out: &mut Out, reporter: &Reporter, core: Option<usize>) {
    if core.is_none() {
        out.raw("\n------ LAST COMMAND OF EACH CORE ------\n");
    }
    (reporter.teller)(out, core);
}

/// Names of functions and lines, from debug information. This is no work for a handler: if it hangs,
/// the process ends without it.
fn show_names(out: &mut Out, signal: c_int) {
    static SIGNAL: AtomicI32 = AtomicI32::new(0);
    extern "C" fn give_up(_: c_int, _: *mut libc::siginfo_t, _: *mut c_void) {
        raise(SIGNAL.load(Ordering::Acquire));
    }
    SIGNAL.store(signal, Ordering::Release);
    handle(libc::SIGALRM, give_up, 0);
    // SAFETY: a plain system call.
    unsafe { libc::alarm(NAMES_SECONDS_MAX) };
    out.raw("\n------ STACK TRACE WITH NAMES ------\n");
    let _ = writeln!(out, "{}", std::backtrace::Backtrace::force_capture());
    // SAFETY: a plain system call.
    unsafe { libc::alarm(0) };
}

/// # Safety
/// `context` is what the kernel gave to a handler.
unsafe fn show_registers(out: &mut Out, context: *mut c_void) {
    out.raw("\n------ REGISTERS ------\n");
    #[cfg(target_arch = "x86_64")]
    {
        const NAMES: [&str; 17] = [
            "R8 ", "R9 ", "R10", "R11", "R12", "R13", "R14", "R15", "RDI", "RSI", "RBP", "RBX",
            "RDX", "RAX", "RCX", "RSP", "RIP",
        ];
        // SAFETY: a handler's context is a ucontext_t.
        let registers = unsafe { &(*context.cast::<libc::ucontext_t>()).uc_mcontext.gregs };
        for (at, (name, value)) in NAMES.iter().zip(registers).enumerate() {
            let end = if at % 4 == 3 { "\n" } else { " " };
            let _ = write!(out, "{name}:{value:016x}{end}");
        }
        let flags = registers[libc::REG_EFL as usize];
        let _ = writeln!(out, "EFL:{flags:016x}");
        let top = registers[libc::REG_RSP as usize];
        show_words(out, top as usize);
    }
    #[cfg(target_arch = "aarch64")]
    {
        // SAFETY: a handler's context is a ucontext_t.
        let machine = unsafe { &(*context.cast::<libc::ucontext_t>()).uc_mcontext };
        for (at, value) in machine.regs.iter().enumerate() {
            let end = if at % 4 == 3 { "\n" } else { " " };
            let _ = write!(out, "X{at:<2}:{value:016x}{end}");
        }
        let _ = writeln!(out, "\nSP :{:016x} PC :{:016x}", machine.sp, machine.pc);
        show_words(out, machine.sp as usize);
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    {
        let _ = context;
        out.raw("(not known on this processor)\n");
    }
}

/// The top of the stack, read through the kernel: it may be no memory at all.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
fn show_words(out: &mut Out, top: usize) {
    let mut words = [0_usize; STACK_WORDS];
    let len = size_of_val(&words);
    let ours = libc::iovec { iov_base: words.as_mut_ptr().cast(), iov_len: len };
    let theirs = libc::iovec { iov_base: std::ptr::with_exposed_provenance_mut(top), iov_len: len };
    // SAFETY: the kernel writes at most `len` bytes to `words`, and checks the other address.
    let read = unsafe {
        libc::process_vm_readv(libc::getpid(), &raw const ours, 1, &raw const theirs, 1, 0)
    };
    let count = usize::try_from(read).unwrap_or(0) / size_of::<usize>();
    for (at, word) in words[..count].iter().enumerate().rev() {
        let _ = writeln!(out, "({:016x}) -> {word:016x}", top + at * size_of::<usize>());
    }
}

/// Keeps what threads tell at the same time apart. A thread that has waited long enough goes on: the
/// other one may be what is stuck.
fn take_turn() {
    for _ in 0..TURN_TRIES {
        if !TELLING.swap(true, Ordering::AcqRel) {
            return;
        }
        // SAFETY: a plain system call.
        unsafe { libc::usleep(1000) };
    }
}

/// A core's turn takes too long, or somebody wants to know what all of them do.
extern "C" fn alarmed(_: c_int, info: *mut libc::siginfo_t, _: *mut c_void) {
    let Some(reporter) = REPORTER.get() else { return };
    let me = thread_id();
    let core = THREADS.iter().position(|thread| thread.load(Ordering::Acquire) == me);
    // SAFETY: the kernel hands a valid pointer to a handler with SA_SIGINFO.
    let is_asked = unsafe { (*info).si_code } == libc::SI_USER;
    take_turn();
    let mut out = Out::open(reporter);
    let stuck = core.map_or(0, |core| 1 << core);
    let was_stuck = STUCK.fetch_and(!stuck, Ordering::AcqRel) & stuck != 0;
    if was_stuck {
        out.line(format_args!("\n--- WATCHDOG TIMER EXPIRED ---"));
    } else if is_asked {
        out.line(format_args!("\nReceived SIGALRM"));
    }
    if is_asked {
        (0..CORES_MAX).filter(|other| Some(*other) != core).for_each(alarm_core);
    }
    if let Some(core) = core {
        show_cores(&mut out, reporter, Some(core));
    }
    show_stack(&mut out);
    out.line(format_args!("--------\n"));
    TELLING.store(false, Ordering::Release);
    if reporter.log_file.is_some() {
        // SAFETY: opened above, and nobody else has it.
        unsafe { libc::close(out.fd) };
    }
}

/// Reports a panic, behind which the process aborts. This is no handler: it may do what it likes.
fn report_panic(panic: &std::panic::PanicHookInfo<'_>) {
    let Some(reporter) = REPORTER.get() else { return };
    let is_first = REPORTING.swap(thread_id(), Ordering::AcqRel) == 0;
    let mut out = Out::open(reporter);
    let text = panic.payload_as_str().unwrap_or("a panic without words");
    let (file, line) = panic.location().map_or(("?", 0), |place| (place.file(), place.line()));
    if is_first {
        begin_report(&mut out);
    }
    if let Some(claim) = text.strip_prefix("assertion") {
        out.line(format_args!("=== ASSERTION FAILED ==="));
        let claim = claim.trim_start_matches(" failed: ");
        out.line(format_args!("==> {file}:{line} '{claim}' is not true"));
    } else {
        out.line(format_args!("------------------------------------------------"));
        out.line(format_args!("!!! Software Failure. Press left mouse button to continue"));
        out.line(format_args!("Guru Meditation: {text} #{file}:{line}"));
    }
    if ENABLED.load(Ordering::Acquire) && is_first {
        out.raw("\n------ STACK TRACE ------\n\nBacktrace:\n");
        let _ = writeln!(out, "{}", std::backtrace::Backtrace::force_capture());
        out.raw("\n------ STACK TRACE DONE ------\n");
        show_cores(&mut out, reporter, None);
    }
    end_report(&mut out, reporter);
    // The abort that follows has nothing to add.
    enable(false);
}
