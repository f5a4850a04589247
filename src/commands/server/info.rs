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

use super::{ALWAYS, BASE};
use crate::client::replica::Listed;
use crate::command::whole::Part;
use crate::command::{
    Acl, Args, Argument, ArgumentKind, Arity, Command, Handler, Outcome, SessionContext, Whole,
};
use crate::commands::replication::role::{list_replicas, listed};
use crate::resp::reply::Reply;

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
    handler: Handler::Whole(Whole { begin: list_replicas, gather: info }),
    ..BASE
}];

fn info(
    cx: &mut SessionContext<'_>,
    args: Args<'_>,
    parts: Vec<Part>,
    reply: &mut Reply<'_>,
) -> Outcome {
    let mut report = Report { replicas: listed(parts), ..Report::default() };
    for section in SECTIONS {
        if section.is_asked_for(args) {
            report.begin(section.title);
            (section.write)(cx, &mut report);
        }
    }
    reply.verbatim("txt", &report.text);
    Ok(())
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
    write: fn(&SessionContext<'_>, &mut Report),
}

impl Section {
    const fn new(title: &'static str, write: fn(&SessionContext<'_>, &mut Report)) -> Section {
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
    Section::new("Clients", process::clients),
    Section::new("Memory", process::memory),
    Section::new("Persistence", process::persistence),
    Section::new("Stats", figures::stats),
    Section::new("Replication", process::replication),
    Section::new("CPU", process::cpu),
    Section { alias: Some("module_list"), ..Section::new("Modules", |_, _| {}) },
    Section::new("Commandstats", figures::commandstats).on_demand(),
    Section::new("Errorstats", figures::errorstats),
    Section::new("Latencystats", figures::latencystats).on_demand(),
    Section::new("Cluster", |_, report| report.field("cluster_enabled", 0)),
    Section::new("Keyspace", figures::keyspace),
    Section::new("Debug", figures::debug).hidden(),
    Section::new("Cores", figures::cores),
];

/// The text as far as it is written.
#[derive(Default)]
struct Report {
    text: Vec<u8>,
    /// Who follows this server.
    replicas: Vec<Listed>,
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
