//! The options that XADD and XTRIM share: what is to be trimmed.
//!
//! Invariant: parsing changes nothing; errors come in the order of a stock server.

use crate::command::{Args, CommandError, Context};
use crate::types::stream::{NewId, StreamId, Trim};

/// Whose options they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    Add,
    Trim,
}

/// What was asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Options {
    /// What is to remain.
    pub trimming: Option<Trimming>,
    /// XADD: the id and which word it is.
    pub id: Option<(NewId, usize)>,
    /// XADD: a missing key is not made.
    pub no_mkstream: bool,
}

/// MAXLEN or MINID.
#[derive(Clone, Copy, Debug)]
pub(super) struct Trimming {
    /// What is to remain.
    pub trim: Trim,
    /// `~`: whole blocks only.
    pub approximately: bool,
    /// How many entries may go; 0 for any number.
    pub limit: u64,
    /// Which word holds the threshold; where there is an operator, it stands before.
    pub threshold: usize,
}

/// Parses the words from the second on.
pub(super) fn parse(
    cx: &Context<'_>,
    args: Args<'_>,
    family: Family,
) -> Result<Options, CommandError> {
    let mut options = Options { trimming: None, id: None, no_mkstream: false };
    let mut limit = None;
    let adds = family == Family::Add;
    let mut at = 2;
    while at < args.len() {
        let has_more = at + 1 < args.len();
        if adds && args.get(at) == b"*" {
            options.id = Some((NewId::Auto, at));
            break;
        } else if has_more && (args.is(at, "MAXLEN") || args.is(at, "MINID")) {
            if options.trimming.is_some() {
                return Err(CommandError::MaxlenAndMinid);
            }
            let trimming = trimming(args, at)?;
            at = trimming.threshold;
            options.trimming = Some(trimming);
        } else if has_more && args.is(at, "LIMIT") {
            let entries = args.integer(at + 1)?;
            limit = Some(u64::try_from(entries).map_err(|_| CommandError::TrimLimitNegative)?);
            at += 1;
        } else if adds && args.is(at, "NOMKSTREAM") {
            options.no_mkstream = true;
        } else if adds {
            let id = NewId::parse(args.get(at)).ok_or(CommandError::InvalidStreamId)?;
            options.id = Some((id, at));
            break;
        } else {
            return Err(CommandError::Syntax);
        }
        at += 1;
    }
    let Some(trimming) = &mut options.trimming else {
        return match limit {
            Some(1..) => Err(CommandError::LimitWithoutTrim),
            _ if !adds => Err(CommandError::XtrimWithoutTrim),
            Some(0) => Err(CommandError::LimitWithoutTilde),
            None => Ok(options),
        };
    };
    trimming.limit = match limit {
        // Whoever wrote the command down has put what came of its limit in place of `~`.
        _ if cx.session.replays => 0,
        Some(_) if !trimming.approximately => return Err(CommandError::LimitWithoutTilde),
        Some(limit) => limit,
        None if trimming.approximately => usual_limit(cx.config.stream_node_max_entries),
        None => 0,
    };
    Ok(options)
}

/// `MAXLEN` or `MINID` at word `at`, with what follows.
fn trimming(args: Args<'_>, at: usize) -> Result<Trimming, CommandError> {
    let has_operator = at + 2 < args.len();
    let (approximately, threshold) = match args.get(at + 1) {
        b"~" if has_operator => (true, at + 2),
        b"=" if has_operator => (false, at + 2),
        _ => (false, at + 1),
    };
    let trim = if args.is(at, "MAXLEN") {
        let max = args.integer(threshold)?;
        Trim::MaxLen(u64::try_from(max).map_err(|_| CommandError::TrimMaxlenNegative)?)
    } else {
        Trim::MinId(super::id(args.get(threshold))?)
    };
    Ok(Trimming { trim, approximately, limit: 0, threshold })
}

/// How many entries `~` alone lets go at most: those of a hundred blocks.
fn usual_limit(node_max_entries: u64) -> u64 {
    match (node_max_entries as i64).wrapping_mul(BLOCKS_MAX) {
        ..=0 => LIMIT_WITHOUT_ENTRIES,
        limit => limit.min(LIMIT_MAX).unsigned_abs(),
    }
}

impl Trimming {
    /// The words of a command whose words `args` are, so that applying them again trims the same:
    /// the operator is `=`, the threshold what the stream has become.
    pub(super) fn rewrite<'w>(&self, words: &mut [&'w [u8]], remains: &'w [u8]) {
        words[self.threshold - 1] = b"=";
        words[self.threshold] = remains;
    }

    /// The threshold that a stream of this length, with this first id (deleted or not), is at.
    pub(super) fn remains(&self, length: u64, first: Option<StreamId>) -> Vec<u8> {
        match self.trim {
            Trim::MaxLen(_) => length.to_string().into_bytes(),
            Trim::MinId(_) => first.unwrap_or(StreamId::MAX).text().as_bytes().to_vec(),
        }
    }
}

/// Source: the limit that a stock server sets where `~` comes without one.
const BLOCKS_MAX: i64 = 100;
const LIMIT_WITHOUT_ENTRIES: u64 = 10_000;
const LIMIT_MAX: i64 = 1_000_000;
