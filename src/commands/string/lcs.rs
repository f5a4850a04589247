//! Strings: LCS, the longest common subsequence.
//!
//! Invariant: time is the product of the lengths, which stock servers bound by their table of 4
//! bytes a cell within proto-max-bulk-len; the same requests are refused here (by default above 2^27
//! cells, some tenths of a second of a core). Memory is one row and, where the way back is needed,
//! one bit a cell. Source: the usual dynamic programming; among several longest subsequences that
//! of Redis.

use crate::command::context::StringRef;
use crate::command::{
    Access, Acl, Args, Argument, ArgumentKind, Arity, Command, CommandError, Context, Flags, Group,
    Handler, KeySpec, Outcome,
};
use crate::resp::reply::Reply;
use crate::store::entry::EntryRef;
use crate::store::key::Key;

/// The table's slice.
pub const COMMANDS: &[Command] = &[Command {
    name: "LCS",
    summary: "Finds the longest common subsequence of two strings.",
    since: "7.0.0",
    complexity: "O(N*M) for strings of N and M bytes",
    arity: Arity::AtLeast(3),
    group: Group::String,
    flags: Flags::READONLY,
    acl: Acl::STRING,
    keys: &[KeySpec::range(1, 1, 1, Access::RO.with(Access::ACCESS))],
    arguments: &[
        Argument::key("key1", 0),
        Argument::key("key2", 0),
        Argument::token("len", "LEN").optional(),
        Argument::token("idx", "IDX").optional(),
        Argument::new("min-match-len", ArgumentKind::Integer).after("MINMATCHLEN").optional(),
        Argument::token("withmatchlen", "WITHMATCHLEN").optional(),
    ],
    handler: Handler::Keyed(lcs),
    ..Command::BASE
}];

fn lcs(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let keys = [cx.key(args.get(1)), cx.key(args.get(2))];
    let lens = keys.each_ref().map(|key| cx.read(key).map_or(Ok(0), EntryRef::str_len));
    let [Ok(first_len), Ok(second_len)] = lens else {
        reply.error("ERR The specified keys must contain string values");
        return Err(CommandError::Written);
    };
    let options = Options::parse(args)?;
    if first_len.max(second_len) >= LEN_END {
        reply.error("ERR String too long for LCS");
        return Err(CommandError::Written);
    }
    // Both are below 2^32: the product fits, and so does its fourfold in 128 bits.
    let cells = (first_len + 1) * (second_len + 1);
    if u128::from(cells) * CELL_BYTES > u128::from(cx.config.proto_max_bulk_len) {
        reply.error("ERR Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len");
        return Err(CommandError::Written);
    }
    let [first, second] = keys.each_ref().map(|key| bytes_of(cx, key));
    match options.answer {
        Answer::Length => reply.count(u64::from(Solution::of(&first, &second, false).len)),
        Answer::String => {
            let solution = Solution::of(&first, &second, true);
            let mut common = Vec::with_capacity(solution.len as usize);
            for range in solution.ranges(&first, &second) {
                // Ranges come from the end to the front, and so are the bytes collected.
                common.extend(first[range.first..range.first + range.len].iter().rev());
            }
            common.reverse();
            reply.bulk(&common);
        }
        Answer::Ranges => reply_ranges(&options, &first, &second, reply),
    }
    Ok(())
}

fn reply_ranges(options: &Options, first: &[u8], second: &[u8], reply: &mut Reply<'_>) {
    let solution = Solution::of(first, second, true);
    reply.map(2);
    reply.bulk(b"matches");
    let place = reply.defer();
    let mut count = 0;
    for range in solution.ranges(first, second) {
        if (range.len as u64) < options.min_match_len {
            continue;
        }
        count += 1;
        reply.array(2 + usize::from(options.with_match_len));
        for start in [range.first, range.second] {
            reply.array(2);
            reply.count(start as u64);
            reply.count((start + range.len - 1) as u64);
        }
        if options.with_match_len {
            reply.count(range.len as u64);
        }
    }
    reply.array_at(place, count);
    reply.bulk(b"len");
    reply.count(u64::from(solution.len));
}

/// The string of a key that has been read before, in one piece.
fn bytes_of(cx: &mut Context<'_>, key: &Key<'_>) -> Vec<u8> {
    let value = cx.peek(key).and_then(|entry| StringRef::of(entry).ok());
    value.map_or_else(Vec::new, |value| value.to_bytes().into_owned())
}

/// What is answered.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Answer {
    String,
    Length,
    Ranges,
}

struct Options {
    answer: Answer,
    min_match_len: u64,
    with_match_len: bool,
}

impl Options {
    fn parse(args: Args<'_>) -> Result<Options, CommandError> {
        let (mut len, mut idx) = (false, false);
        let mut options =
            Options { answer: Answer::String, min_match_len: 0, with_match_len: false };
        let mut at = 3;
        while at < args.len() {
            if args.is(at, "IDX") {
                idx = true;
            } else if args.is(at, "LEN") {
                len = true;
            } else if args.is(at, "WITHMATCHLEN") {
                options.with_match_len = true;
            } else if args.is(at, "MINMATCHLEN") && at + 1 < args.len() {
                at += 1;
                options.min_match_len = u64::try_from(args.integer(at)?).unwrap_or(0);
            } else {
                return Err(CommandError::Syntax);
            }
            at += 1;
        }
        options.answer = match (len, idx) {
            (true, true) => return Err(CommandError::LcsMixedOptions),
            (true, false) => Answer::Length,
            (false, true) => Answer::Ranges,
            (false, false) => Answer::String,
        };
        Ok(options)
    }
}

/// The length of the longest common subsequence and, if it was asked for, the way to it.
struct Solution {
    len: u32,
    /// A bit for each pair of prefixes: the subsequence is longer without the first one's last byte
    /// than without the second's. Row by row, each row from a new word on.
    drops_first: Vec<u64>,
    row_words: usize,
}

/// Bytes that both strings have in a row: where in the first, where in the second, how many.
struct Range {
    first: usize,
    second: usize,
    len: usize,
}

impl Solution {
    fn of(first: &[u8], second: &[u8], with_way: bool) -> Solution {
        let row_words = if with_way { second.len().div_ceil(WORD_BITS) } else { 0 };
        let mut drops_first = vec![0u64; first.len() * row_words];
        // Lengths for all prefixes of the second string and the prefix of the first so far.
        let mut row = vec![0u32; second.len() + 1];
        for (at, &byte) in first.iter().enumerate() {
            let bits = &mut drops_first[at * row_words..(at + 1) * row_words];
            let mut diagonal = 0;
            let mut left = 0;
            for (column, &other) in second.iter().enumerate() {
                let above = row[column + 1];
                let len = if byte == other { diagonal + 1 } else { above.max(left) };
                if with_way {
                    bits[column / WORD_BITS] |= u64::from(above > left) << (column % WORD_BITS);
                }
                row[column + 1] = len;
                diagonal = above;
                left = len;
            }
        }
        Solution { len: row[second.len()], drops_first, row_words }
    }

    /// The ranges of common bytes, from the end to the front.
    fn ranges<'a>(&'a self, first: &'a [u8], second: &'a [u8]) -> impl Iterator<Item = Range> + 'a {
        let (mut i, mut j) = (first.len(), second.len());
        std::iter::from_fn(move || {
            while i > 0 && j > 0 && first[i - 1] != second[j - 1] {
                let word = self.drops_first[(i - 1) * self.row_words + (j - 1) / WORD_BITS];
                if word >> ((j - 1) % WORD_BITS) & 1 == 1 {
                    i -= 1;
                } else {
                    j -= 1;
                }
            }
            let mut len = 0;
            while i > 0 && j > 0 && first[i - 1] == second[j - 1] {
                i -= 1;
                j -= 1;
                len += 1;
            }
            (len > 0).then_some(Range { first: i, second: j, len })
        })
    }
}

/// Strings are shorter than this. Source: the range of stock's 32-bit indexes.
const LEN_END: u64 = u32::MAX as u64 - 1;
/// Bytes of a cell of stock's table.
const CELL_BYTES: u128 = 4;
const WORD_BITS: usize = u64::BITS as usize;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The length by the definition, with a whole table.
    fn table(first: &[u8], second: &[u8]) -> Vec<Vec<usize>> {
        let mut table = vec![vec![0; second.len() + 1]; first.len() + 1];
        for i in 1..=first.len() {
            for j in 1..=second.len() {
                table[i][j] = if first[i - 1] == second[j - 1] {
                    table[i - 1][j - 1] + 1
                } else {
                    table[i - 1][j].max(table[i][j - 1])
                };
            }
        }
        table
    }

    proptest! {
        #[test]
        fn ranges_are_common_and_as_long_as_can_be(
            first in prop::collection::vec(0u8..4, 0..90),
            second in prop::collection::vec(0u8..4, 0..140),
        ) {
            let expected = table(&first, &second)[first.len()][second.len()];
            prop_assert_eq!(Solution::of(&first, &second, false).len as usize, expected);
            let solution = Solution::of(&first, &second, true);
            prop_assert_eq!(solution.len as usize, expected);
            let (mut first_end, mut second_end, mut len) = (first.len(), second.len(), 0);
            for range in solution.ranges(&first, &second) {
                prop_assert!(range.first + range.len <= first_end);
                prop_assert!(range.second + range.len <= second_end);
                let (one, other) = (&first[range.first..], &second[range.second..]);
                prop_assert_eq!(&one[..range.len], &other[..range.len]);
                (first_end, second_end) = (range.first, range.second);
                len += range.len;
            }
            prop_assert_eq!(len, expected);
        }
    }
}
