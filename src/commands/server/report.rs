//! What a core reports to the control plane, from its view.
//!
//! Invariant: no client asked for it, and it changes nothing; it shows what INFO, CONFIG GET, SLOWLOG,
//! LATENCY and CLIENT LIST show.

use super::info::InfoFacts;
use super::latency;
use crate::base::time::Micros;
use crate::client::{Verdict, info};
use crate::command::CommandTable;
use crate::command::whole::CoreView;
use crate::observe::command_log::LogKind;
use crate::observe::report::{
    CLIENTS_MAX, ClientRow, CoreReport, ProcessReport, SLOW_COMMANDS_MAX,
};
use crate::observe::server::ServerFacts;

/// The core that reports for the process.
const SPOKESMAN: usize = 0;
/// Directives that are of interest to whoever watches the server.
const SETTINGS: &[&str] = &["maxclients", "maxmemory", "io-threads", "client-output-buffer-limit"];
/// What a client shows of its name.
const NAME_BYTES_MAX: usize = 128;

/// The report of the core of this view.
pub fn report(
    view: &mut CoreView<'_>,
    server: &ServerFacts,
    table: &dyn CommandTable,
) -> CoreReport {
    let process = (view.core == SPOKESMAN).then(|| {
        let facts = InfoFacts {
            server,
            config: view.config,
            tls: view.tls.as_deref(),
            now: view.now,
            wall: Micros(view.now.0 * 1000),
            stats: view.stats,
            scripts: view.scripts,
            functions: view.functions,
            directory: view.directory,
            table,
        };
        ProcessReport {
            info: facts.everything(),
            settings: SETTINGS.iter().map(|name| (*name, view.config.text_of(name))).collect(),
            latencies: latency::of_commands(server, table),
        }
    });
    CoreReport {
        core: view.core,
        clients: clients(view),
        slow: view.command_log.newest(LogKind::Slow, SLOW_COMMANDS_MAX),
        latency: view.latency.clone(),
        keys: view.keys.clone(),
        process,
    }
}

/// The clients that hold most.
fn clients(view: &mut CoreView<'_>) -> Vec<ClientRow> {
    let now = view.now;
    let mut rows: Vec<ClientRow> = Vec::new();
    let mut least = 0;
    view.clients.for_each(&mut |session, held| {
        let bytes = held.total_bytes as u64;
        if rows.len() == 2 * CLIENTS_MAX {
            keep_largest(&mut rows);
            least = rows.last().map_or(0, |row| row.bytes);
        }
        if rows.len() < CLIENTS_MAX || bytes > least {
            rows.push(ClientRow {
                id: session.facts.id,
                addr: session.addr.clone(),
                name: session.name[..session.name.len().min(NAME_BYTES_MAX)].to_vec(),
                age_seconds: info::age_seconds(session, now),
                idle_seconds: info::idle_seconds(session, now),
                flags: info::flags(session, held),
                bytes,
                commands: session.commands,
                last_command: session.last_command,
            });
        }
        Verdict::Keep
    });
    keep_largest(&mut rows);
    rows
}

fn keep_largest(rows: &mut Vec<ClientRow>) {
    rows.sort_by_key(|row| std::cmp::Reverse(row.bytes));
    rows.truncate(CLIENTS_MAX);
}
