//! What a scanner makes of whole, torn and damaged files.

use proptest::prelude::*;

use super::super::annotation::Heading;
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

#[test]
fn one_group_may_stand_behind_one_that_a_crash_has_cut() {
    let set = |value: &[u8]| group(None, &command(&[b"SET", b"k", value]));
    let (first, second, third) = (set(b"1"), set(&[b'x'; 900]), set(b"3"));
    let safe = first.len() as u64;
    for cut in 0..second.len() {
        let mut cut_short = second.clone();
        cut_short[cut..].fill(0);
        for tail in [&third[..], &third[..third.len() - 5], b"#CR"] {
            for zeros in [0, 600] {
                let text = [&first[..], &cut_short, tail, &vec![0; zeros]].concat();
                let verdict = verify(&text, 100);
                assert_eq!(verdict.state, State::Torn { in_multi: false }, "cut at {cut}");
                assert_eq!(verdict.safe, safe, "cut at {cut}");
            }
        }
        // What has been acknowledged since is not cut away.
        let text = [&first[..], &cut_short, &third, &third].concat();
        assert!(matches!(verify(&text, 100).state, State::Damaged(_)), "cut at {cut}");
    }
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
    ) {
        let text: Vec<u8> = values.iter().zip(times)
            .flat_map(|(value, time)| group(time, &command(&[b"SET", b"k", value])))
            .collect();
        prop_assert_eq!(verify(&text, piece).state, State::Whole);
        let mut flipped = text.clone();
        let bit = bit % (8 * text.len());
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
                Just(vec![0; 30]),
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
