//! CLIENT LIST: the lines of the clients that match, from every core.
//!
//! Invariant: lines stand in the order of the ids, or with `ID id ...` alone in the order in which
//! the ids were sent, each as often as it was.

use std::sync::Arc;

use super::client_filter::{Filter, Refusal};
use super::client_kill::{answer, known, refused};
use crate::base::number;
use crate::client::{Verdict, info};
use crate::command::whole::{Job, Part};
use crate::command::{Args, CommandError, Outcome, SessionContext};
use crate::resp::reply::Reply;

/// Which clients are listed.
enum Selection {
    /// Those with these ids; numbers that are no id are allowed.
    Ids(Vec<i64>),
    /// Those that match.
    Matching(Filter),
}

pub(super) fn list_begin(cx: &mut SessionContext<'_>, args: Args<'_>) -> Result<Job, CommandError> {
    let selection = match selection(cx, args) {
        Ok(selection) => selection,
        Err(refusal) => return refused(refusal),
    };
    // Our own line shows this very command.
    cx.session.last_command = "client|list";
    let me = cx.session.facts.id;
    let (request, words) = (args.request_bytes(), args.word_bytes());
    Ok(Arc::new(move |view| {
        let (mut text, now) = (Vec::new(), view.now);
        view.clients.for_each(&mut |session, held| {
            let listed = match &selection {
                Selection::Ids(ids) => {
                    ids.iter().any(|id| u64::try_from(*id) == Ok(session.facts.id))
                }
                Selection::Matching(filter) => filter.matches(session, held, (me, now)),
            };
            if listed && session.facts.id == me {
                let held = held.while_running(request, words);
                info::write_line(&mut text, session, &held, now);
            } else if listed {
                info::write_line(&mut text, session, held, now);
            }
            Verdict::Keep
        });
        Part::Text(text)
    }))
}

pub(super) fn list_gather(
    cx: &mut SessionContext<'_>,
    args: Args<'_>,
    parts: Vec<Part>,
    reply: &mut Reply<'_>,
) -> Outcome {
    let selection = match selection(cx, args) {
        Ok(selection) => selection,
        Err(refusal) => return answer(refusal, reply),
    };
    let texts = parts.iter().map(|part| if let Part::Text(text) = part { &text[..] } else { &[] });
    let mut lines: Vec<(i64, &[u8])> =
        texts.flat_map(|text| text.split_inclusive(|byte| *byte == b'\n')).map(numbered).collect();
    lines.sort_unstable();
    let lines: Vec<&[u8]> = match selection {
        Selection::Matching(_) => lines.into_iter().map(|(_, line)| line).collect(),
        Selection::Ids(ids) => ids.iter().filter_map(|id| line_of(&lines, *id)).collect(),
    };
    reply.verbatim("txt", &lines.concat());
    Ok(())
}

fn selection(cx: &SessionContext<'_>, args: Args<'_>) -> Result<Selection, Refusal> {
    if args.len() == 2 {
        return Ok(Selection::Matching(Filter::default()));
    }
    if args.is(2, "ID") && args.len() > 3 {
        let ids: Option<Vec<i64>> = args.iter_from(3).map(number::parse_i64).collect();
        if let Some(ids) = ids {
            return Ok(Selection::Ids(ids));
        }
        // Redis takes nothing but ids behind ID; Valkey more options, if there is an id before.
        return match Filter::parse(args, known(cx), false) {
            Err(Refusal::Fixed(CommandError::Syntax | CommandError::ClientIdNotPositive)) => {
                Err(CommandError::InvalidClientId.into())
            }
            parsed => parsed.map(Selection::Matching),
        };
    }
    Filter::parse(args, known(cx), false).map(Selection::Matching)
}

/// A line with the id that it begins with: `id=<number> `.
fn numbered(line: &[u8]) -> (i64, &[u8]) {
    let digits = line[b"id=".len()..].split(|byte| *byte == b' ').next();
    (digits.and_then(number::parse_i64).unwrap_or(0), line)
}

fn line_of<'l>(lines: &[(i64, &'l [u8])], id: i64) -> Option<&'l [u8]> {
    let at = lines.binary_search_by_key(&id, |(id, _)| *id).ok()?;
    Some(lines[at].1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_found_by_the_id_that_they_begin_with() {
        let lines = [numbered(b"id=3 addr=\n"), numbered(b"id=21 addr=\n")];
        assert_eq!(line_of(&lines, 21), Some(&b"id=21 addr=\n"[..]));
        assert_eq!(line_of(&lines, 4), None);
        assert_eq!(line_of(&lines, -1), None);
    }
}
