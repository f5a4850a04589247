//! How the process stands in the system: in the background, under a title, under a supervisor, at its
//! place in the queue of the out-of-memory killer; and its lines in syslog.
//!
//! Invariant: what replaces memory of the process or forks it is done before there is a second thread.
//! Source: fork(2), setsid(2), proc(5), prctl(2), syslog(3), sd_notify(3).

#![allow(unsafe_code)]

use std::ffi::{CStr, CString, OsString, c_char, c_int};
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Mutex;

/// Goes on in the background: the process that was started ends with 0, and input and output are no
/// longer those of its terminal.
pub fn daemonize() -> io::Result<()> {
    // SAFETY: there is one thread, so the child has all that it needs. The path ends in NUL.
    unsafe {
        match libc::fork() {
            -1 => return Err(io::Error::last_os_error()),
            0 => {}
            _ => libc::_exit(0),
        }
        libc::setsid();
        let null = libc::open(c"/dev/null".as_ptr(), libc::O_RDWR);
        if null >= 0 {
            for standard in [libc::STDIN_FILENO, libc::STDOUT_FILENO, libc::STDERR_FILENO] {
                libc::dup2(null, standard);
            }
            if null > libc::STDERR_FILENO {
                libc::close(null);
            }
        }
    }
    Ok(())
}

/// Stops the process, all its threads, until it is sent SIGCONT. This thread does not get any further,
/// as it might if the signal went to the process and another thread took it.
pub fn stop() {
    // SAFETY: a plain system call.
    unsafe { libc::raise(libc::SIGSTOP) };
}

/// Standard output is a terminal.
pub fn is_terminal() -> bool {
    // SAFETY: a plain query.
    unsafe { libc::isatty(libc::STDOUT_FILENO) == 1 }
}

/// Memory in which the kernel looks for the title of the process.
struct Title {
    start: usize,
    len: usize,
    /// The name that the process was started by.
    program: Vec<u8>,
}

static TITLE: Mutex<Option<Title>> = Mutex::new(None);

/// Makes room for a title where the arguments and the environment of the process stand. Once, before
/// there is a second thread.
pub fn prepare_title() {
    let Ok(stat) = std::fs::read_to_string("/proc/self/stat") else { return };
    // The name, in brackets, may hold anything.
    let Some((_, fields)) = stat.rsplit_once(") ") else { return };
    let fields: Vec<&str> = fields.split_ascii_whitespace().collect();
    // Fields 48 to 51 of proc(5); the first of these is its third.
    let number = |field: usize| fields.get(field - 3)?.parse::<usize>().ok();
    let places = (number(48), number(49), number(50), number(51));
    let (Some(start), Some(args_end), Some(env_start), Some(env_end)) = places else { return };
    let end = if args_end == env_start { env_end } else { args_end };
    if start == 0 || end <= start {
        return;
    }
    // Whoever reads the environment from now on finds the copy.
    unsafe extern "C" {
        static mut environ: *mut *mut c_char;
    }
    // SAFETY: one thread; the old array ends in a null pointer, and so does the new one, whose strings
    // are never freed.
    unsafe {
        let mut copies = Vec::new();
        let mut at = environ;
        while !at.is_null() && !(*at).is_null() {
            copies.push(CStr::from_ptr(*at).to_owned().into_raw());
            at = at.add(1);
        }
        copies.push(std::ptr::null_mut());
        environ = copies.leak().as_mut_ptr();
    }
    if let Ok(mut title) = TITLE.lock() {
        let program = std::env::args_os().next().unwrap_or_default();
        *title = Some(Title { start, len: end - start, program: program.into_encoded_bytes() });
    }
}

/// Shows a title for the process, as far as there is room; `text` makes it of the program's name.
pub fn set_title(text: impl FnOnce(&[u8]) -> Vec<u8>) {
    // Configurations change one after the other: nobody waits here.
    let Ok(title) = TITLE.try_lock() else { return };
    let Some(Title { start, len, program }) = &*title else { return };
    let (start, len, text) = (*start, *len, text(program));
    let shown = text.len().min(len - 1);
    // SAFETY: the kernel gave this range to the arguments and the environment of the process, readable
    // and writable; nobody looks at it any more, since both were copied or are read as bytes.
    unsafe {
        let memory = std::ptr::with_exposed_provenance_mut::<u8>(start);
        memory.copy_from_nonoverlapping(text.as_ptr(), shown);
        memory.add(shown).write_bytes(0, len - shown);
    }
}

/// Opens the way to syslog. `facility` counts as in syslog(3).
pub fn open_syslog(ident: &[u8], facility: c_int) {
    let ident = CString::new(ident).unwrap_or_default();
    let options = libc::LOG_PID | libc::LOG_NDELAY | libc::LOG_NOWAIT;
    // SAFETY: the string ends in NUL and is never freed, as openlog asks.
    unsafe { libc::openlog(ident.into_raw(), options, facility) };
}

/// Writes a line to syslog; may wait for it.
pub fn syslog(priority: c_int, message: &str) {
    let message = CString::new(message.replace('\0', " ")).unwrap_or_default();
    // SAFETY: the format takes one string, which ends in NUL.
    unsafe { libc::syslog(priority, c"%s".as_ptr(), message.as_ptr()) };
}

/// Tells the supervisor something, if there is one that listens. Source: sd_notify(3).
pub fn notify_supervisor(state: &str) -> io::Result<()> {
    let Some(name) = supervisor() else {
        return Err(io::Error::new(io::ErrorKind::NotFound, "NOTIFY_SOCKET not found!"));
    };
    let bytes = name.as_bytes();
    let address = match bytes.strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(&name)?,
    };
    UnixDatagram::unbound()?.send_to_addr(state.as_bytes(), &address).map(drop)
}

/// The socket on which systemd listens.
pub fn supervisor() -> Option<OsString> {
    std::env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty())
}

/// No transparent huge pages for this process.
pub fn disable_huge_pages() -> io::Result<()> {
    // SAFETY: a plain system call; the arguments that are not used have to be 0.
    let done = unsafe { libc::prctl(libc::PR_SET_THP_DISABLE, 1, 0, 0, 0) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

const OOM_SCORE: &str = "/proc/self/oom_score_adj";
const OOM_SCORE_MAX: i32 = 1000;

/// What the score was before it was changed, and what it was changed to last.
static OOM_CHANGED: Mutex<Option<(i32, i32)>> = Mutex::new(None);

/// How soon the out-of-memory killer is to take this process: at `score`, added to what was there at
/// the start if it is relative. None gives that back.
pub fn adjust_oom_score(score: Option<(i32, bool)>) -> Result<(), String> {
    // Configurations change one after the other: nobody waits here.
    let Ok(mut changed) = OOM_CHANGED.try_lock() else { return Ok(()) };
    let (base, now) = match (*changed, score) {
        (Some(changed), _) => changed,
        (None, None) => return Ok(()),
        (None, Some(_)) => {
            let text = std::fs::read_to_string(OOM_SCORE);
            let base = text.and_then(|text| text.trim().parse().map_err(io::Error::other));
            let told = |error| format!("Unable to read oom_score_adj: {}", super::reason(&error));
            let base = base.map_err(told)?;
            (base, base)
        }
    };
    let wanted = match score {
        None => base,
        Some((score, is_relative)) => score + if is_relative { base } else { 0 },
    };
    let wanted = wanted.clamp(-OOM_SCORE_MAX, OOM_SCORE_MAX);
    if wanted != now {
        std::fs::write(OOM_SCORE, format!("{wanted}\n"))
            .map_err(|error| format!("Unable to write oom_score_adj: {}", super::reason(&error)))?;
    }
    *changed = score.map(|_| (base, wanted));
    Ok(())
}

/// Seconds that the clocks of this place are ahead of UTC at a time, given in seconds of 1970.
pub fn utc_offset(seconds: i64) -> i64 {
    // SAFETY: reads one number, writes one tm, which may be all zero.
    unsafe {
        let mut local: libc::tm = std::mem::zeroed();
        libc::localtime_r(&raw const seconds, &raw mut local);
        local.tm_gmtoff
    }
}
