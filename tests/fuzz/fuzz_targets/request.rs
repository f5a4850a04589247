//! The request parser: whatever arrives, and wherever it is cut, gives the same commands or the same
//! error, and never a panic.
//!
//! Input: a count of cuts, two bytes for each of them, then what a client sends.
#![no_main]

use ironring::resp::error::ProtocolError;
use ironring::resp::request::{INLINE_BYTES_MAX, Limits, Partial, Step, parse};
use libfuzzer_sys::fuzz_target;

type Command = Vec<Vec<u8>>;

const LIMITS: Limits = Limits { authenticated: true, word_bytes_max: 512 << 20 };

/// The commands in `input`, which arrives in pieces that end at `ends`.
fn feed(input: &[u8], ends: &[usize]) -> Result<Vec<Command>, ProtocolError> {
    let (mut commands, mut start) = (Vec::new(), 0);
    let (mut partial, mut ranges) = (Partial::default(), Vec::new());
    for end in ends.iter().copied().chain([input.len()]) {
        let buffer = &input[..end];
        loop {
            ranges.clear();
            match parse(buffer, start, &LIMITS, &mut partial, &mut ranges) {
                Step::Complete { next } => {
                    assert!(next > start, "a command has bytes");
                    let word = |at: usize, len: usize| buffer[at..at + len].to_vec();
                    let words = ranges.iter().map(|one| word(one.start as usize, one.len as usize));
                    commands.push(words.collect());
                    start = next;
                }
                Step::Empty { next } => start = next,
                Step::Quoted { next, multibulk } => {
                    commands.extend(feed(&multibulk, &[])?);
                    start = next;
                }
                Step::Incomplete | Step::Big { .. } => break,
                Step::Error(error) => return Err(error),
            }
        }
    }
    Ok(commands)
}

fuzz_target!(|data: &[u8]| {
    let Some((count, rest)) = data.split_first() else { return };
    let Some((cuts, input)) = rest.split_at_checked(usize::from(*count) * 2) else { return };
    // Of a line that is too long, what is an error depends on how much of it is there.
    if input.len() > INLINE_BYTES_MAX {
        return;
    }
    let end = |cut: &[u8]| usize::from(cut[0]) << 8 | usize::from(cut[1]);
    let mut ends: Vec<usize> = cuts.chunks(2).map(|cut| end(cut) % (input.len() + 1)).collect();
    ends.sort_unstable();
    assert_eq!(feed(input, &ends), feed(input, &[]), "cut at {ends:?}");
});
