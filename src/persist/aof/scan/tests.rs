//! What a scanner makes of whole, torn and damaged files.

use proptest::prelude::*;

use super::super::annotation::{Heading, write_synced};
use super::*;

fn command(words: &[&[u8]]) -> Vec<u8> {
    let mut text = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        text.extend(format!("${}\r\n", word.len()).bytes());
        text.extend_from_slice(word);
        text.extend(b"\r\n");
    }
    text
}

fn group(time: Option<i64>, bytes: &[u8]) -> Vec<u8> {
    let mut heading = Heading::new(time);
    heading.cover(bytes);
    [heading.into_bytes(), bytes.to_vec()].concat()
}

/// Appends a group that says up to where the file was synced.
fn append(text: &mut Vec<u8>, synced: usize, time: Option<i64>, bytes: &[u8]) {
    let mut body = Vec::new();
    write_synced(&mut body, synced as u64, text.len() as u64);
    body.extend_from_slice(bytes);
    text.extend(group(time, &body));
}

fn verify(text: &[u8], piece: usize) -> Verdict {
    let mut verifier = Verifier::new(0);
    text.chunks(piece).for_each(|chunk| verifier.feed(chunk));
    verifier.finish()
}

fn state(text: &[u8]) -> State {
    verify(text, text.len().max(1)).state
}

/// Keeps the words.
#[derive(Default)]
struct Kept {
    words: Vec<Vec<u8>>,
    word: Vec<u8>,
}

impl Words for Kept {
    fn part(&mut self, bytes: &[u8]) {
        self.word.extend_from_slice(bytes);
    }

    fn end(&mut self) {
        self.words.push(std::mem::take(&mut self.word));
    }
}

#[test]
fn words_come_out_as_they_went_in() {
    let words: [&[u8]; 3] = [b"SET", b"", b"a\r\nb"];
    let text = [command(&words), b"# a note\r\n".to_vec(), command(&words)].concat();
    for piece in 1..text.len() {
        let (mut scanner, mut kept) = (Scanner::new(7), Kept::default());
        let mut found = Vec::new();
        for mut chunk in text.chunks(piece) {
            while !chunk.is_empty() {
                let (used, one) = scanner.step(chunk, &mut kept).expect("it is whole");
                found.extend(one);
                chunk = &chunk[used..];
            }
        }
        assert_eq!(kept.words, [words, words].concat());
        let second = 7 + command(&words).len() as u64 + 10;
        assert_eq!(found, [Found::Command(7), Found::Line, Found::Command(second)]);
    }
}

#[test]
fn what_stock_servers_write_is_whole() {
    let set = command(&[b"SET", b"k", b"v"]);
    let multi = [command(&[b"MULTI"]), set.clone(), command(&[b"exec"])].concat();
    let text = [b"#TS:17\r\n".to_vec(), command(&[b"SELECT", b"3"]), multi, set].concat();
    let verdict = verify(&text, 3);
    assert_eq!((verdict.state, verdict.safe), (State::Whole, text.len() as u64));
    assert_eq!(verify(b"", 1).state, State::Whole);
}

#[test]
fn a_tail_that_a_crash_cut_is_torn_wherever_it_was_cut() {
    let first = group(Some(5), &command(&[b"SET", b"k", b"v"]));
    let multi = [command(&[b"MULTI"]), command(&[b"DEL", b"k"]), command(&[b"EXEC"])].concat();
    let text = [first.clone(), group(None, &multi)].concat();
    for cut in first.len() + 1..text.len() {
        for zeros in [0, 1, 700] {
            let torn = [&text[..cut], &vec![0; zeros]].concat();
            let verdict = verify(&torn, 11);
            let is_torn = matches!(verdict.state, State::Torn { .. });
            assert!(is_torn, "cut at {cut}, {zeros} zeros: {verdict:?}");
            assert_eq!(verdict.safe, first.len() as u64, "cut at {cut}, {zeros} zeros");
        }
    }
    let plain = [first.clone(), multi].concat();
    for cut in first.len() + 1..plain.len() {
        let verdict = verify(&[&plain[..cut], &[0; 600]].concat(), 64);
        assert!(matches!(verdict.state, State::Torn { .. }), "cut at {cut}");
        assert_eq!(verdict.safe, first.len() as u64, "cut at {cut}");
    }
    let filled = [text, vec![0; 4096]].concat();
    assert_eq!(verify(&filled, 512).state, State::Blank);
}

/// A file of groups, the first of them synced, and where each of them ends.
fn file_after_a_sync() -> (Vec<u8>, Vec<usize>) {
    let (mut text, mut ends) = (Vec::new(), vec![0]);
    for size in [10, 300, 900, 20, 1800, 400] {
        let synced = ends.get(1).copied().unwrap_or(0);
        append(&mut text, synced, None, &command(&[b"SET", b"k", &vec![b'x'; size]]));
        ends.push(text.len());
    }
    (text, ends)
}

#[test]
fn any_sectors_of_what_was_not_synced_may_be_lost() {
    let (text, ends) = file_after_a_sync();
    let sectors = text.len().div_ceil(512);
    for lost in 1..1u32 << sectors {
        let mut left = text.clone();
        let mut first = text.len();
        for sector in (0..sectors).filter(|sector| lost >> sector & 1 == 1) {
            let begin = (sector * 512).max(ends[1]);
            left[begin..text.len().min(sector * 512 + 512)].fill(0);
            first = first.min(begin);
        }
        let safe = ends.iter().copied().filter(|end| *end <= first).max();
        for zeros in [0, 600] {
            let left = [&left[..], &vec![0; zeros]].concat();
            let verdict = verify(&left, 1000);
            let is_torn = matches!(verdict.state, State::Torn { .. } | State::Blank);
            assert!(is_torn, "sectors {lost:b}: {verdict:?}");
            assert_eq!(Some(verdict.safe as usize), safe, "sectors {lost:b}");
        }
    }
}

#[test]
fn what_was_synced_is_not_cut_away() {
    let (text, ends) = file_after_a_sync();
    let begin = 512;
    let broken_at = ends.iter().copied().filter(|end| *end <= begin).max().unwrap_or(0);
    for (synced, is_lost) in [(broken_at, true), (broken_at + 1, false), (text.len(), false)] {
        let mut text = text.clone();
        append(&mut text, synced, Some(7), b"");
        assert_eq!(state(&text), State::Whole);
        text[begin..begin + 512].fill(0);
        let verdict = verify(&text, 100);
        assert_eq!(verdict.safe as usize, broken_at);
        assert_eq!(matches!(verdict.state, State::Torn { .. }), is_lost, "{synced}: {verdict:?}");
        assert_eq!(matches!(verdict.state, State::Damaged(_)), !is_lost, "{synced}: {verdict:?}");
    }
}

#[test]
fn files_that_do_not_say_what_was_synced_lack_no_sector_but_of_their_last_group() {
    let set = command(&[b"SET", b"k", &[b'x'; 900]]);
    let first = group(None, &set);
    let mut text = [&first[..], &first].concat();
    text[1024..1536].fill(0);
    assert_eq!(state(&text), State::Torn { in_multi: false });
    let text = [&text[..], &first].concat();
    assert!(matches!(state(&text), State::Damaged(_)), "a group stands behind it");
    // Commands without groups say nothing of themselves.
    let mut plain = [&set[..], &set, &set].concat();
    plain[512..1024].fill(0);
    assert!(matches!(state(&plain), State::Damaged(_)));
}

#[test]
fn a_sector_that_a_file_without_groups_lacks_is_damage_wherever_commands_end() {
    let set = command(&[b"SET", b"k", b"x"]);
    for shift in 0..set.len() {
        let key = vec![b'k'; shift + 1];
        let plain = [command(&[b"SET", &key, b"first"]), set.repeat(100)].concat();
        let mut text = plain.clone();
        text[512..1024].fill(0);
        assert!(matches!(state(&text), State::Damaged(_)), "{shift}");
        // Groups behind it say that they were not synced: it is ours, and was torn.
        let mut ours = plain;
        let safe = ours.len();
        append(&mut ours, 0, None, &command(&[b"SET", b"k", &[b'x'; 1500]]));
        append(&mut ours, safe, None, &command(&[b"PING"]));
        let hole = safe.next_multiple_of(512);
        ours[safe..hole + 512].fill(0);
        let verdict = verify(&ours, 100);
        assert!(matches!(verdict.state, State::Torn { .. }), "{shift}: {verdict:?}");
        assert_eq!(verdict.safe as usize, safe);
    }
}

/// Eight bytes for which `crc` of what they make is the one that is wanted. A checksum is linear in
/// the bits of what it is of.
fn bytes_for(wanted: u64, crc: impl Fn(&[u8; 8]) -> u64) -> [u8; 8] {
    let base = crc(&[0; 8]);
    let mut rows: Vec<(u64, u64)> =
        (0..64).map(|bit| (crc(&(1u64 << bit).to_le_bytes()) ^ base, 1u64 << bit)).collect();
    let (mut left, mut bytes) = (wanted ^ base, 0);
    for bit in 0..64 {
        let at = rows.iter().position(|row| row.0 >> bit & 1 == 1).expect("eight bytes are enough");
        let (sum, made_of) = rows.swap_remove(at);
        rows.iter_mut().filter(|row| row.0 >> bit & 1 == 1).for_each(|row| {
            *row = (row.0 ^ sum, row.1 ^ made_of);
        });
        if left >> bit & 1 == 1 {
            (left, bytes) = (left ^ sum, bytes ^ made_of);
        }
    }
    bytes.to_le_bytes()
}

#[test]
fn a_group_whose_checksum_is_right_before_its_end_is_whole() {
    let first = command(&[b"SET", b"a", b"x"]);
    let whole = |value: &[u8; 8]| [&first[..], &command(&[b"SET", b"b", value])].concat();
    let value = bytes_for(crc64(0, &first), |value| crc64(0, &whole(value)));
    assert_eq!(crc64(0, &whole(&value)), crc64(0, &first));
    let text = group(None, &whole(&value));
    assert_eq!(state(&text), State::Whole);
    // One that ends there, in front of another, says a wrong length.
    let end = text.len() - command(&[b"SET", b"b", &value]).len();
    let misled = [&text[..end], &group(None, &first)].concat();
    assert!(matches!(state(&misled), State::Damaged(_)), "{:?}", state(&misled));
}

#[test]
fn a_value_that_holds_a_group_does_not_say_what_was_synced() {
    let (text, ends) = file_after_a_sync();
    let mut copied = Vec::new();
    append(&mut copied, text.len(), None, &command(&[b"PING"]));
    let mut text = text;
    append(&mut text, ends[1], None, &command(&[b"SET", b"copy", &copied]));
    text[512..1024].fill(0);
    assert_eq!(state(&text), State::Torn { in_multi: false });
}

#[test]
fn a_time_line_without_anything_behind_it_does_not_count() {
    let first = group(None, &command(&[b"PING"]));
    let verdict = verify(&[&first[..], b"#TS:17\r\n"].concat(), 9);
    assert_eq!((verdict.state, verdict.safe), (State::Whole, first.len() as u64));
}

#[test]
fn what_happened_too_late_is_found() {
    let early = group(Some(10), &command(&[b"SET", b"k", b"v"]));
    let late = group(Some(20), &command(&[b"SET", b"k", b"w"]));
    let mut verifier = Verifier::until(0, 15);
    verifier.feed(&[early.clone(), late].concat());
    assert_eq!(verifier.finish().too_late, Some(early.len() as u64));
}

#[test]
fn damage_is_told_with_its_place() {
    let set = command(&[b"SET", b"k", b"v"]);
    let nested = group(None, &group(None, &set));
    let long = [b"#".to_vec(), vec![b'x'; 2000]].concat();
    let cases: &[(&[u8], u64, &str)] = &[
        (b"!!!\n", 0, "neither a command nor an annotation"),
        (b"*0\r\n", 0, "a number that cannot be"),
        (b"*-1\r\n", 0, "a number that cannot be"),
        (b"*1\n$1\na\n", 0, "a number that cannot be"),
        (b"*1\r\n:1\r\n", 4, "no length of a word"),
        (b"*1\r\n$1\r\nab\r\n", 9, "a word that does not end where it should"),
        (b"*1\r\n$1000000000000000000000000\r\n", 4, "a line that is too long"),
        (b"#TS:x\r\n", 0, "an annotation that is damaged"),
        (&nested, nested.len() as u64 - set.len() as u64 - 26, "an annotation that is damaged"),
        (&long, 0, "a line that is too long"),
    ];
    for (text, offset, what) in cases {
        for piece in [1, 5, text.len()] {
            let State::Damaged(fault) = verify(text, piece).state else {
                panic!("{} is not damaged", text.escape_ascii());
            };
            assert!(fault.to_string().starts_with(what), "{fault}: {}", text.escape_ascii());
            assert_eq!(fault.offset, *offset, "{fault}: {}", text.escape_ascii());
        }
    }
}

#[test]
fn a_wrong_checksum_is_told_with_the_place_of_its_group() {
    let first = group(None, &command(&[b"SET", b"k", b"v"]));
    let mut second = group(Some(1), &command(&[b"SET", b"k", b"w"]));
    let at = second.len() - 3;
    second[at] ^= 1;
    let State::Damaged(fault) = state(&[first.clone(), second].concat()) else {
        panic!("a flipped bit was not noticed");
    };
    assert_eq!(fault.offset, first.len() as u64 + b"#TS:1\r\n".len() as u64);
}

proptest! {
    #[test]
    fn a_flipped_bit_in_a_group_is_noticed(
        values in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 1..6),
        times in proptest::collection::vec(proptest::option::of(any::<i64>()), 6),
        bit: usize,
        piece in 1..50usize,
        zeros in prop_oneof![Just(0), Just(700), Just(2048)],
    ) {
        let mut text = Vec::new();
        for (value, time) in values.iter().zip(times) {
            append(&mut text, 0, time, &command(&[b"SET", b"k", value]));
        }
        prop_assert_eq!(verify(&text, piece).state, State::Whole);
        let bit = bit % (8 * text.len());
        let mut flipped = [&text[..], &vec![0; zeros]].concat();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let state = verify(&flipped, piece).state;
        prop_assert!(matches!(state, State::Damaged(_)), "bit {}: {:?}", bit, state);
    }

    #[test]
    fn the_size_of_the_pieces_does_not_matter(
        parts in proptest::collection::vec(
            prop_oneof![
                Just(command(&[b"SET", b"k", b"v"])),
                Just(command(&[b"MULTI"])),
                Just(command(&[b"EXEC"])),
                Just(group(Some(3), &command(&[b"DEL", b"k"]))),
                Just(b"#TS:7\r\n".to_vec()),
                Just(b"#SYNC:9 40\r\n".to_vec()),
                Just(vec![0; 30]),
                Just(vec![0; 700]),
                proptest::collection::vec(any::<u8>(), 0..20),
            ], 0..8),
        piece in 1..20usize,
    ) {
        let text = parts.concat();
        let whole = verify(&text, text.len().max(1));
        let verdict = verify(&text, piece);
        prop_assert_eq!(verdict.safe, whole.safe);
        prop_assert_eq!(verdict.state, whole.state);
        prop_assert!(verdict.safe <= verdict.len);
        // What is safe alone is whole.
        prop_assert_eq!(verify(&text[..verdict.safe as usize], piece).state, State::Whole);
    }
}
