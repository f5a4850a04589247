//! What a core tells of itself when the control plane asks: for the metrics and the status page.
//!
//! Invariant: bounded, whatever the core holds; made between two batches of commands, and plain data
//! from then on.

use std::sync::Arc;

use super::command_log::LoggedCommand;
use super::keys::KeySamples;
use super::latency::Latency;

/// Clients of a core that are told of.
pub const CLIENTS_MAX: usize = 100;
/// Slow commands of a core that are told of.
pub const SLOW_COMMANDS_MAX: usize = 64;

/// A client, as CLIENT LIST shows it.
#[derive(Clone, Debug)]
pub struct ClientRow {
    /// Its number.
    pub id: u64,
    /// Its address.
    pub addr: String,
    /// Its name.
    pub name: Vec<u8>,
    /// Seconds since it connected.
    pub age_seconds: i64,
    /// Seconds since it sent something.
    pub idle_seconds: i64,
    /// Letters of its state.
    pub flags: String,
    /// Bytes that it makes the server hold.
    pub bytes: u64,
    /// Commands that it sent.
    pub commands: u64,
    /// Its last command.
    pub last_command: &'static str,
}

/// The calls of a command that took at most so many microseconds, cumulated.
#[derive(Clone, Debug)]
pub struct CommandLatency {
    /// The command's full name.
    pub name: &'static str,
    /// Calls.
    pub calls: u64,
    /// Upper ends of buckets in microseconds, and the calls up to there.
    pub buckets: Vec<(u64, u64)>,
}

/// What only one core tells, for the whole process.
#[derive(Clone, Debug)]
pub struct ProcessReport {
    /// The text of INFO EVERYTHING.
    pub info: Vec<u8>,
    /// Directives that are of interest, with their values.
    pub settings: Vec<(&'static str, String)>,
    /// How long commands take.
    pub latencies: Vec<CommandLatency>,
}

/// What a core tells.
#[derive(Clone, Debug)]
pub struct CoreReport {
    /// The core.
    pub core: usize,
    /// Its clients that hold most.
    pub clients: Vec<ClientRow>,
    /// Its newest slow commands.
    pub slow: Vec<Arc<LoggedCommand>>,
    /// What took long.
    pub latency: Latency,
    /// Keys that stand out.
    pub keys: KeySamples,
    /// From the first core: what concerns the process.
    pub process: Option<ProcessReport>,
}
