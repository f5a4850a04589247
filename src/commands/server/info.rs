//! INFO: how the server is, as text.
//!
//! Invariant: every core has published what it holds before the text is written, in one order with
//! the commands before it, so that a client finds its own writes counted. Names, order and form of
//! the fields are those of Redis 8.0.6; `server_name`, `ironring_version` and the section Cores are
//! ours. Form: `# Section`, then `field:value`, each with CR LF, and an empty line between sections.

mod figures;
mod process;

pub(super) use figures::counted;
use std::fmt::Display;
use std::sync::Arc;

use super::{ALWAYS, BASE};
use crate::base::time::{Micros, Millis};
use crate::client::replica::Listed;
use crate::command::whole::{CoreView, Job, Part};
use crate::command::{
    Acl, Args, Argument, ArgumentKind, Arity, Command, CommandError, CommandTable, Handler,
    Outcome, SessionContext, Whole,
};
use crate::commands::replication::role::{list_replicas, replicas_of};
use crate::config::Config;
use crate::observe::server::ServerFacts;
use crate::observe::stats::CoreStats;
use crate::pubsub::Directory;
use crate::resp::reply::Reply;
use crate::script::{Functions, Scripts};
use crate::store::partition::Partition;
use crate::store::sizes::KeySizes;
use crate::tls::Context;

/// The table's slice.
pub const COMMANDS: &[Command] = &[Command {
    name: "INFO",
    summary: "Tells how the server is.",
    since: "1.0.0",
    arity: Arity::AtLeast(1),
    flags: ALWAYS,
    acl: Acl::DANGEROUS,
    tips: &["nondeterministic_output", "request_policy:all_shards", "response_policy:special"],
    arguments: &[Argument::new("section", ArgumentKind::String).optional().multiple()],
    handler: Handler::Whole(Whole { begin, gather: info }),
    ..BASE
}];

/// Keys are looked at only for who asks how large they are.
fn begin(cx: &mut SessionContext<'_>, args: Args<'_>) -> Result<Job, CommandError> {
    if !KEY_SIZES.is_asked_for(args) {
        return list_replicas(cx, args);
    }
    Ok(Arc::new(|view: &mut CoreView<'_>| {
        let sizes = view.partition.map(Partition::key_sizes);
        Part::KeySizes(replicas_of(view), sizes.unwrap_or_default())
    }))
}

fn info(
    cx: &mut SessionContext<'_>,
    args: Args<'_>,
    parts: Vec<Part>,
    reply: &mut Reply<'_>,
) -> Outcome {
    let facts = InfoFacts {
        server: cx.server,
        config: cx.config,
        tls: cx.tls,
        now: cx.now,
        wall: cx.wall,
        stats: cx.stats,
        scripts: cx.scripts,
        functions: cx.functions,
        directory: cx.directory,
        table: cx.table,
    };
    let mut report = Report::default();
    for part in parts {
        match part {
            Part::Replicas(listed) => report.replicas.extend(listed),
            Part::KeySizes(listed, sizes) => {
                report.replicas.extend(listed);
                report.key_sizes.add(&sizes);
            }
            _ => {}
        }
    }
    reply.verbatim("txt", &facts.text(report, |section| section.is_asked_for(args)));
    Ok(())
}

/// What INFO is written from.
pub struct InfoFacts<'a> {
    /// The process.
    pub server: &'a ServerFacts,
    /// The configuration.
    pub config: &'a Config,
    /// The certificates in use.
    pub tls: Option<&'a Context>,
    /// The time of the turn.
    pub now: Millis,
    /// The same, finer.
    pub wall: Micros,
    /// Counters of the core that writes it.
    pub stats: &'a CoreStats,
    /// The scripts that it knows.
    pub scripts: &'a Scripts,
    /// The libraries of functions that it knows.
    pub functions: &'a Functions,
    /// Who listens to channels.
    pub directory: &'a Directory,
    /// Every command.
    pub table: &'a dyn CommandTable,
}

impl InfoFacts<'_> {
    /// All that INFO EVERYTHING says.
    pub fn everything(&self) -> Vec<u8> {
        self.text(Report::default(), |section| !section.hidden)
    }

    fn text(&self, mut report: Report, is_wanted: impl Fn(&Section) -> bool) -> Vec<u8> {
        for section in SECTIONS.iter().filter(|section| is_wanted(section)) {
            report.begin(section.title);
            (section.write)(self, &mut report);
        }
        report.text
    }
}

/// One section.
struct Section {
    title: &'static str,
    /// What clients call it, beside its title in any case.
    alias: Option<&'static str>,
    /// Part of INFO without arguments.
    by_default: bool,
    /// Only for who names it.
    hidden: bool,
    write: fn(&InfoFacts<'_>, &mut Report),
}

impl Section {
    const fn new(title: &'static str, write: fn(&InfoFacts<'_>, &mut Report)) -> Section {
        Section { title, alias: None, by_default: true, hidden: false, write }
    }

    const fn on_demand(self) -> Section {
        Section { by_default: false, ..self }
    }

    const fn hidden(self) -> Section {
        Section { hidden: true, ..self.on_demand() }
    }

    fn is_asked_for(&self, args: Args<'_>) -> bool {
        if args.len() == 1 {
            return self.by_default;
        }
        let named = |word: &[u8], name: &str| word.eq_ignore_ascii_case(name.as_bytes());
        args.iter_from(1).any(|word| {
            named(word, self.title)
                || self.alias.is_some_and(|alias| named(word, alias))
                || !self.hidden && (named(word, "all") || named(word, "everything"))
                || self.by_default && named(word, "default")
        })
    }
}

/// Every section, in the order in which they are written.
const SECTIONS: &[Section] = &[
    Section::new("Server", process::server),
    Section::new("TLS", process::tls),
    Section::new("Clients", process::clients),
    Section::new("Memory", process::memory),
    Section::new("Persistence", process::persistence),
    Section::new("Threads", figures::threads),
    Section::new("Stats", figures::stats),
    Section::new("Replication", process::replication),
    Section::new("CPU", process::cpu),
    Section { alias: Some("module_list"), ..Section::new("Modules", |_, _| {}) },
    Section::new("Commandstats", figures::commandstats).on_demand(),
    Section::new("Errorstats", figures::errorstats),
    Section::new("Latencystats", figures::latencystats).on_demand(),
    Section::new("Cluster", |_, report| report.field("cluster_enabled", 0)),
    Section::new("Keyspace", figures::keyspace),
    KEY_SIZES,
    Section::new("Debug", figures::debug).hidden(),
    Section::new("Cores", figures::cores),
];

/// How large keys are.
const KEY_SIZES: Section = Section::new("Keysizes", figures::key_sizes);

/// The text as far as it is written.
#[derive(Default)]
struct Report {
    text: Vec<u8>,
    /// Who follows this server.
    replicas: Vec<Listed>,
    /// How large keys are.
    key_sizes: KeySizes,
}

impl Report {
    fn begin(&mut self, title: &str) {
        let gap = if self.text.is_empty() { "" } else { "\r\n" };
        self.text.extend_from_slice(format!("{gap}# {title}\r\n").as_bytes());
    }

    fn field(&mut self, name: impl Display, value: impl Display) {
        self.text.extend_from_slice(format!("{name}:{value}\r\n").as_bytes());
    }

    /// Each name with 0: what nothing here counts.
    fn zeros(&mut self, names: &[&str]) {
        for name in names {
            self.field(name, 0);
        }
    }

    /// A size for programs, and the same for people.
    fn size(&mut self, name: &str, bytes: u64) {
        self.field(name, bytes);
        self.human(name, bytes);
    }

    fn human(&mut self, name: &str, bytes: u64) {
        let mut shown = Vec::new();
        crate::base::number::write_human_size(&mut shown, bytes);
        self.field(format_args!("{name}_human"), String::from_utf8_lossy(&shown));
    }
}
