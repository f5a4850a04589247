//! LATENCY: what took long, event by event, and how long each command takes.
//!
//! Invariant: the cores' series are joined when somebody asks. The histograms are the counters that
//! every core may read. Source: LATENCY of Redis 8.0; DOCTOR says in our words what it finds.

use std::fmt::Write;
use std::sync::Arc;

use super::info::counted;
use super::{BASE, OPERATOR};
use crate::command::catalog::{Listed, find_full_name};
use crate::command::whole::{Job, Part};
use crate::command::{
    Args, Argument, ArgumentKind, Arity, Command, CommandError, Flags, Handler, Outcome,
    SessionContext, Whole,
};
use crate::commands::container::help;
use crate::observe::latency::{Latency, Series};
use crate::observe::phases::Phase;
use crate::observe::sparkline;
use crate::observe::stats::Histogram;
use crate::resp::reply::Reply;

const TIPS: &[&str] =
    &["nondeterministic_output", "request_policy:all_nodes", "response_policy:special"];
/// Bars of a graph, and how high they are.
const GRAPH: (usize, usize) = (80, 4);
/// The first bucket of a reported histogram ends here; each one after is twice as wide.
const FIRST_BUCKET_NANOS: u64 = 1024;
/// Redis' histograms end here, and whatever took longer counts as this.
const LONGEST_NANOS: u64 = 1 << 30;

/// The table's slice.
pub const COMMANDS: &[Command] = &[Command {
    name: "LATENCY",
    summary: "Holds the commands about latency.",
    since: "2.8.13",
    complexity: "Depends on subcommand.",
    arity: Arity::AtLeast(2),
    subcommands: &[
        Command {
            name: "DOCTOR",
            summary: "Explains the latencies that were seen.",
            arity: Arity::Exactly(2),
            handler: joined(doctor),
            ..SUBCOMMAND
        },
        Command {
            name: "GRAPH",
            summary: "Draws the latencies of an event.",
            arity: Arity::Exactly(3),
            arguments: &[Argument::new("event", ArgumentKind::String)],
            handler: joined(graph),
            ..SUBCOMMAND
        },
        Command {
            name: "HELP",
            summary: "Lists the subcommands.",
            arity: Arity::Exactly(2),
            flags: Flags::LOADING.with(Flags::STALE),
            tips: &[],
            handler: Handler::Session(latency_help),
            ..SUBCOMMAND
        },
        Command {
            name: "HISTOGRAM",
            summary: "Returns how long commands take, cumulated.",
            since: "7.0.0",
            complexity: "O(N) where N is the number of commands with latency information",
            arity: Arity::AtLeast(2),
            arguments: &[Argument::new("command", ArgumentKind::String).optional().multiple()],
            handler: Handler::Session(histogram),
            ..SUBCOMMAND
        },
        Command {
            name: "HISTORY",
            summary: "Returns the latencies of an event.",
            arity: Arity::Exactly(3),
            arguments: &[Argument::new("event", ArgumentKind::String)],
            handler: joined(history),
            ..SUBCOMMAND
        },
        Command {
            name: "LATEST",
            summary: "Returns the last latency of each event.",
            arity: Arity::Exactly(2),
            handler: joined(latest),
            ..SUBCOMMAND
        },
        Command {
            name: "RESET",
            summary: "Forgets the latencies of events.",
            arity: Arity::AtLeast(2),
            tips: &["request_policy:all_nodes", "response_policy:agg_sum"],
            arguments: &[Argument::new("event", ArgumentKind::String).optional().multiple()],
            handler: Handler::Whole(Whole { begin: reset_begin, gather: reset_gather }),
            ..SUBCOMMAND
        },
    ],
    ..BASE
}];

const SUBCOMMAND: Command = Command { since: "2.8.13", flags: OPERATOR, tips: TIPS, ..BASE };

/// What answers from the joined series of all cores.
const fn joined(
    gather: fn(&mut SessionContext<'_>, Args<'_>, Vec<Part>, &mut Reply<'_>) -> Outcome,
) -> Handler {
    Handler::Whole(Whole { begin: ask, gather })
}

fn ask(_cx: &mut SessionContext<'_>, _args: Args<'_>) -> Result<Job, CommandError> {
    Ok(Arc::new(|view| Part::Latency(view.latency.clone())))
}

fn join(parts: Vec<Part>) -> Latency {
    let mut all = Latency::default();
    for part in parts {
        if let Part::Latency(one) = part {
            all.join(&one);
        }
    }
    all
}

fn latest(
    _cx: &mut SessionContext<'_>,
    _args: Args<'_>,
    parts: Vec<Part>,
    reply: &mut Reply<'_>,
) -> Outcome {
    let events = join(parts);
    reply.array(events.iter().count());
    for (event, series) in events.iter() {
        let Some(last) = series.samples().last() else { continue };
        reply.array(4);
        reply.bulk(event.as_bytes());
        reply.integer(last.seconds);
        reply.count(last.millis);
        reply.count(series.worst());
    }
    Ok(())
}

fn history(
    _cx: &mut SessionContext<'_>,
    args: Args<'_>,
    parts: Vec<Part>,
    reply: &mut Reply<'_>,
) -> Outcome {
    let events = join(parts);
    let samples = events.of(args.get(2)).map_or(&[][..], |(_, series)| series.samples());
    reply.array(samples.len());
    for sample in samples {
        reply.array(2);
        reply.integer(sample.seconds);
        reply.count(sample.millis);
    }
    Ok(())
}

fn graph(
    cx: &mut SessionContext<'_>,
    args: Args<'_>,
    parts: Vec<Part>,
    reply: &mut Reply<'_>,
) -> Outcome {
    let events = join(parts);
    let Some((event, series)) = events.of(args.get(2)) else {
        reply.error([b"ERR No samples available for event '", args.get(2), b"'"].concat());
        return Err(CommandError::Written);
    };
    let figures = Figures::of(series, cx.now.seconds());
    let mut text = format!(
        "{event} - high {} ms, low {} ms (all time high {} ms)\n{}\n",
        figures.max,
        figures.min,
        series.worst(),
        "-".repeat(GRAPH.0)
    )
    .into_bytes();
    let now = cx.now.seconds();
    let bars: Vec<(u64, String)> =
        series.samples().iter().map(|one| (one.millis, ago(now - one.seconds))).collect();
    text.extend(sparkline::render(&bars, GRAPH.0, GRAPH.1));
    reply.verbatim("txt", &text);
    Ok(())
}

/// So many seconds in the largest unit of which there is at least one.
fn ago(seconds: i64) -> String {
    match seconds {
        ..60 => format!("{seconds}s"),
        60..3600 => format!("{}m", seconds / 60),
        3600..86_400 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// What a series comes to.
struct Figures {
    samples: u64,
    min: u64,
    max: u64,
    mean: u64,
    /// The mean of how far the samples are from that.
    deviation: u64,
    /// Seconds since the first one.
    period: u64,
}

impl Figures {
    fn of(series: &Series, now: i64) -> Figures {
        let millis = || series.samples().iter().map(|one| one.millis);
        let samples = series.samples().len() as u64;
        let mean = millis().sum::<u64>() / samples.max(1);
        let since = series.samples().first().map_or(now, |one| one.seconds);
        Figures {
            samples,
            min: millis().min().unwrap_or(0),
            max: millis().max().unwrap_or(0),
            mean,
            deviation: millis().map(|one| one.abs_diff(mean)).sum::<u64>() / samples.max(1),
            period: u64::try_from(now - since).unwrap_or(0).max(1),
        }
    }
}

fn doctor(
    cx: &mut SessionContext<'_>,
    _args: Args<'_>,
    parts: Vec<Part>,
    reply: &mut Reply<'_>,
) -> Outcome {
    let events = join(parts);
    reply.verbatim("txt", report(&events, cx).as_bytes());
    Ok(())
}

fn report(events: &Latency, cx: &SessionContext<'_>) -> String {
    let threshold = cx.config.latency_monitor_threshold;
    if events.is_empty() && threshold == 0 {
        return "Latency is not monitored. CONFIG SET latency-monitor-threshold <milliseconds> \
                starts that.\n"
            .to_owned();
    }
    if events.is_empty() {
        return format!("Nothing took {threshold} ms or longer so far.\n");
    }
    let mut text = "What took long:\n\n".to_owned();
    for (number, (event, series)) in events.iter().enumerate() {
        let figures = Figures::of(series, cx.now.seconds());
        let _ = writeln!(
            text,
            "{}. {event}: {} latency spikes (average {}ms, mean deviation {}ms, period {:.2} sec). \
             Worst all time event {}ms.",
            number + 1,
            figures.samples,
            figures.mean,
            figures.deviation,
            figures.period as f64 / figures.samples.max(1) as f64,
            series.worst(),
        );
    }
    let has = |event: &[u8]| events.of(event).is_some();
    let mut advice = Vec::new();
    let slower_than = cx.config.slowlog_log_slower_than;
    if has(b"command") {
        let wanted = threshold.saturating_mul(1000);
        if slower_than < 0 || cx.config.slowlog_max_len == 0 {
            advice.push(format!(
                "The slow log is off: CONFIG SET slowlog-log-slower-than {wanted} shows which \
                 commands take long."
            ));
        } else if slower_than as u64 / 1000 > threshold {
            advice.push(format!(
                "The slow log is less sensitive than the latency monitor: CONFIG SET \
                 slowlog-log-slower-than {wanted}."
            ));
        }
        advice.push(
            "SLOWLOG GET shows the commands that took long, and with TIMES whether they waited \
             in a queue, for another core or for a loan."
                .to_owned(),
        );
        advice.push("Commands on large values take long; split such values.".to_owned());
    }
    if has(b"fast-command") {
        advice.push(
            "Commands that are never slow took long: the cores did not get their processors. Look \
             for other load on the machine and for a noisy neighbour."
                .to_owned(),
        );
    }
    if has(b"expire-cycle") {
        advice.push("Many keys expire at the same time; spread their times.".to_owned());
    }
    if has(b"eviction-cycle") {
        advice.push("Keys are evicted for every write; give the server more memory.".to_owned());
    }
    if !advice.is_empty() {
        text.push_str("\nWhat may help:\n\n");
    }
    advice.iter().for_each(|line| {
        let _ = writeln!(text, "- {line}");
    });
    text
}

fn reset_begin(_cx: &mut SessionContext<'_>, args: Args<'_>) -> Result<Job, CommandError> {
    let meant: Vec<Vec<u8>> = args.iter_from(2).map(<[u8]>::to_vec).collect();
    Ok(Arc::new(move |view| {
        let is_meant = |event: &str| {
            let same = |name: &Vec<u8>| name.eq_ignore_ascii_case(event.as_bytes());
            meant.is_empty() || meant.iter().any(same)
        };
        let mut gone = Latency::default();
        view.latency.reset(is_meant).into_iter().for_each(|event| gone.add(event, 0, 0));
        Part::Latency(gone)
    }))
}

fn reset_gather(
    _cx: &mut SessionContext<'_>,
    _args: Args<'_>,
    parts: Vec<Part>,
    reply: &mut Reply<'_>,
) -> Outcome {
    // An event that several cores have seen is one.
    reply.count(join(parts).iter().count() as u64);
    Ok(())
}

fn histogram(cx: &mut SessionContext<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let mut wanted = counted(cx.table);
    if args.len() > 2 {
        let all = std::mem::take(&mut wanted);
        for name in args.iter_from(2) {
            let Some(found) = find_full_name(cx.table, name) else { continue };
            let mut numbers = vec![found.number];
            numbers.extend(cx.table.subcommands(found).iter().map(|part| part.number));
            let is_meant = |(listed, _): &&(Listed, Vec<usize>)| numbers.contains(&listed.number);
            wanted.extend(all.iter().filter(is_meant).cloned());
        }
    }
    let of_command = |(listed, numbers): (Listed, Vec<usize>)| {
        Some((listed.full_name.to_owned(), distribution(&command_counts(cx, &numbers))?))
    };
    let mut cdfs: Vec<_> = wanted.into_iter().filter_map(of_command).collect();
    let phases = args.iter_from(2).filter_map(|name| Phase::of(name.strip_prefix(PHASE)?));
    cdfs.extend(phases.filter_map(|phase| {
        let name = format!("{}{}", String::from_utf8_lossy(PHASE), phase.name());
        Some((name, distribution(&phase_counts(cx, phase))?))
    }));
    reply.map(cdfs.len());
    for (name, (calls, buckets)) in cdfs {
        reply.bulk(name.as_bytes());
        reply.map(2);
        reply.bulk(b"calls");
        reply.count(calls);
        reply.bulk(b"histogram_usec");
        reply.map(buckets.len());
        for (micros, cumulated) in buckets {
            reply.count(micros);
            reply.count(cumulated);
        }
    }
    Ok(())
}

/// Before the name of a phase, where the name of a command may stand.
const PHASE: &[u8] = b"phase|";

/// Calls of the commands of these numbers, by bucket.
fn command_counts(cx: &SessionContext<'_>, numbers: &[usize]) -> Vec<u64> {
    let mut sums = Vec::new();
    for stats in &cx.server.stats {
        let histograms = numbers.iter().filter_map(|at| stats.commands[*at].histogram());
        histograms.for_each(|histogram| histogram.add_to(&mut sums));
    }
    sums
}

/// The samples of a phase, by bucket.
fn phase_counts(cx: &SessionContext<'_>, phase: Phase) -> Vec<u64> {
    let mut sums = Vec::new();
    let timings = cx.server.stats.iter().filter_map(|stats| stats.phases.of(phase));
    timings.for_each(|timing| timing.histogram.add_to(&mut sums));
    sums
}

/// How many were counted, and how many took at most so many microseconds, where that grows. None if
/// none was filed.
fn distribution(sums: &[u64]) -> Option<(u64, Vec<(u64, u64)>)> {
    let calls: u64 = sums.iter().sum();
    if calls == 0 {
        return None;
    }
    let (mut buckets, mut cumulated, mut at) = (Vec::new(), 0, 0);
    let mut end = FIRST_BUCKET_NANOS;
    while cumulated < calls {
        let before = cumulated;
        let is_last = end >= LONGEST_NANOS;
        while at < sums.len() && (is_last || Histogram::highest(at) <= end) {
            cumulated += sums[at];
            at += 1;
        }
        if cumulated > before {
            buckets.push((reported_micros(end), cumulated));
        }
        end *= 2;
    }
    Some((calls, buckets))
}

/// The upper end of a bucket as Redis prints it: its histograms are exact to one part in 128, and the
/// last one ends where they do.
fn reported_micros(end: u64) -> u64 {
    if end >= LONGEST_NANOS {
        return LONGEST_NANOS / 1000;
    }
    (end + end / 128 - 1) / 1000
}

fn latency_help(_cx: &mut SessionContext<'_>, _args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let lines = [
        "DOCTOR",
        "    Explain what took long.",
        "GRAPH <event>",
        "    Draw the latencies of <event>.",
        "HISTORY <event>",
        "    Return the worst latency of each second of <event>.",
        "LATEST",
        "    Return the last latency of each event.",
        "RESET [<event> ...]",
        "    Forget the latencies of some events, or of all.",
        "HISTOGRAM [<command> ...]",
        "    Return how long some commands take, or all.",
    ];
    help(reply, "LATENCY", &lines);
    Ok(())
}
