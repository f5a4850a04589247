//! The log of a process: who gets its lines, and its last words.
//!
//! Invariant: a line is complete when it leaves the thread that logs it.

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::base::sys::{crash, process};
use crate::config::Config;
use crate::config::choices::SyslogFacility;
use crate::control::Handle;
use crate::dispatch::table::table;
use crate::observe::log::{self, Level};
use crate::observe::server::{IRONRING_VERSION, REDIS_VERSION, ServerFacts};

/// Sends the lines of this process to the control plane.
pub(super) fn install(config: &Config, handle: &Arc<Handle>, facts: &Arc<ServerFacts>) {
    if config.syslog_enabled {
        process::open_syslog(&config.syslog_ident, facility(config.syslog_facility));
    }
    let (handle, facts) = (handle.clone(), facts.clone());
    let has_syslog = config.syslog_enabled;
    log::install(Box::new(move |level: Level, message: String| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let follows = facts.stats[0].follows.get() == 1;
        let line = log::line((facts.pid, follows), now.as_millis() as i64, level, &message);
        handle.log(line, has_syslog.then_some((level.priority(), message)));
    }));
}

fn facility(configured: SyslogFacility) -> i32 {
    match configured {
        SyslogFacility::User => libc::LOG_USER,
        SyslogFacility::Local0 => libc::LOG_LOCAL0,
        SyslogFacility::Local1 => libc::LOG_LOCAL1,
        SyslogFacility::Local2 => libc::LOG_LOCAL2,
        SyslogFacility::Local3 => libc::LOG_LOCAL3,
        SyslogFacility::Local4 => libc::LOG_LOCAL4,
        SyslogFacility::Local5 => libc::LOG_LOCAL5,
        SyslogFacility::Local6 => libc::LOG_LOCAL6,
        SyslogFacility::Local7 => libc::LOG_LOCAL7,
    }
}

/// Makes the process tell of its crashes.
pub(super) fn report_crashes(config: &Config, facts: &Arc<ServerFacts>, pid_file: Option<&Path>) {
    let in_c = |path: &Path| CString::new(path.as_os_str().as_bytes()).ok();
    let log_file = (!config.logfile.is_empty()).then(|| super::host::path(&config.logfile));
    let cores = facts.clone();
    crash::install(crash::Reporter {
        log_file: log_file.and_then(|path| in_c(&path)),
        version: format!("Ironring {IRONRING_VERSION} (Redis {REDIS_VERSION})"),
        teller: Box::new(move |out, core| {
            let all = 0..cores.stats.len();
            for core in all.filter(|one| core.is_none_or(|core| core == *one)) {
                let stats = &cores.stats[core];
                let (command, client) = stats.running();
                let known = command.and_then(|number| table().all().get(number));
                let name = known.map_or("none yet", |registered| registered.full_name);
                let _ = writeln!(out, "core {core}: last command '{name}' of client id={client}");
            }
        }),
        pid_file: pid_file.and_then(in_c),
    });
    crash::enable(config.crash_log_enabled);
}
