//! Commands that have a part on every core: what they may see there, and how the parts are gathered.
//!
//! Invariant: parts run on every core in one order for all such commands (the sequencer's), and the
//! reply is written at home after the last part came back; so a change of a registry is in force
//! everywhere before it is acknowledged.

use std::sync::{Arc, OnceLock};

use super::args::Args;
use super::{Outcome, SessionContext};
use crate::acl::{Log, Users, log::LogEntry};
use crate::base::listening::Change;
use crate::client::ConnectionTable;
use crate::client::replica::Listed;
use crate::config::Config;
use crate::observe::command_log::{CommandLog, LoggedCommand};
use crate::observe::hotkeys::HotKeySession;
use crate::observe::keys::KeySamples;
use crate::observe::latency::Latency;
use crate::observe::stats::CoreStats;
use crate::persist::aof::block::Lines;
use crate::pubsub::{Directory, Hearers, Monitors, Prefixes};
use crate::resp::reply::Reply;
use crate::script::{Functions, RunningFunction, Scripts};
use crate::store::partition::Partition;
use crate::store::sizes::KeySizes;
use crate::tls;

/// The two halves of a command that runs on every core.
#[derive(Clone, Copy, Debug)]
pub struct Whole {
    /// Checks the request at home, before anything is sent; an error ends the command there.
    pub begin: fn(&mut SessionContext<'_>, Args<'_>) -> Result<Job, super::CommandError>,
    /// Writes the reply at home, with the parts in the order of the cores.
    pub gather: fn(&mut SessionContext<'_>, Args<'_>, Vec<Part>, &mut Reply<'_>) -> Outcome,
}

impl Whole {
    /// A command that is answered with OK when every core has done its part.
    pub const fn acknowledged(
        begin: fn(&mut SessionContext<'_>, Args<'_>) -> Result<Job, super::CommandError>,
    ) -> Self {
        Self { begin, gather: acknowledge }
    }
}

fn acknowledge(
    _cx: &mut SessionContext<'_>,
    _args: Args<'_>,
    _parts: Vec<Part>,
    reply: &mut Reply<'_>,
) -> Outcome {
    reply.ok();
    Ok(())
}

/// What every core does for the command.
pub type Job = Arc<dyn Fn(&mut CoreView<'_>) -> Part + Send + Sync>;

/// What a core answers.
#[derive(Debug, Default)]
pub enum Part {
    /// Nothing but that it was done.
    #[default]
    Done,
    /// A number to be added.
    Count(u64),
    /// Text to be joined.
    Text(Vec<u8>),
    /// Entries of ACL LOG, from the core that keeps it.
    Refusals(Vec<LogEntry>),
    /// Entries of a command log.
    Logged(Vec<Arc<LoggedCommand>>),
    /// What took long.
    Latency(Latency),
    /// The function that has run for too long on the core.
    Running(RunningFunction),
    /// The replicas among the clients of the core.
    Replicas(Vec<Listed>),
    /// What INFO KEYSIZES needs: the replicas, too, and how large the keys of the core are.
    KeySizes(Vec<Listed>, KeySizes),
    /// What HOTKEYS has counted on the core.
    HotKeys(Box<HotKeySession>),
    /// Why it could not be done.
    Failed(String),
}

/// What a part may see of the core that it runs on.
pub struct CoreView<'a> {
    /// The core's number.
    pub core: usize,
    /// The core's partition, unless another core has it now.
    pub partition: Option<&'a Partition>,
    /// The clients that live here.
    pub clients: &'a mut dyn ConnectionTable,
    /// The configuration that this core works with; replaced whole.
    pub config: &'a mut Arc<Config>,
    /// The users that this core knows; replaced whole.
    pub users: &'a mut Arc<Users>,
    /// The log of refusals; only that of one core is ever filled.
    pub acl_log: &'a mut Log,
    /// Who listens to channels; equal on every core.
    pub directory: &'a mut Directory,
    /// The clients of this core that do.
    pub hearers: &'a mut Hearers,
    /// The remarkable commands of the clients that live here.
    pub command_log: &'a mut CommandLog,
    /// What took long here.
    pub latency: &'a mut Latency,
    /// Who watches all commands; the cores are equal on every core.
    pub monitors: &'a mut Monitors,
    /// Who wants to hear of which prefixes; equal on every core.
    pub prefixes: &'a mut Prefixes,
    /// The scripts that this core knows.
    pub scripts: &'a mut Scripts,
    /// The libraries of functions that this core knows.
    pub functions: &'a mut Functions,
    /// Where what is kept of a change is noted, on the one core that does it.
    pub lines: Option<&'a mut Lines>,
    /// The core's counters.
    pub stats: &'a CoreStats,
    /// Switches of DEBUG that live on each core.
    pub switches: &'a mut Switches,
    /// What the core that accepts is to listen on from now on.
    pub listening: &'a mut Option<Arc<Change>>,
    /// The certificates that those who connect from now on find; replaced whole.
    pub tls: &'a mut Option<Arc<tls::Context>>,
    /// What HOTKEYS counts on this core.
    pub hotkeys: &'a mut Option<Box<HotKeySession>>,
    /// Keys of this core that stand out.
    pub keys: &'a mut KeySamples,
    /// The time of this turn.
    pub now: crate::base::time::Millis,
}

/// Run-time switches that only DEBUG and CLIENT PAUSE turn; each core has a copy.
#[derive(Clone, Debug)]
pub struct Switches {
    /// DEBUG SET-ACTIVE-EXPIRE.
    pub active_expire: bool,
    /// DEBUG PAUSE-CRON.
    pub cron_paused: bool,
    /// Until when commands are held back, and whether all or only writes.
    pub pause: Option<Pause>,
    /// For what each of these is, by `Hold`.
    holds: [Option<Pause>; HOLDS],
    /// SHUTDOWN was ordered.
    pub shutdown: bool,
    /// DEBUG SLEEP: the core stops for this long, once.
    pub stall_nanos: u64,
}

impl Default for Switches {
    fn default() -> Self {
        Switches {
            active_expire: true,
            cron_paused: false,
            pause: None,
            holds: [None; HOLDS],
            shutdown: false,
            stall_nanos: 0,
        }
    }
}

impl Switches {
    /// From here on commands are held back for this, or not.
    pub fn hold(&mut self, reason: Hold, pause: Option<Pause>) {
        self.holds[reason as usize] = pause;
        self.pause = self.holds.iter().copied().flatten().reduce(|one, other| Pause {
            until: one.until.max(other.until),
            all: one.all || other.all,
        });
    }

    /// What holds commands back for this.
    pub fn held(&self, reason: Hold) -> Option<Pause> {
        self.holds[reason as usize]
    }
}

/// Why commands are held back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// CLIENT PAUSE.
    Client,
    /// SHUTDOWN waits for replicas.
    Shutdown,
    /// FAILOVER does.
    Failover,
}

const HOLDS: usize = 3;

/// How commands are held back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pause {
    /// Unix time in milliseconds at which it ends.
    pub until: crate::base::time::Millis,
    /// Reads are held, too.
    pub all: bool,
}

/// What the first core has made; two that make it at once keep one of both, and none waits.
pub fn take_over<T: Clone>(made: &OnceLock<T>, make: impl FnOnce() -> T) -> T {
    if made.get().is_none() {
        // Somebody else may have been faster: then that counts.
        let _ = made.set(make());
    }
    made.get().cloned().unwrap_or_else(|| unreachable!("it was set a line ago"))
}
