//! ACL LOG: who was refused what.
//!
//! Invariant: one core keeps the log; the parts of the others are empty.

use std::sync::Arc;

use crate::acl::log::LogEntry;
use crate::base::number::format_f64;
use crate::base::time::Millis;
use crate::command::whole::{Job, Part};
use crate::command::{Args, CommandError, Outcome, SessionContext};
use crate::commands::container::wrong_form;
use crate::resp::reply::Reply;

/// Entries without a count.
const ENTRIES: usize = 10;

pub(super) fn begin(cx: &mut SessionContext<'_>, args: Args<'_>) -> Result<Job, CommandError> {
    if args.len() == 3 && args.is(2, "RESET") {
        return Ok(Arc::new(|view| {
            view.acl_log.clear();
            Part::Done
        }));
    }
    let count = match args.len() {
        2 => ENTRIES,
        3 => usize::try_from(args.integer(2)?).unwrap_or(0),
        _ => return Err(cx.refuse(wrong_form(args))),
    };
    Ok(Arc::new(move |view| Part::Refusals(view.acl_log.newest(count))))
}

pub(super) fn gather(
    cx: &mut SessionContext<'_>,
    args: Args<'_>,
    parts: Vec<Part>,
    reply: &mut Reply<'_>,
) -> Outcome {
    if args.is(2, "RESET") {
        reply.ok();
        return Ok(());
    }
    let entries_of = |part| if let Part::Refusals(entries) = part { entries } else { Vec::new() };
    let entries: Vec<LogEntry> = parts.into_iter().flat_map(entries_of).collect();
    reply.array(entries.len());
    entries.iter().for_each(|entry| describe(entry, cx.now, reply));
    Ok(())
}

fn describe(entry: &LogEntry, now: Millis, reply: &mut Reply<'_>) {
    let denial = &entry.denial;
    reply.map(10);
    reply.bulk(b"count");
    reply.count(entry.count);
    for (name, text) in [
        ("reason", denial.reason.name().as_bytes()),
        ("context", denial.place.name().as_bytes()),
        ("object", &denial.object),
        ("username", &denial.username),
    ] {
        reply.bulk(name.as_bytes());
        reply.bulk(text);
    }
    reply.bulk(b"age-seconds");
    let age_millis = (now.0 - denial.time.0).max(0);
    reply.double(format_f64(age_millis as f64 / 1000.0).as_bytes());
    reply.bulk(b"client-info");
    reply.bulk(&denial.client);
    reply.bulk(b"entry-id");
    reply.count(entry.id);
    reply.bulk(b"timestamp-created");
    reply.integer(entry.created.0);
    reply.bulk(b"timestamp-last-updated");
    reply.integer(denial.time.0);
}
