//! Starts the process: configuration, sockets, one pinned thread a core, the control thread; and
//! ends it.
//!
//! Invariant: everything that may fail fails before a client can connect, with a line that says what
//! to do; the lines of the start are those that scripts wait for.

mod backend;
mod check_aof;
mod check_system;
mod cores;
mod host;
mod logging;
mod requests;
mod sockets;
mod standing;
mod users;

use std::os::fd::{IntoRawFd, OwnedFd};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::acl::file::Declarations;
use crate::base::alloc;
use crate::base::sys::{self, process};
use crate::base::time::{Clock, SystemClock};
use crate::config::args::{self, Startup};
use crate::config::{self, Config, Loaded};
use crate::control::{self, ControlThread, Handle};
use crate::dispatch::{replay, table};
use crate::event_loop;
use crate::observe::log;
use crate::observe::persistence::{ENDING, Persistence};
use crate::observe::process::ProcessFacts;
use crate::observe::replication::ReplicationId;
use crate::observe::server::{IRONRING_VERSION, REDIS_VERSION, ServerFacts, reserved_descriptors};
use crate::ring::epoll::EpollRing;
use crate::ring::kernel::KernelRing;
use crate::txn::cores::{CORES_MAX, SlotMap};
use backend::Way;
use standing::Standing;

/// Signals that end the process.
const ENDING_SIGNALS: [i32; 2] = [libc::SIGTERM, libc::SIGINT];

/// Runs the program with these arguments; its exit code.
pub fn main(args: &[Vec<u8>]) -> ExitCode {
    match args::parse_args(args) {
        Startup::Version => {
            println!("Ironring server v={IRONRING_VERSION} redis_version={REDIS_VERSION} bits=64");
            ExitCode::SUCCESS
        }
        Startup::Help => {
            eprint!("{}", args::usage("ironring"));
            ExitCode::FAILURE
        }
        Startup::TestMemory(_) => {
            eprintln!("Ironring does not test memory: use memtest86 or memtester");
            ExitCode::FAILURE
        }
        Startup::CheckSystem => check_system::run(),
        Startup::CheckAof(Some(check)) => check_aof::run(&check),
        Startup::CheckAof(None) => {
            eprint!("{}", args::usage("ironring"));
            ExitCode::FAILURE
        }
        Startup::Serve(sources) => {
            let mut host = host::SystemHost::new();
            match config::load(&sources, &mut host) {
                Ok(loaded) => {
                    table::install(host.table);
                    serve(loaded, &host.declared)
                }
                Err(config::LoadError::Report(text) | config::LoadError::Unreadable(text)) => {
                    eprintln!("{}", String::from_utf8_lossy(&text).trim_end_matches('\n'));
                    ExitCode::FAILURE
                }
            }
        }
    }
}

fn serve(loaded: Loaded, declared: &Declarations) -> ExitCode {
    let Loaded { config, file, notices } = loaded;
    let standing = match Standing::begin(&config) {
        Ok(standing) => standing,
        Err(reason) => return refuse(&reason),
    };
    sys::ignore_signals();
    sys::block_signals(&ENDING_SIGNALS);
    alloc::register_thread();
    cores::restrict(&config);
    let processors = sys::allowed_processors();
    let cores = core_count(&config, processors.len());
    let way = match backend::choose(config.io_backend) {
        Ok(way) => way,
        Err(reason) => return refuse(&reason),
    };
    let facts = Arc::new(facts(&config, file, cores, (way.name(), standing.supervised)));
    let event_fds = (0..cores).map(|_| sys::event_fd().map(OwnedFd::into_raw_fd));
    let event_fds: Vec<_> = match event_fds.collect() {
        Ok(fds) => fds,
        Err(error) => return refuse(&format!("Cannot make an eventfd: {error}")),
    };
    let log_file = (!config.logfile.is_empty()).then(|| host::path(&config.logfile));
    let map = SlotMap::new(cores);
    let listens = (config.port != 0 || config.tls_port != 0, !config.unixsocket.is_empty());
    let owner = Box::new(move |slot| map.owner(slot));
    let router = replay::router(map);
    let has_ring = way == Way::IoUring;
    let places = (log_file, has_ring);
    let control =
        ControlThread::start(facts.clone(), event_fds.clone(), places, (owner, router), listens);
    // Whoever connects from the first moment on has to wait for the data.
    facts.persistence.begin_load(facts.started.seconds());
    event_loop::follow_log(&config);
    log::set_utc_offset(process::utc_offset(facts.started.seconds()));
    logging::install(&config, &control.handle(), &facts);
    logging::report_crashes(&config, &facts, standing.pid_file.as_deref());
    let unix_socket = config.unixsocket.clone();
    control::tell_supervisor(&facts, "STATUS=Ironring is loading...");
    announce(&facts);
    standing.announce(&config);
    if let Way::Epoll(line) = &way {
        log::warning(line.clone());
    }
    let config = fit_open_files(config, cores);
    let started = config.and_then(|config| {
        announce_place(&config, &facts, &notices, cores);
        let users = users::first(&config, declared)?;
        let people = (Arc::new(config), Arc::new(users));
        let start = match &way {
            Way::IoUring => cores::start::<KernelRing>,
            Way::Epoll(_) => cores::start::<EpollRing>,
        };
        start(&people, &facts, &control.handle(), &event_fds, &processors)
    });
    let code = match started {
        Ok(threads) => {
            wait_for_the_end(&control.handle(), &facts);
            control::tell_supervisor(&facts, "STOPPING=1");
            let orderly = threads.into_iter().all(|thread| thread.join().is_ok());
            sockets::remove_file(&unix_socket);
            standing.end();
            log::warning("Redis is now ready to exit, bye bye...");
            let orderly = orderly && !facts.persistence.fatal.load(Ordering::Acquire);
            if orderly { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(reason) => {
            log::warning(reason);
            ExitCode::FAILURE
        }
    };
    control.join();
    code
}

/// What all cores know of the process, as it begins: with which ring, and by whom it is supervised.
fn facts(
    config: &Config,
    file: Option<Vec<u8>>,
    cores: usize,
    (backend, supervised): (&'static str, &'static str),
) -> ServerFacts {
    let now = SystemClock::new().wall().millis();
    let process = ProcessFacts::new(backend, supervised, cores);
    let sizes = (cores, table::table().all().len(), config.databases);
    let history = ReplicationId::new(std::array::from_fn(|_| {
        let mut word = [0; 4];
        host::random_bytes(&mut word);
        u32::from_le_bytes(word)
    }));
    ServerFacts {
        run_id: random_id(),
        executable: std::env::current_exe()
            .map_or(String::new(), |path| path.display().to_string()),
        config_file: file.map_or(String::new(), |path| String::from_utf8_lossy(&path).into_owned()),
        os: sys::uname(),
        system_memory: sys::system_memory(),
        persistence: Persistence::new(now.seconds(), config.key_load_delay),
        ..ServerFacts::new(process, now, sizes, history)
    }
}

fn refuse(reason: &str) -> ExitCode {
    eprintln!("{reason}");
    ExitCode::FAILURE
}

/// The cores of the server: as configured, else one a processor within the quota of the cgroup.
fn core_count(config: &Config, processors: usize) -> usize {
    let cores = match config.cores {
        0 => host::cpu_quota().map_or(processors, |quota| quota.min(processors)),
        cores => cores,
    };
    cores.clamp(1, CORES_MAX)
}

/// Forty random hexadecimal digits.
fn random_id() -> String {
    let mut bytes = [0; 20];
    host::random_bytes(&mut bytes);
    bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]).map(hex_digit).collect()
}

fn hex_digit(value: u8) -> char {
    char::from_digit(value.into(), 16).unwrap_or('0')
}

/// What a terminal shows above the first lines.
const LOGO: &str = "   _____\n  / ___ \\   Ironring\n / /   \\ \\  a Redis-compatible server,\n \\ \\___/ /  one ring a core\n  \\_____/";

/// The first lines of the start, worded as scripts expect them.
fn announce(facts: &ServerFacts) {
    log::notice("oO0OoO0OoO0Oo Ironring is starting oO0OoO0OoO0Oo");
    log::notice(format!(
        "Ironring version={IRONRING_VERSION}, Redis version={REDIS_VERSION}, bits=64, pid={}, just started",
        facts.pid
    ));
    if facts.config_file.is_empty() {
        log::warning(
            "Warning: no config file specified, using the default config. In order to specify a config file use ironring /path/to/redis.conf",
        );
    } else {
        log::notice("Configuration loaded");
    }
}

/// The last lines before the sockets: where the server is to be found.
fn announce_place(config: &Config, facts: &ServerFacts, notices: &[String], cores: usize) {
    if standing::shows_logo(config) {
        LOGO.lines().for_each(log::notice);
    }
    let port = if config.port == 0 { config.tls_port } else { config.port };
    log::notice(format!("Running mode=standalone, port={port}, cores={cores}."));
    // Scripts look for the process id in a line of this form.
    log::notice(format!("Server started on port {port}, PID: {}", facts.pid));
    for notice in notices {
        log::notice(notice.clone());
    }
}

/// Raises the limit of open files to what `maxclients` needs; where the system does not allow it,
/// there is room for fewer clients, and for none of them the server does not start.
fn fit_open_files(config: Config, cores: usize) -> Result<Config, String> {
    let reserved = reserved_descriptors(cores);
    let wanted = u64::from(config.maxclients) + reserved;
    let granted = sys::raise_open_files(wanted);
    if granted >= wanted {
        return Ok(config);
    }
    if granted <= reserved {
        return Err(format!(
            "Your current 'ulimit -n' of {granted} is not enough for the server to start. Please increase your open file limit to at least {wanted}. Exiting."
        ));
    }
    let clients = granted - reserved;
    log::warning(format!(
        "You requested maxclients of {} requiring at least {wanted} max file descriptors.",
        config.maxclients
    ));
    log::warning(format!(
        "Current maximum open files is {granted}. maxclients has been reduced to {clients} to compensate for low ulimit. If you need higher maxclients increase 'ulimit -n'."
    ));
    Ok(config.with_maxclients(clients as u32))
}

/// Returns when SHUTDOWN or a signal has ended the cores' loops.
fn wait_for_the_end(control: &Arc<Handle>, facts: &ServerFacts) {
    let mut was_asked = false;
    loop {
        let signal = sys::wait_for_signal(&ENDING_SIGNALS);
        if control.is_ending() || facts.shutdown.load(Ordering::Acquire) {
            return control.shut_down();
        }
        if was_asked && signal == libc::SIGINT && standing::is_ending(facts) {
            standing::exit_now(facts);
        }
        was_asked = true;
        let (name, flags) = match signal {
            libc::SIGINT => ("SIGINT", &facts.process.signal_flags[0]),
            _ => ("SIGTERM", &facts.process.signal_flags[1]),
        };
        if facts.persistence.is_loading() {
            log::warning("Received shutdown signal during loading, scheduling shutdown.");
            return control.shut_down();
        }
        log::warning(format!("Received {name} scheduling shutdown..."));
        log::warning("User requested shutdown...");
        // A core ends the process, when all is saved that has to be.
        let flags = flags.load(Ordering::Relaxed);
        facts.persistence.ending.store(flags | ENDING, Ordering::Release);
        control.wake_all();
    }
}
