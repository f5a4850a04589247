//! How the process begins and ends in the eyes of the system: supervisor, background, pid file, huge
//! pages.
//!
//! Invariant: `begin` runs while there is one thread; nothing here runs on a core. Source: Redis 8.0.6.

use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use super::host;
use crate::base::sys::{self, crash, process};
use crate::config::Config;
use crate::config::choices::Supervised;
use crate::observe::log;
use crate::observe::server::ServerFacts;

/// Where a server in the background leaves its number if nobody says otherwise. Source: Redis.
const DEFAULT_PID_FILE: &str = "/var/run/redis.pid";
const HUGE_PAGES: &str = "/sys/kernel/mm/transparent_hugepage/enabled";

/// How the process stands.
pub(super) struct Standing {
    /// By whom it is supervised, as INFO names it.
    pub(super) supervised: &'static str,
    /// Where its number is left.
    pub(super) pid_file: Option<PathBuf>,
}

impl Standing {
    /// Takes the place that the configuration asks for; in the background, another process goes on.
    pub(super) fn begin(config: &Config) -> Result<Standing, String> {
        process::prepare_title();
        let is_upstarts = std::env::var_os("UPSTART_JOB").is_some();
        let is_systemds = process::supervisor().is_some();
        let supervised = match config.supervised {
            Supervised::Upstart | Supervised::Auto if is_upstarts => "upstart",
            Supervised::Systemd | Supervised::Auto if is_systemds => "systemd",
            _ => "no",
        };
        if supervised == "upstart" {
            // That is how it learns that this process is there.
            sys::raise_signal(libc::SIGSTOP);
        }
        let is_background = config.daemonize && supervised == "no";
        if is_background {
            process::daemonize()
                .map_err(|error| format!("Cannot go to the background: {}", sys::reason(&error)))?;
        }
        let pid_file = match (config.pidfile.is_empty(), is_background) {
            (false, _) => Some(host::path(&config.pidfile)),
            (true, true) => Some(PathBuf::from(DEFAULT_PID_FILE)),
            (true, false) => None,
        };
        Ok(Standing { supervised, pid_file })
    }

    /// Says in the log what does not stand as it should, and leaves the number of the process.
    pub(super) fn announce(&self, config: &Config) {
        let misses = matches!(config.supervised, Supervised::Systemd | Supervised::Upstart);
        if misses && self.supervised == "no" {
            log::warning(match config.supervised {
                Supervised::Systemd => {
                    "systemd supervision requested or auto-detected, but NOTIFY_SOCKET not found"
                }
                _ => "upstart supervision requested, but UPSTART_JOB not found",
            });
        }
        if let Some(path) = &self.pid_file
            && let Err(error) = std::fs::write(path, format!("{}\n", std::process::id()))
        {
            log::warning(format!("Failed to write PID file: {}", sys::reason(&error)));
        }
        let always =
            std::fs::read_to_string(HUGE_PAGES).is_ok_and(|text| text.contains("[always]"));
        if config.disable_thp
            && always
            && let Err(error) = process::disable_huge_pages()
        {
            log::warning(format!(
                "WARNING Transparent Huge Pages are on, and cannot be turned off for this process: {}. Run: echo madvise > {HUGE_PAGES}",
                sys::reason(&error)
            ));
        }
    }

    /// The process ends in order.
    pub(super) fn end(&self) {
        if let Some(path) = &self.pid_file {
            log::notice("Removing the pid file.");
            let _ = std::fs::remove_file(path);
        }
    }
}

/// True if a shutdown that a signal has asked for is under way.
pub(super) fn is_ending(facts: &ServerFacts) -> bool {
    let waits = facts.replication.ends_at.load(Ordering::Relaxed) != 0;
    waits || facts.persistence.ending.load(Ordering::Acquire) != 0 || facts.persistence.is_saving()
}

/// Somebody has lost patience: the process ends at once, with what is on the disk.
pub(super) fn exit_now(facts: &ServerFacts) -> ! {
    crash::tell("You insist... exiting now.");
    let _ = std::fs::remove_file(Path::new(&format!("temp-{}.rdb", facts.pid)));
    std::process::exit(1)
}

/// The first lines of a server that somebody looks at.
pub(super) fn shows_logo(config: &Config) -> bool {
    let is_seen = !config.syslog_enabled && config.logfile.is_empty() && process::is_terminal();
    config.always_show_logo || is_seen
}
