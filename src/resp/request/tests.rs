//! The parser against every way of cutting its input, and against stock's error texts.

use proptest::prelude::*;

use super::*;

const OPEN: Limits = Limits { authenticated: true, word_bytes_max: 512 << 20 };

/// Feeds `input` in pieces that end at `cuts`; the words of each command.
fn feed(input: &[u8], cuts: &[usize]) -> Result<Vec<Vec<Vec<u8>>>, ProtocolError> {
    let mut commands = Vec::new();
    let (mut partial, mut ranges) = (Partial::default(), Vec::new());
    let (mut buffer, mut start) = (Vec::new(), 0);
    let mut ends: Vec<usize> = cuts.iter().map(|cut| cut % (input.len() + 1)).collect();
    ends.push(input.len());
    ends.sort_unstable();
    for end in ends {
        buffer.extend_from_slice(&input[buffer.len()..end]);
        loop {
            ranges.clear();
            match parse(&buffer, start, &OPEN, &mut partial, &mut ranges) {
                Step::Complete { next } => {
                    let word = |r: &ArgRange| buffer[r.start as usize..][..r.len as usize].to_vec();
                    commands.push(ranges.iter().map(word).collect());
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

proptest! {
    #[test]
    fn any_cut_gives_the_same_commands(
        commands in prop::collection::vec(
            prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 1..6), 1..5),
        cuts in prop::collection::vec(any::<usize>(), 0..8),
    ) {
        let input: Vec<u8> = commands.iter().flat_map(|words| encode(words)).collect();
        prop_assert_eq!(feed(&input, &cuts), Ok(commands));
    }

    /// A cut of what is nearly a command, or of several, changes neither commands nor errors.
    #[test]
    fn any_cut_of_garbage_gives_the_same(
        input in prop::collection::vec(
            prop_oneof![
                Just(&b"*2\r\n"[..]), Just(&b"$1\r\na\r\n"[..]), Just(&b"$0\r\n\r\n"[..]), Just(&b"*0\r\n"[..]),
                Just(&b"$-1\r\n"[..]), Just(&b"ping\r\n"[..]), Just(&b"a \"b\"\n"[..]), Just(&b"\""[..]), Just(&b"$"[..]),
                Just(&b"*"[..]), Just(&b"1"[..]), Just(&b"\r"[..]), Just(&b"\n"[..]), Just(&b"$70000\r\n"[..]), Just(&b"\0"[..]),
            ],
            0..30),
        cuts in prop::collection::vec(any::<usize>(), 0..8),
    ) {
        let input = input.concat();
        prop_assert_eq!(feed(&input, &cuts), feed(&input, &[]));
    }

    #[test]
    fn garbage_never_panics(
        input in prop::collection::vec(
            prop_oneof![Just(b'*'), Just(b'$'), Just(b'\r'), Just(b'\n'), Just(b'1'), any::<u8>()],
            0..200),
        cuts in prop::collection::vec(any::<usize>(), 0..4),
    ) {
        let _ = feed(&input, &cuts);
    }
}

#[test]
fn protocol_errors_are_those_of_stock() {
    for (input, error) in [
        (&b"*x\r\n"[..], ProtocolError::MultibulkLength),
        (b"*2147483648\r\n", ProtocolError::MultibulkLength),
        (b"*1\r\nx\r\n", ProtocolError::ExpectedDollar(b'x')),
        (b"*1\r\n$-1\r\n", ProtocolError::BulkLength),
        (b"*1\r\n$536870913\r\n", ProtocolError::BulkLength),
        (b"get \"a\r\n", ProtocolError::UnbalancedQuotes),
    ] {
        assert_eq!(feed(input, &[]), Err(error));
    }
    let long = [b"*".as_slice(), &vec![b'1'; INLINE_BYTES_MAX + 1]].concat();
    assert_eq!(feed(&long, &[]), Err(ProtocolError::MultibulkCountTooBig));
    assert_eq!(feed(&vec![b'x'; INLINE_BYTES_MAX + 1], &[]), Err(ProtocolError::InlineTooBig));
}

#[test]
fn a_client_that_has_not_authenticated_is_held_short() {
    let limits = Limits { authenticated: false, ..OPEN };
    let step = |input: &[u8]| parse(input, 0, &limits, &mut Partial::default(), &mut Vec::new());
    assert_eq!(step(b"*11\r\n"), Step::Error(ProtocolError::UnauthenticatedMultibulkLength));
    assert_eq!(step(b"*1\r\n$16385\r\n"), Step::Error(ProtocolError::UnauthenticatedBulkLength));
}

#[test]
fn inline_commands_are_split_at_blanks() {
    let words = |line: &[u8]| feed(line, &[]).map(|mut commands| commands.pop());
    assert_eq!(words(b"SET  k\tv \r\n"), Ok(Some(vec![b"SET".into(), b"k".into(), b"v".into()])));
    assert_eq!(words(b"echo \"a\\x41 b\"\n"), Ok(Some(vec![b"echo".into(), b"aA b".into()])));
    assert_eq!(words(b"\r\n"), Ok(None));
}

#[test]
fn a_big_word_is_announced_with_its_place() {
    let (mut partial, mut ranges) = (Partial::default(), Vec::new());
    let head = b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$100000\r\nabc";
    let step = parse(head, 0, &OPEN, &mut partial, &mut ranges);
    assert_eq!(step, Step::Big { content: head.len() - 3, len: 100_000 });
    partial.big_word_received();
    let step = parse(&head[..head.len() - 3], 0, &OPEN, &mut partial, &mut ranges);
    assert_eq!(step, Step::Complete { next: head.len() - 3 });
    assert_eq!(ranges.len(), 3);
}
