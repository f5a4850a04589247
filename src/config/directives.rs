//! Every directive, once. Invariant: an entry is all that there is to say about a directive; its
//! parser, CONFIG GET, SET and REWRITE, the start-up messages and the tests are derived from it.
//! To turn a directive on, change its status here. Names, bounds and defaults are those of
//! Redis 8.0.6, then those of Valkey 9.1 for what only it has.

mod clients;
mod cluster;
mod data;
mod general;
mod memory;
mod network;
mod observe;
mod own;
mod persistence;
mod replication;
mod tls;

use std::sync::LazyLock;

use super::choices::Choice;
use super::kind::{Kind, Reason};
use super::value::Value;

/// One directive. Built by the functions below, which give it the common case of the rest.
#[derive(Clone, Copy, Debug)]
pub struct Directive {
    /// The name that CONFIG REWRITE writes.
    pub name: &'static str,
    /// A second name that means the same.
    pub alias: Option<&'static str>,
    /// What values it takes.
    pub kind: Kind,
    /// Its default, as it would stand in a file.
    pub default: &'static str,
    /// What it means to this server.
    pub status: Status,
    /// CONFIG SET refuses it.
    pub immutable: bool,
    /// CONFIG SET takes it, though immutable, with the value that it has: who sets all that CONFIG GET
    /// has told leaves out the directives that Redis does not let change, and Redis has not this one.
    pub restates: bool,
    /// CONFIG SET needs `enable-protected-configs`.
    pub protected: bool,
    /// CONFIG SET refuses it while the dataset is loading.
    pub denied_when_loading: bool,
    /// Its value must not be logged.
    pub sensitive: bool,
    /// CONFIG GET answers it to its exact name only.
    pub hidden: bool,
    /// CONFIG REWRITE writes it even when it has its default.
    pub always_written: bool,
    /// What else a value must fulfil; may also bring it within bounds.
    check: Option<Check>,
}

type Check = fn(Value) -> Result<Value, &'static str>;

/// What a directive means to this server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// It works.
    Live,
    /// Accepted; there is nothing here that it could change. Logged when it is set.
    Inert,
    /// Accepted, since nobody is harmed; what it configures is not there yet. Logged when it is set.
    Pending,
    /// To accept it would be to pretend: a value that asks for something is an error. Says what is
    /// missing.
    Refused(&'static str),
}

impl Directive {
    /// Reads a value; see [`Kind::parse`].
    pub fn parse(&self, words: &[&[u8]], current: &Value) -> Result<Value, Reason> {
        let value = self.kind.parse(words, current)?;
        match self.check {
            Some(check) => check(value).map_err(Reason::Borrowed),
            None => Ok(value),
        }
    }

    /// The default, parsed. Entries are constants and a test parses them all.
    pub fn default_value(&self) -> Value {
        self.value_of(self.default)
    }

    /// Whether a value asks this server for something.
    pub fn asks_for_something(&self, value: &Value) -> bool {
        *value != self.value_of(self.default)
    }

    /// Why a value cannot be accepted yet.
    pub fn refusal(&self, value: &Value) -> Option<Reason> {
        match self.status {
            Status::Refused(missing) if self.asks_for_something(value) => {
                Some(format!("this needs {missing}, not available in this version").into())
            }
            Status::Refused(_) | Status::Live | Status::Inert | Status::Pending => None,
        }
    }

    /// What the log should say about an accepted value that will not do what it says.
    pub fn notice(&self, value: &Value) -> Option<String> {
        if !self.asks_for_something(value) {
            return None;
        }
        match self.status {
            Status::Live | Status::Refused(_) => None,
            Status::Inert => Some(format!("'{}' is accepted and has no effect here", self.name)),
            Status::Pending => Some(format!(
                "'{}' is accepted, but what it configures is not available in this version",
                self.name
            )),
        }
    }

    fn value_of(&self, text: &'static str) -> Value {
        let words: Vec<&[u8]> = if self.kind.takes_many() {
            text.split_ascii_whitespace().map(str::as_bytes).collect()
        } else {
            vec![text.as_bytes()]
        };
        match self.parse(&words, &self.kind.empty()) {
            Ok(value) => value,
            Err(reason) => unreachable!("the entry of {} has a bad value: {reason}", self.name),
        }
    }

    const fn new(name: &'static str, kind: Kind, default: &'static str) -> Directive {
        Directive {
            name,
            alias: None,
            kind,
            default,
            status: Status::Live,
            immutable: false,
            restates: false,
            protected: false,
            denied_when_loading: false,
            sensitive: false,
            hidden: false,
            always_written: false,
            check: None,
        }
    }

    const fn alias(self, alias: &'static str) -> Directive {
        Directive { alias: Some(alias), ..self }
    }

    const fn inert(self) -> Directive {
        Directive { status: Status::Inert, ..self }
    }

    const fn pending(self) -> Directive {
        Directive { status: Status::Pending, ..self }
    }

    const fn refused(self, missing: &'static str) -> Directive {
        Directive { status: Status::Refused(missing), ..self }
    }

    const fn immutable(self) -> Directive {
        Directive { immutable: true, ..self }
    }

    const fn restates(self) -> Directive {
        Directive { restates: true, ..self }
    }

    const fn protected(self) -> Directive {
        Directive { protected: true, ..self }
    }

    const fn denied_when_loading(self) -> Directive {
        Directive { denied_when_loading: true, ..self }
    }

    const fn sensitive(self) -> Directive {
        Directive { sensitive: true, ..self }
    }

    const fn hidden(self) -> Directive {
        Directive { hidden: true, ..self }
    }

    const fn always_written(self) -> Directive {
        Directive { always_written: true, ..self }
    }

    const fn check(self, check: Check) -> Directive {
        Directive { check: Some(check), ..self }
    }
}

/// How a name was found: where its entry stands in [`all`], and by which of its names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// Index into [`all`].
    pub index: usize,
    /// The name as the entry spells it.
    pub name: &'static str,
}

impl Found {
    /// The entry.
    pub fn directive(self) -> &'static Directive {
        all()[self.index]
    }
}

/// Finds a directive by name or alias, in any case. O(directives): only CONFIG and the start ask.
pub fn find(name: &[u8]) -> Option<Found> {
    names().find(|found| found.name.as_bytes().eq_ignore_ascii_case(name))
}

/// True if the directive of this name, or alias, in any case holds a secret.
pub fn is_sensitive(name: &[u8]) -> bool {
    find(name).is_some_and(|found| found.directive().sensitive)
}

/// Every name and alias.
pub fn names() -> impl Iterator<Item = Found> {
    all().iter().enumerate().flat_map(|(index, directive)| {
        let names = std::iter::once(directive.name).chain(directive.alias);
        names.map(move |name| Found { index, name })
    })
}

/// Every directive, in the order in which CONFIG REWRITE appends them.
pub fn all() -> &'static [&'static Directive] {
    static ALL: LazyLock<Vec<&'static Directive>> =
        LazyLock::new(|| GROUPS.iter().copied().flatten().collect());
    &ALL
}

const GROUPS: &[&[Directive]] = &[
    network::DIRECTIVES,
    tls::DIRECTIVES,
    general::DIRECTIVES,
    own::DIRECTIVES,
    clients::DIRECTIVES,
    memory::DIRECTIVES,
    data::DIRECTIVES,
    persistence::DIRECTIVES,
    replication::DIRECTIVES,
    cluster::DIRECTIVES,
    observe::DIRECTIVES,
];

/// Bounds that Redis' error replies spell out.
const INT_MAX: i64 = i32::MAX as i64;
const UINT_MAX: i64 = u32::MAX as i64;
const LONG_MAX: i64 = i64::MAX;
const LONG_MAX_BYTES: u64 = i64::MAX as u64;

const fn yes_no(name: &'static str, default: &'static str) -> Directive {
    Directive::new(name, Kind::Bool, default)
}

const fn int(name: &'static str, min: i64, max: i64, default: &'static str) -> Directive {
    Directive::new(name, Kind::Int { min, max }, default)
}

const fn memory(name: &'static str, min: u64, max: u64, default: &'static str) -> Directive {
    Directive::new(name, Kind::Memory { min, max }, default)
}

const fn choice(
    name: &'static str,
    choices: &'static [Choice],
    default: &'static str,
) -> Directive {
    Directive::new(name, Kind::Choice(choices), default)
}

const fn text(name: &'static str, default: &'static str) -> Directive {
    Directive::new(name, Kind::Text, default)
}

const fn optional_text(name: &'static str) -> Directive {
    Directive::new(name, Kind::OptionalText, "")
}

#[cfg(test)]
mod tests;
