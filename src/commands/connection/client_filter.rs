//! The conditions of CLIENT KILL and CLIENT LIST: which clients are meant.
//!
//! Invariant: of options of one kind the last counts; a client is meant if every condition holds
//! for it and no `NOT-` condition does. Source: the CLIENT KILL and CLIENT LIST pages of Redis 8.0;
//! `NOT-`, NAME, IDLE, FLAGS, LIB-NAME, LIB-VER, DB, CAPA, IP and lists of ids are Valkey's.

use std::mem::discriminant;

use super::int32;
use crate::acl::Users;
use crate::base::number;
use crate::base::time::Millis;
use crate::client::{ConnectionFacts, Session, info};
use crate::command::{Args, CommandError};

/// Letters of states that a client may be in, ours and those that only other servers have.
const STATE_LETTERS: &[u8] = b"OSMPxbtRBdcuAUreTIiEN";
/// Letters of capabilities.
const CAPABILITY_LETTERS: &[u8] = b"r";
/// No option's name is longer.
const OPTION_BYTES_MAX: usize = 16;

/// Why conditions were not understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// With a fixed text.
    Fixed(CommandError),
    /// With a text that repeats what was sent.
    Text(Vec<u8>),
}

impl From<CommandError> for Refusal {
    fn from(error: CommandError) -> Refusal {
        Refusal::Fixed(error)
    }
}

/// Kinds of clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ClientType {
    Normal,
    Primary,
    Replica,
    Pubsub,
}

impl ClientType {
    fn of_name(name: &[u8]) -> Option<ClientType> {
        match &name.to_ascii_lowercase()[..] {
            b"normal" => Some(ClientType::Normal),
            b"master" | b"primary" => Some(ClientType::Primary),
            b"slave" | b"replica" => Some(ClientType::Replica),
            b"pubsub" => Some(ClientType::Pubsub),
            _ => None,
        }
    }
}

/// One condition.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Condition {
    Ids(Vec<i64>),
    Type(ClientType),
    Addr(Vec<u8>),
    LocalAddr(Vec<u8>),
    Ip(Vec<u8>),
    /// Logged in as this user.
    User(Vec<u8>),
    Name(Vec<u8>),
    LibName(Vec<u8>),
    LibVer(Vec<u8>),
    Flags(Vec<u8>),
    Capa(Vec<u8>),
    Db(usize),
}

impl Condition {
    fn holds(&self, session: &Session, held: &ConnectionFacts) -> bool {
        // What a client has not set is equal to nothing.
        let is = |set: &[u8], wanted: &[u8]| !set.is_empty() && set == wanted;
        match self {
            Condition::Ids(ids) => ids.iter().any(|id| u64::try_from(*id) == Ok(session.facts.id)),
            Condition::Type(kind) if session.is_primary => *kind == ClientType::Primary,
            Condition::Type(kind) if session.is_replica() => *kind == ClientType::Replica,
            Condition::Type(kind) if session.facts.subscribed => *kind == ClientType::Pubsub,
            Condition::Type(kind) => *kind == ClientType::Normal,
            Condition::Addr(addr) => session.addr.as_bytes() == addr,
            Condition::LocalAddr(addr) => session.laddr.as_bytes() == addr,
            Condition::Ip(ip) => ip_of(&session.addr) == Some(ip),
            Condition::User(name) => session.user_name() == name,
            Condition::Name(name) => is(&session.name, name),
            Condition::LibName(name) => is(&session.lib_name, name),
            Condition::LibVer(version) => is(&session.lib_ver, version),
            Condition::Flags(letters) => {
                let flags = info::flags(session, held);
                letters.iter().all(|letter| flags.as_bytes().contains(letter))
            }
            Condition::Capa(letters) => letters.is_empty() || session.capa_redirect,
            Condition::Db(db) => session.facts.db == *db,
        }
    }
}

/// The address in `ip:port` or `[ip]:port`. None for a unix socket, whose port is 0.
fn ip_of(addr: &str) -> Option<&[u8]> {
    let (ip, port) = addr.rsplit_once(':')?;
    let ip = ip.strip_prefix('[').and_then(|ip| ip.strip_suffix(']')).unwrap_or(ip);
    (!port.starts_with('0')).then_some(ip.as_bytes())
}

/// What conditions may name.
#[derive(Clone, Copy)]
pub(super) struct Known<'a> {
    /// How many databases there are.
    pub(super) databases: usize,
    /// Every user.
    pub(super) users: &'a Users,
}

/// Which clients are meant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Filter {
    wanted: Vec<Condition>,
    unwanted: Vec<Condition>,
    /// Seconds of connection, at least; 0 = any.
    age_min: i64,
    /// Seconds of silence, at least; 0 = any.
    idle_min: i64,
    /// The client that asks is not meant.
    pub(super) skip_me: bool,
}

impl Filter {
    /// Those who connected from this address: the old form of CLIENT KILL.
    pub(super) fn of_address(addr: &[u8]) -> Filter {
        Filter { wanted: vec![Condition::Addr(addr.to_vec())], ..Filter::default() }
    }

    /// Reads the options from word 2 on; `skip_me` holds without SKIPME.
    pub(super) fn parse(
        args: Args<'_>,
        known: Known<'_>,
        skip_me: bool,
    ) -> Result<Filter, Refusal> {
        let mut filter = Filter { skip_me, ..Filter::default() };
        let mut at = 2;
        while at < args.len() {
            if at + 1 == args.len() || args.get(at).len() > OPTION_BYTES_MAX {
                return Err(CommandError::Syntax.into());
            }
            at = filter.option(args, at, known)?;
        }
        Ok(filter)
    }

    /// Reads the option at word `at`, behind which there is one more at least; where the next is.
    fn option(&mut self, args: Args<'_>, at: usize, known: Known<'_>) -> Result<usize, Refusal> {
        let name = args.get(at).to_ascii_lowercase();
        let value = args.get(at + 1);
        match &name[..] {
            b"skipme" if value.eq_ignore_ascii_case(b"yes") => self.skip_me = true,
            b"skipme" if value.eq_ignore_ascii_case(b"no") => self.skip_me = false,
            b"maxage" => {
                self.age_min = number::parse_i64(value).ok_or(CommandError::MaxAgeNotAnInteger)?;
                positive(self.age_min, CommandError::MaxAgeNotPositive)?;
            }
            b"idle" => {
                self.idle_min = number::parse_i64(value).ok_or(CommandError::IdleNotAnInteger)?;
                positive(self.idle_min, CommandError::IdleNotPositive)?;
            }
            _ => {
                let (negated, kind) = match name.strip_prefix(b"not-") {
                    Some(kind) => (true, kind),
                    None => (false, &name[..]),
                };
                let conditions = if negated { &mut self.unwanted } else { &mut self.wanted };
                let (condition, next) = if kind == b"id" {
                    ids(args, at + 1)?
                } else {
                    (condition(kind, negated, value, known)?, at + 2)
                };
                conditions.retain(|one| discriminant(one) != discriminant(&condition));
                conditions.push(condition);
                return Ok(next);
            }
        }
        Ok(at + 2)
    }

    /// True if the client is meant. `me` is the client that asks.
    pub(super) fn matches(
        &self,
        session: &Session,
        held: &ConnectionFacts,
        (me, now): (u64, Millis),
    ) -> bool {
        !(self.skip_me && session.facts.id == me)
            && (self.age_min == 0 || info::age_seconds(session, now) >= self.age_min)
            && (self.idle_min == 0 || info::idle_seconds(session, now) >= self.idle_min)
            && self.wanted.iter().all(|condition| condition.holds(session, held))
            && !self.unwanted.iter().any(|condition| condition.holds(session, held))
    }
}

/// The numbers from word `first` on, one at least; where the next option is.
fn ids(args: Args<'_>, first: usize) -> Result<(Condition, usize), Refusal> {
    let mut ids = Vec::new();
    for word in args.iter_from(first) {
        match number::parse_i64(word) {
            Some(id) => {
                positive(id, CommandError::ClientIdNotPositive)?;
                ids.push(id);
            }
            None if ids.is_empty() => return Err(CommandError::ClientIdNotPositive.into()),
            None => break,
        }
    }
    let next = first + ids.len();
    Ok((Condition::Ids(ids), next))
}

fn condition(
    kind: &[u8],
    negated: bool,
    value: &[u8],
    known: Known<'_>,
) -> Result<Condition, Refusal> {
    let owned = || value.to_vec();
    let quoted =
        |before: &str| Refusal::Text([b"ERR ", before.as_bytes(), b" '", value, b"'"].concat());
    Ok(match kind {
        b"type" => {
            let kind = ClientType::of_name(value);
            Condition::Type(kind.ok_or_else(|| quoted("Unknown client type"))?)
        }
        b"user" if known.users.find(value).is_some() => Condition::User(owned()),
        b"user" => return Err(quoted("No such user")),
        b"addr" => Condition::Addr(owned()),
        b"laddr" => Condition::LocalAddr(owned()),
        b"ip" => Condition::Ip(owned()),
        b"name" => Condition::Name(owned()),
        b"lib-name" => Condition::LibName(owned()),
        b"lib-ver" => Condition::LibVer(owned()),
        b"flags" => Condition::Flags(letters(STATE_LETTERS, ("flags", negated), value)?),
        b"capa" => Condition::Capa(letters(CAPABILITY_LETTERS, ("capa", negated), value)?),
        b"db" => Condition::Db(database(value, negated, known.databases)?),
        _ => return Err(CommandError::Syntax.into()),
    })
}

/// Letters that are all among `known`. `of` says what they are, and whether none is wanted.
fn letters(known: &[u8], of: (&str, bool), value: &[u8]) -> Result<Vec<u8>, Refusal> {
    if value.iter().all(|letter| known.contains(letter)) {
        return Ok(value.to_vec());
    }
    let head = match of {
        (kind, false) => format!("ERR Unknown {kind} found in the provided filter: "),
        (kind, true) => {
            format!("ERR Unknown {kind} found in the NOT-{} filter: ", kind.to_ascii_uppercase())
        }
    };
    Err(Refusal::Text([head.as_bytes(), value].concat()))
}

fn database(value: &[u8], negated: bool, databases: usize) -> Result<usize, Refusal> {
    let name = if negated { "NOT-DB" } else { "DB" };
    let Some(number) = int32(value) else {
        let text = format!("ERR {name} is not an integer or out of range");
        return Err(Refusal::Text(text.into_bytes()));
    };
    usize::try_from(number).ok().filter(|db| *db < databases).ok_or_else(|| {
        let last = databases - 1;
        Refusal::Text(format!("ERR {name} number should be between 0 and {last}").into_bytes())
    })
}

fn positive(number: i64, otherwise: CommandError) -> Result<(), Refusal> {
    if number > 0 { Ok(()) } else { Err(otherwise.into()) }
}

#[cfg(test)]
#[path = "client_filter/tests.rs"]
mod tests;
