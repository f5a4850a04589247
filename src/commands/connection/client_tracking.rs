//! CLIENT TRACKING and its kin: a client that keeps what it has read is told when that changes.
//!
//! Invariant: prefixes are known on every core, and a client that is to be told in another one's
//! place has been found, before the reply. What a request may not ask for changes nothing. Source:
//! CLIENT TRACKING, CACHING, GETREDIR and TRACKINGINFO of Redis 8.0.

use std::sync::Arc;

use crate::client::tracking::{Redirect, Tracking};
use crate::client::{Session, Verdict};
use crate::command::whole::{CoreView, Job, Part};
use crate::command::{Args, CommandError, Outcome, SessionContext};
use crate::pubsub::tracking::overlap;
use crate::pubsub::{Follower, Name};
use crate::resp::reply::Reply;

/// What CLIENT TRACKING asks for.
struct Wanted<'q> {
    on: bool,
    options: Tracking,
    redirect: Option<i64>,
    prefixes: Vec<&'q [u8]>,
}

impl<'q> Wanted<'q> {
    fn parse(args: Args<'q>) -> Result<Self, CommandError> {
        let mut options = Tracking::default();
        let (mut redirect, mut prefixes) = (None, Vec::new());
        let mut at = 3;
        while at < args.len() {
            let has_more = at + 1 < args.len();
            if args.is(at, "REDIRECT") && has_more {
                if redirect.is_some() {
                    return Err(CommandError::TrackingRedirectTwice);
                }
                redirect = Some(args.integer(at + 1)?);
                at += 1;
            } else if args.is(at, "PREFIX") && has_more {
                prefixes.push(args.get(at + 1));
                at += 1;
            } else {
                options = options.with(option(args, at)?);
            }
            at += 1;
        }
        let on = args.is(2, "ON");
        if !on && !args.is(2, "OFF") {
            return Err(CommandError::Syntax);
        }
        Ok(Wanted { on, options, redirect, prefixes })
    }

    /// Whether the client may have this, as it is now; an error of its own text, or a common one.
    fn check(&self, session: &Session) -> Result<(), Result<CommandError, Vec<u8>>> {
        let (now, wanted) = (session.facts.tracking, self.options);
        let bcast = wanted.has(Tracking::BCAST);
        let (optin, optout) = (wanted.has(Tracking::OPTIN), wanted.has(Tracking::OPTOUT));
        if !self.on {
            return Ok(());
        }
        if !bcast && !self.prefixes.is_empty() {
            return Err(Ok(CommandError::TrackingPrefixWithoutBcast));
        }
        if now.is_on() && now.has(Tracking::BCAST) != bcast {
            return Err(Ok(CommandError::TrackingSwitchesBcast));
        }
        if bcast && (optin || optout) {
            return Err(Ok(CommandError::TrackingBcastWithOptions));
        }
        if optin && optout {
            return Err(Ok(CommandError::TrackingBothOptions));
        }
        if optin && now.has(Tracking::OPTOUT) || optout && now.has(Tracking::OPTIN) {
            return Err(Ok(CommandError::TrackingSwitchesOptions));
        }
        if bcast { self.check_prefixes(session).map_err(Err) } else { Ok(()) }
    }

    fn check_prefixes(&self, session: &Session) -> Result<(), Vec<u8>> {
        let refuse = |one: &[u8], what: &[u8], other: &[u8]| {
            let rest = b"'. Prefixes for a single client must not overlap.";
            Err([b"ERR Prefix '", one, b"' overlaps with ", what, b" '", other, rest].concat())
        };
        for (at, one) in self.prefixes.iter().enumerate() {
            if let Some(known) = session.prefixes.iter().find(|known| overlap(known, one)) {
                return refuse(one, b"an existing prefix", known);
            }
            if let Some(other) = self.prefixes[at + 1..].iter().find(|other| overlap(one, other)) {
                return refuse(one, b"another provided prefix", other);
            }
        }
        Ok(())
    }

    /// The prefixes that are followed from now on.
    fn names(&self) -> Vec<Name> {
        match (self.on && self.options.has(Tracking::BCAST), &self.prefixes[..]) {
            (false, _) => Vec::new(),
            (true, []) => vec![Name::from(&b""[..])],
            (true, prefixes) => prefixes.iter().map(|prefix| Name::from(*prefix)).collect(),
        }
    }
}

fn option(args: Args<'_>, at: usize) -> Result<Tracking, CommandError> {
    let options = [
        ("BCAST", Tracking::BCAST),
        ("OPTIN", Tracking::OPTIN),
        ("OPTOUT", Tracking::OPTOUT),
        ("NOLOOP", Tracking::NOLOOP),
    ];
    let found = options.into_iter().find(|(name, _)| args.is(at, name));
    found.map(|(_, option)| option).ok_or(CommandError::Syntax)
}

pub(super) fn begin(cx: &mut SessionContext<'_>, args: Args<'_>) -> Result<Job, CommandError> {
    let wanted = Wanted::parse(args)?;
    if let Err(refusal) = wanted.check(cx.session) {
        return Err(refusal.unwrap_or_else(|text| cx.refuse(text)));
    }
    let names = wanted.names();
    let follower = Follower { home: cx.core, id: cx.session.facts.id };
    let leaves = !wanted.on && std::mem::take(&mut cx.session.follows);
    cx.session.follows |= !names.is_empty();
    let redirect = wanted.redirect;
    Ok(Arc::new(move |view| {
        names.iter().for_each(|name| view.prefixes.follow(name, follower));
        if leaves {
            view.prefixes.leave(follower);
        }
        redirect.and_then(|id| place_of(view, id)).map_or(Part::Done, Part::Count)
    }))
}

/// Where a client of this core is. None if it does not live here.
fn place_of(view: &mut CoreView<'_>, id: i64) -> Option<u64> {
    let mut found = None;
    view.clients.for_each(&mut |session, _| {
        if i64::try_from(session.facts.id) == Ok(id) {
            found = Some(u64::from(session.place));
        }
        Verdict::Keep
    });
    found
}

pub(super) fn gather(
    cx: &mut SessionContext<'_>,
    args: Args<'_>,
    parts: Vec<Part>,
    reply: &mut Reply<'_>,
) -> Outcome {
    let wanted = Wanted::parse(args)?;
    let redirect = match wanted.redirect {
        None => None,
        Some(id) => Some(found(id, &parts).ok_or(CommandError::TrackingRedirectMissing)?),
    };
    let session = &mut *cx.session;
    let facts = &mut session.facts;
    if wanted.on {
        let caching = if facts.tracking.has(Tracking::CACHING) {
            Tracking::CACHING
        } else {
            Tracking::default()
        };
        facts.tracking = Tracking::ON.with(wanted.options).with(caching);
        if redirect.is_some() {
            facts.tracking = facts.tracking.with(Tracking::REDIRECT);
        }
        session.redirect = redirect;
        session.prefixes.extend(wanted.names());
        session.prefixes.sort_unstable();
        session.prefixes.dedup();
        cx.trackers.add(facts.id, session.place);
    } else {
        facts.tracking = Tracking::default();
        session.redirect = None;
        session.prefixes.clear();
        cx.trackers.remove(facts.id);
    }
    cx.stats.tracking_clients.set(cx.trackers.len() as u64);
    reply.ok();
    Ok(())
}

/// RESET turns tracking off; `job` is what else is done on every core.
pub(super) fn turn_off(cx: &mut SessionContext<'_>, job: Option<Job>) -> Option<Job> {
    let follower = Follower { home: cx.core, id: cx.session.facts.id };
    cx.trackers.remove(follower.id);
    cx.stats.tracking_clients.set(cx.trackers.len() as u64);
    if !std::mem::take(&mut cx.session.follows) {
        return job;
    }
    Some(Arc::new(move |view| {
        view.prefixes.leave(follower);
        job.as_ref().map_or(Part::Done, |job| job(view))
    }))
}

/// The client that a core has found.
fn found(id: i64, parts: &[Part]) -> Option<Redirect> {
    parts.iter().enumerate().find_map(|(home, part)| {
        let Part::Count(place) = part else { return None };
        Some(Redirect { id: id.unsigned_abs(), home, place: u32::try_from(*place).ok()? })
    })
}

pub(super) fn caching(
    cx: &mut SessionContext<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
) -> Outcome {
    let tracking = &mut cx.session.facts.tracking;
    if !tracking.is_on() {
        return Err(CommandError::CachingWithoutTracking);
    }
    let needed = if args.is(2, "YES") {
        (Tracking::OPTIN, CommandError::CachingYesWithoutOptin)
    } else if args.is(2, "NO") {
        (Tracking::OPTOUT, CommandError::CachingNoWithoutOptout)
    } else {
        return Err(CommandError::Syntax);
    };
    if !tracking.has(needed.0) {
        return Err(needed.1);
    }
    *tracking = tracking.with(Tracking::CACHING);
    reply.ok();
    Ok(())
}

pub(super) fn getredir(
    cx: &mut SessionContext<'_>,
    _args: Args<'_>,
    reply: &mut Reply<'_>,
) -> Outcome {
    write_redirect(cx.session, reply);
    Ok(())
}

/// The id of who is told instead: 0 for nobody else, -1 where nobody is told.
fn write_redirect(session: &Session, reply: &mut Reply<'_>) {
    match session.redirect {
        _ if !session.facts.tracking.is_on() => reply.integer(-1),
        None => reply.integer(0),
        Some(redirect) => reply.count(redirect.id),
    }
}

pub(super) fn trackinginfo(
    cx: &mut SessionContext<'_>,
    _args: Args<'_>,
    reply: &mut Reply<'_>,
) -> Outcome {
    let tracking = cx.session.facts.tracking;
    let caching = tracking.has(Tracking::CACHING);
    let (optin, optout) = (tracking.has(Tracking::OPTIN), tracking.has(Tracking::OPTOUT));
    let flags = [
        ("off", !tracking.is_on()),
        ("on", tracking.is_on()),
        ("bcast", tracking.has(Tracking::BCAST)),
        ("optin", optin),
        ("caching-yes", optin && caching),
        ("optout", optout),
        ("caching-no", optout && caching),
        ("noloop", tracking.has(Tracking::NOLOOP)),
        ("broken_redirect", tracking.has(Tracking::BROKEN)),
    ];
    reply.map(3);
    reply.bulk(b"flags");
    reply.set(flags.iter().filter(|(_, is)| *is).count());
    flags.iter().filter(|(_, is)| *is).for_each(|(name, _)| reply.bulk(name.as_bytes()));
    reply.bulk(b"redirect");
    write_redirect(cx.session, reply);
    reply.bulk(b"prefixes");
    reply.array(cx.session.prefixes.len());
    cx.session.prefixes.iter().for_each(|prefix| reply.bulk(prefix));
    Ok(())
}
