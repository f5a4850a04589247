//! Starts the process: configuration, sockets, one pinned thread a core, the control thread; and
//! ends it.
//!
//! Invariant: everything that may fail fails before a client can connect, with a line that says what
//! to do; the lines of the start are those that scripts wait for.

mod backend;
mod check_aof;
mod check_system;
mod host;
mod logging;
mod standing;

use std::io::ErrorKind;
use std::net::TcpListener;
use std::os::fd::{IntoRawFd, OwnedFd};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Barrier, Mutex};

use crate::acl::Users;
use crate::acl::file::{self as acl_file, Declarations};
use crate::base::alloc;
use crate::base::listening::{ListeningSocket, Name};
use crate::base::mailbox;
use crate::base::rng::Rng;
use crate::base::siphash::HashKey;
use crate::base::slot::Slot;
use crate::base::sys::{self, crash, process};
use crate::base::time::{Clock, SystemClock, TickRate};
use crate::base::turns::Turns;
use crate::command::session_context::Request;
use crate::command::whole::{Job, Part};
use crate::commands::replication::replicaof;
use crate::commands::server::acl;
use crate::commands::server::report::report;
use crate::config::args::{self, Startup};
use crate::config::{self, Config, Loaded};
use crate::control::{self, Ask, ControlThread, Done, Handle};
use crate::dispatch::worker::Identity;
use crate::dispatch::{replay, table};
use crate::event_loop::{self, Answer, Control, Core, MAILBOX_CAPACITY, Mail, Message, Parts};
use crate::net::listener::Listener;
use crate::observe::journal::Journal;
use crate::observe::link::PrimaryLink;
use crate::observe::log;
use crate::observe::persistence::{ENDING, Persistence};
use crate::observe::process::ProcessFacts;
use crate::observe::replication::{Replication, ReplicationId};
use crate::observe::server::{IRONRING_VERSION, REDIS_VERSION, ServerFacts, reserved_descriptors};
use crate::observe::stats::{CoreStats, Gauge};
use crate::persist::aof::block::Opened;
use crate::persist::load::{Load, LoadOrder, Piece, RewriteOrder};
use crate::persist::save::{Outgoing, Piece as SavePiece, Save};
use crate::pubsub::tracking::letterboxes;
use crate::replication::chunk::FromPrimary;
use crate::ring::Backend;
use crate::ring::epoll::EpollRing;
use crate::ring::kernel::KernelRing;
use crate::store::key::Hasher;
use crate::store::partition::Partition;
use crate::tls::{self, Newcomer, Secured};
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
    let processors = sys::allowed_processors();
    let cores = core_count(&config, processors.len());
    let mut clock = SystemClock::new();
    let way = match backend::choose(config.io_backend) {
        Ok(way) => way,
        Err(reason) => return refuse(&reason),
    };
    let facts = Arc::new(ServerFacts {
        run_id: random_id(),
        pid: std::process::id(),
        process: ProcessFacts::new(way.name(), standing.supervised, cores),
        started: clock.wall().millis(),
        executable: std::env::current_exe()
            .map_or(String::new(), |path| path.display().to_string()),
        config_file: file.map_or(String::new(), |path| String::from_utf8_lossy(&path).into_owned()),
        os: sys::uname(),
        system_memory: sys::system_memory(),
        startup_memory: AtomicU64::new(0),
        list_packed_threshold: AtomicU64::new(0),
        peak_memory: AtomicU64::new(0),
        resident_memory: AtomicU64::new(0),
        stats: (0..cores)
            .map(|_| Arc::new(CoreStats::new(table::table().all().len(), config.databases)))
            .collect(),
        clients: (0..cores).map(|_| Gauge::default()).collect(),
        client_ids: AtomicU64::new(0),
        logged: Default::default(),
        shutdown: AtomicBool::new(false),
        busy: crate::observe::busy::BusyScripts::new(cores),
        persistence: Persistence::new(clock.wall().millis().seconds()),
        journal: Journal::default(),
        primary_link: PrimaryLink::default(),
        replication: Replication::new(ReplicationId::new(std::array::from_fn(|_| {
            let mut word = [0; 4];
            host::random_bytes(&mut word);
            u32::from_le_bytes(word)
        }))),
    });
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
        let users = first_users(&config, declared)?;
        let people = (Arc::new(config), Arc::new(users));
        let start = match &way {
            Way::IoUring => start_cores::<KernelRing>,
            Way::Epoll(_) => start_cores::<EpollRing>,
        };
        start(&people, &facts, &control.handle(), &event_fds, &processors)
    });
    let code = match started {
        Ok(threads) => {
            wait_for_the_end(&control.handle(), &facts);
            control::tell_supervisor(&facts, "STOPPING=1");
            let orderly = threads.into_iter().all(|thread| thread.join().is_ok());
            remove_socket_file(&unix_socket);
            standing.end();
            log::warning("Ironring is now ready to exit, bye bye...");
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

/// The users that the server starts with: those of the configuration, or of the ACL file.
fn first_users(config: &Config, declared: &Declarations) -> Result<Users, String> {
    let text = |report: Vec<u8>| String::from_utf8_lossy(&report).into_owned();
    let users = Users::clone(&table::table().first_users(config));
    let defaults = acl::defaults(config);
    if config.aclfile.is_empty() {
        let users = declared.make(users, defaults).map_err(|line| {
            log::warning(text(line));
            "Critical error while loading ACLs. Exiting.".to_owned()
        })?;
        for named in declared.names().filter_map(|name| users.find(name)) {
            if !named.user.is_enabled() {
                let name = String::from_utf8_lossy(&named.name);
                log::notice(format!(
                    "The user '{name}' is disabled (there is no 'on' modifier in the user description). Make sure this is not a configuration error."
                ));
            }
        }
        return Ok(users);
    }
    if !declared.is_empty() {
        return Err("Configuring Redis with users defined in redis.conf and at the same setting an ACL file path is invalid. This setup is very likely to lead to configuration errors and security holes, please define either an ACL file or declare users directly in your redis.conf, but not both.".into());
    }
    let report = |report: String| format!("Aborting Redis startup because of ACL errors: {report}");
    let path = &config.aclfile;
    let content = host::read_file(path).map_err(|reason| {
        let path = String::from_utf8_lossy(path);
        report(format!("Error loading ACLs, opening file '{path}': {reason}"))
    })?;
    let parsed = acl_file::parse(&content, path, users.catalogue(), defaults);
    Ok(users.replace(parsed.map_err(|line| report(text(line)))?))
}

/// Opens all listening sockets; an address with `-` before it may be missing.
fn listen(config: &Config) -> Result<Vec<Listener>, String> {
    if config.port != 0 && config.port == config.tls_port {
        return Err(format!("Failed listening on port {} (tls), aborting.", config.port));
    }
    let mut sockets = Vec::new();
    for name in config.listening_names(host::resolve) {
        let socket = open(&name, config.tcp_backlog).map_err(|error| {
            let port = name.address.map_or(config.port, |address| address.port());
            log::warning(format!(
                "Warning: Could not create server TCP listening socket {}:{port}: bind: {}",
                name.text,
                sys::reason(&error)
            ));
            let way = if port == config.tls_port { "tls" } else { "tcp" };
            format!("Failed listening on port {port} ({way}), aborting.")
        })?;
        sockets.extend(socket);
    }
    if !config.unixsocket.is_empty() {
        let path = String::from_utf8_lossy(&config.unixsocket);
        let opened = ListeningSocket::unix(&path, config.unixsocketperm, config.tcp_backlog);
        sockets.push(opened.map_err(|error| {
            format!("Failed opening Unix socket: bind: {}", sys::reason(&error))
        })?);
    }
    if sockets.is_empty() {
        return Err("Configured to not listen anywhere, exiting.".into());
    }
    Ok(sockets.into_iter().map(|socket| Listener::new(Arc::new(socket))).collect())
}

/// Listens on an address. One in use is tried again for a while: the kernel takes a moment to close what
/// the ring of a killed process still listens on, and scripts start the next one at once.
fn open(name: &Name, backlog: i32) -> std::io::Result<Option<ListeningSocket>> {
    for _ in 0..BIND_TRIES {
        match name.open(backlog) {
            Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {
                std::thread::sleep(BIND_PAUSE);
            }
            result => return result,
        }
    }
    name.open(backlog)
}

/// Together about a second.
const BIND_TRIES: u32 = 50;
const BIND_PAUSE: std::time::Duration = std::time::Duration::from_millis(20);

/// Listens for those who want metrics.
fn listen_for_metrics(config: &Config) -> Result<Vec<TcpListener>, String> {
    let mut sockets = Vec::new();
    for name in config.metrics_names(host::resolve) {
        let opened = match name.address {
            Some(address) => TcpListener::bind(address),
            None => Err(std::io::Error::new(ErrorKind::NotFound, "Name or service not known")),
        };
        match opened {
            Ok(socket) => sockets.push(socket),
            Err(_) if name.is_optional => {}
            Err(error) => {
                return Err(format!(
                    "Could not listen for metrics on {}:{}: {}",
                    name.text,
                    config.metrics_port,
                    sys::reason(&error)
                ));
            }
        }
    }
    Ok(sockets)
}

type Threads = Vec<std::thread::JoinHandle<()>>;

/// One core's ends of its queues to and from every core.
struct Ends {
    senders: Vec<Option<mailbox::Sender<Message>>>,
    receivers: Vec<Option<mailbox::Receiver<Message>>>,
}

fn mailboxes(cores: usize) -> Vec<Ends> {
    let empty = || Ends {
        senders: (0..cores).map(|_| None).collect(),
        receivers: (0..cores).map(|_| None).collect(),
    };
    let mut ends: Vec<Ends> = (0..cores).map(|_| empty()).collect();
    for from in 0..cores {
        for to in (0..cores).filter(|to| *to != from) {
            let (sender, receiver) = mailbox::channel(MAILBOX_CAPACITY);
            ends[from].senders[to] = Some(sender);
            ends[to].receivers[from] = Some(receiver);
        }
    }
    ends
}

/// Starts one pinned thread a core; returns when every ring is set up, or with the first failure.
fn start_cores<R: Backend>(
    (config, users): &(Arc<Config>, Arc<Users>),
    facts: &Arc<ServerFacts>,
    control: &Arc<Handle>,
    event_fds: &[i32],
    processors: &[usize],
) -> Result<Threads, String> {
    let mut tls = None;
    if tls::Context::is_needed(config) {
        let context = tls::Context::load(config);
        let context =
            context.map_err(|_| "Failed to configure TLS. Check logs for more info.".to_owned())?;
        tls = Some(Arc::new(context));
    }
    let mut listeners = listen(config)?;
    let metrics = listen_for_metrics(config)?;
    let cores = event_fds.len();
    let map = SlotMap::new(cores);
    let mut secret = [0; 16];
    host::random_bytes(&mut secret);
    let half = |at: usize| u64::from_le_bytes(secret[at..at + 8].try_into().unwrap_or_default());
    let hasher = Hasher::new(HashKey { k0: half(0), k1: half(8) });
    let tick_rate = TickRate::calibrate();
    let parked = &facts.process.parked;
    let turns = Arc::new(Turns::new(cores));
    let letterboxes = letterboxes(cores);
    let ring_fds = Arc::new(Mutex::new(vec![Ok(-1); cores]));
    let barrier = Arc::new(Barrier::new(cores + 1));
    let mut threads = Threads::new();
    for (core, ends) in mailboxes(cores).into_iter().enumerate() {
        let shared = (parked.clone(), turns.clone(), letterboxes.clone());
        let mail = Mail::new(core, ends.senders, ends.receivers, shared);
        let listeners = if core == 0 { std::mem::take(&mut listeners) } else { Vec::new() };
        let identity = Identity {
            core,
            config: config.clone(),
            tls: tls.clone(),
            users: users.clone(),
            server: facts.clone(),
            hasher,
            rng: Rng::new(half(0) ^ half(8) ^ core as u64),
            tick_rate,
        };
        let (first, last) = map.range(core);
        let (control, event_fd, databases) = (control.clone(), event_fds[core], config.databases);
        let may_spin = cores <= processors.len();
        let processor = may_spin.then(|| processors[core]);
        let (ring_fds, barrier) = (ring_fds.clone(), barrier.clone());
        let run = move || {
            alloc::register_thread();
            crash::register_thread(Some(core));
            if let Some(processor) = processor {
                // A thread that cannot be pinned still works.
                let _ = sys::pin_thread(processor);
            }
            let ring = R::open(event_fd);
            let result = ring.as_ref().map(R::wake_fd).map_err(R::refusal);
            lock(&ring_fds)[core] = result;
            barrier.wait();
            let peers: Vec<i32> = lock(&ring_fds).iter().flatten().copied().collect();
            let (Ok(mut ring), true) = (ring, peers.len() == cores) else { return };
            ring.set_peers(peers);
            let slots = (Slot::from_number(first.into()), Slot::from_number(last.into()));
            let (Some(first), Some(last)) = slots else { return };
            let partition = Box::new(Partition::new(first, last, databases, hasher));
            let clock = SystemClock::new();
            let parts =
                Parts { ring, clock, identity, partition, mail, listeners, control, may_spin };
            Core::new(parts).run();
        };
        let thread = std::thread::Builder::new().name(format!("core-{core}")).spawn(run);
        threads.push(thread.map_err(|error| format!("Cannot start a thread: {error}"))?);
    }
    barrier.wait();
    if let Some(reason) = lock(&ring_fds).iter().find_map(|result| result.clone().err()) {
        return Err(reason);
    }
    facts.startup_memory.store(alloc::used_memory() as u64, Ordering::Relaxed);
    log::notice("Server initialized");
    control.serve_metrics(metrics);
    control.load(event_loop::load_order(config, None));
    Ok(threads)
}

/// The end: nobody can connect any more.
fn remove_socket_file(unix_socket: &[u8]) {
    if !unix_socket.is_empty() {
        log::notice("Removing the unix socket file.");
        host::remove_file(unix_socket);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
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

impl Control for Handle {
    fn ask(&self, core: usize, ticket: u64, request: Request) {
        let ask = Ask { core, ticket };
        match request {
            Request::Shutdown => self.shut_down(),
            Request::Discard
            | Request::Unwatch
            | Request::Leave(_)
            | Request::Sync(_)
            | Request::AwaitAcks(_)
            | Request::Save(_)
            | Request::Rewrite => {
                unreachable!("a core does this itself")
            }
            Request::Migrate(parcel) => self.migrate(ask, parcel),
            Request::Follow(primary) => self.follow(ask, primary),
            Request::RewriteConfig { config, users } => self.rewrite_config(ask, config, users),
            Request::SaveUsers { config, users } => {
                self.save_users(ask, host::path(&config.aclfile), users);
            }
            Request::LoadUsers { config, users, client } => {
                let path = host::path(&config.aclfile);
                self.load_users(ask, path, users, (acl::defaults(&config), client));
            }
        }
    }

    fn answer(&self, core: usize) -> Option<(u64, Result<Answer, String>)> {
        let (ticket, outcome) = Handle::answer(self, core)?;
        let outcome = outcome.map(|done| match done {
            Done::Task => Answer::Done,
            Done::Rewrite => Answer::Said("Background append only file rewriting started"),
            Done::Migrated(outcome) => Answer::Migrated(outcome),
            Done::Unfollowed(primary) => {
                Answer::Everywhere(replicaof::take_role(primary, self.server()))
            }
            Done::Users(users, client) => Answer::Everywhere(acl::change::install(users, client)),
        });
        Some((ticket, outcome))
    }

    fn save(&self, save: &Arc<Save>, piece: SavePiece) {
        Handle::save(self, save, piece);
    }

    fn load(&self, order: LoadOrder) {
        Handle::load(self, order);
    }

    fn loaded(&self, core: usize) -> Option<(Arc<Load>, Piece)> {
        Handle::loaded(self, core)
    }

    fn inquiry(&self, core: usize) -> Option<Job> {
        let answer = Handle::inquiry(self, core)?;
        let server = self.server();
        Some(Arc::new(move |view| {
            // Who has asked may have gone.
            let _ = answer.send(report(view, &server, table::table()));
            Part::Done
        }))
    }

    fn use_tls(&self, context: Arc<tls::Context>) {
        Handle::use_tls(self, context);
    }

    fn secure(&self, newcomer: Newcomer) {
        Handle::secure(self, newcomer);
    }

    fn secured(&self, core: usize) -> Option<Box<Secured>> {
        Handle::secured(self, core)
    }

    fn rewrite(&self, order: RewriteOrder) {
        Handle::rewrite(self, order);
    }

    fn fill(&self, fd: OwnedFd, number: u64, place: (u64, u64)) {
        Handle::fill(self, fd, number, place);
    }

    fn trim(&self, fd: OwnedFd, len: u64) {
        Handle::trim(self, fd, len);
    }

    fn journal(&self) -> Option<Opened> {
        Handle::journal(self)
    }

    fn followed(&self) -> Option<FromPrimary> {
        Handle::followed(self)
    }

    fn acknowledge(&self) {
        Handle::acknowledge(self);
    }

    fn configured(&self, config: &Arc<Config>) {
        Handle::configured(self, config);
    }

    fn outgoing(&self) -> Option<Outgoing> {
        Handle::outgoing(self)
    }

    fn took(&self, bytes: u64) {
        Handle::took(self, bytes);
    }

    fn give_up(&self) {
        Handle::give_up(self);
    }

    fn shut_down(&self) {
        Handle::shut_down(self);
        // The main thread waits for a signal.
        sys::raise_signal(libc::SIGTERM);
    }
}
