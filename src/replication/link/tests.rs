//! The link against scripted primaries, with what they send cut anywhere.

use super::*;
use crate::base::rng::Rng;

const ID: &str = "00000001abcdef0100000000ffffffff00000007";
const MARK: &str = "0123456789012345678901234567890123456789";

fn introduction() -> Introduction {
    Introduction { port: 6379, version: "9.1.2", ..Introduction::default() }
}

/// What a primary's bytes come to, given in pieces of at most so many bytes: the events but for parts,
/// the snapshot, and what is left for the stream.
fn play(
    introduction: Introduction,
    position: Option<Position>,
    bytes: &[u8],
    piece: impl FnMut() -> usize,
) -> Result<(Vec<Event>, Vec<u8>, Vec<u8>), Fault> {
    let (link, first) = Link::new(introduction);
    assert_eq!(first, request(&[b"PING"]));
    play_over(link, position, bytes, piece)
}

/// The same over a link that has begun.
fn play_over(
    mut link: Link,
    position: Option<Position>,
    bytes: &[u8],
    mut piece: impl FnMut() -> usize,
) -> Result<(Vec<Event>, Vec<u8>, Vec<u8>), Fault> {
    let (mut events, mut snapshot, mut stream) = (Vec::new(), Vec::new(), Vec::new());
    let mut rest = bytes;
    while !rest.is_empty() {
        let (mut now, later) = rest.split_at(piece().clamp(1, rest.len()));
        rest = later;
        loop {
            let (used, event) = link.step(now)?;
            let part = &now[..used];
            now = &now[used..];
            match event {
                None if used == 0 => break,
                None => {}
                Some(Event::Part) => snapshot.extend_from_slice(part),
                Some(Event::Kept(bytes)) => snapshot.extend(bytes),
                Some(Event::Stream) => {
                    stream.extend_from_slice(now);
                    break;
                }
                Some(Event::Introduced) => events.push(Event::Send(link.psync(position))),
                Some(event) => events.push(event),
            }
        }
    }
    Ok((events, snapshot, stream))
}

fn greeting(lines: usize) -> Vec<u8> {
    [b"+PONG\r\n".as_slice(), &b"+OK\r\n".repeat(lines)].concat()
}

fn text(fault: Result<(Vec<Event>, Vec<u8>, Vec<u8>), Fault>) -> String {
    fault.expect_err("a fault").0
}

#[test]
fn a_replica_introduces_itself_and_gets_a_snapshot_wherever_it_is_cut() {
    let position = Position { id: ReplicationId::parse(ID.as_bytes()).expect("an id"), offset: 99 };
    let tricky = [&MARK.as_bytes()[..39], &MARK.as_bytes()[..20], b"0", &MARK.as_bytes()[..5]];
    let snapshot = [b"REDIS0011".as_slice(), &tricky.concat(), &[7; 300]].concat();
    let head = format!("\n\n+FULLRESYNC {ID} 99\r\n\n");
    let counted = [format!("${}\r\n", snapshot.len()).as_bytes(), &snapshot].concat();
    let marked = [format!("$EOF:{MARK}\r\n").as_bytes(), &snapshot, MARK.as_bytes()].concat();
    for (payload, announced) in [(counted, Some(snapshot.len() as u64)), (marked, None)] {
        let bytes = [&greeting(3), head.as_bytes(), &payload, b"*1\r\n$4\r\nPING\r\n"].concat();
        for seed in 0..200 {
            let mut rng = Rng::new(seed);
            let most = 1 + rng.below(if seed % 2 == 0 { 8 } else { 700 });
            let played = play(introduction(), None, &bytes, || 1 + rng.below(most) as usize);
            let (events, got, stream) = played.unwrap_or_else(|fault| panic!("{seed}: {fault:?}"));
            assert_eq!(got, snapshot, "seed {seed}");
            assert_eq!(stream, b"*1\r\n$4\r\nPING\r\n", "seed {seed}");
            let says = [
                request(&[b"REPLCONF", b"listening-port", b"6379"]),
                request(&[b"REPLCONF", b"capa", b"eof", b"capa", b"psync2"]),
                request(&[b"REPLCONF", b"version", b"9.1.2"]),
            ];
            let expected = [
                Event::Send(says.concat()),
                Event::Send(request(&[b"PSYNC", b"?", b"-1"])),
                Event::Begins(position),
                Event::Snapshot(announced),
                Event::Complete,
            ];
            assert_eq!(events, expected, "seed {seed}");
        }
    }
}

#[test]
fn it_goes_on_where_it_stands() {
    let position = Position { id: ReplicationId::parse(ID.as_bytes()).expect("an id"), offset: 99 };
    let wanted = Event::Send(request(&[b"PSYNC", ID.as_bytes(), b"100"]));
    for (answer, id) in [
        ("+CONTINUE\r\n".to_owned(), None),
        (format!("+CONTINUE {}\r\n", "ab".repeat(20)), ReplicationId::parse(&b"ab".repeat(20))),
    ] {
        let bytes = [&greeting(3), answer.as_bytes(), b"rest"].concat();
        let (events, _, stream) =
            play(introduction(), Some(position), &bytes, || 3).expect("no fault");
        assert_eq!(events[1..], [wanted.clone(), Event::Continues(id)]);
        assert_eq!(stream, b"rest");
    }
    // Nobody has asked for that.
    let bytes = [&greeting(3), b"+CONTINUE\r\n".as_slice()].concat();
    assert!(
        text(play(introduction(), None, &bytes, || 9)).starts_with("Unexpected reply to PSYNC")
    );
}

#[test]
fn a_login_and_an_address_are_part_of_it() {
    let introduction = Introduction {
        user: b"bob".to_vec(),
        password: b"secret".to_vec(),
        address: b"10.0.0.7".to_vec(),
        ..introduction()
    };
    let bytes = [b"-NOAUTH Authentication required.\r\n", &b"+OK\r\n".repeat(2)[..]].concat();
    let errors = b"-ERR Unrecognized REPLCONF option: ip-address\r\n+OK\r\n-ERR x\r\n";
    let bytes = [&bytes[..], errors, b"-LOADING later\r\n"].concat();
    let (mut link, _) = Link::new(introduction.clone());
    let (_, event) = link.step(&bytes).expect("no fault");
    let Some(Event::Send(sent)) = event else { panic!("{event:?}") };
    assert!(sent.starts_with(&request(&[b"AUTH", b"bob", b"secret"])));
    let address = request(&[b"REPLCONF", b"ip-address", b"10.0.0.7"]);
    assert!(sent.windows(address.len()).any(|part| part == address));
    let said = text(play(introduction.clone(), None, &bytes, || 5));
    assert!(said.starts_with("Master is currently unable to PSYNC"), "{said}");
    let refused = b"+PONG\r\n-WRONGPASS invalid\r\n";
    assert_eq!(
        text(play(introduction, None, refused, || 100)),
        "Unable to AUTH to MASTER: -WRONGPASS invalid"
    );
}

#[test]
fn a_snapshot_may_come_over_a_channel() {
    let position = Position { id: ReplicationId::parse(ID.as_bytes()).expect("an id"), offset: 99 };
    let offers = Introduction { offers_channel: true, ..introduction() };
    let answered = [&greeting(3), b"\n+RDBCHANNELSYNC 17\r\n\n*1\r\n".as_slice()].concat();
    for piece in [1, 7, 10_000] {
        let played = play(offers.clone(), Some(position), &answered, || piece);
        let (events, _, stream) = played.expect("no fault");
        let Event::Send(said) = &events[0] else { panic!("{events:?}") };
        let can = [b"REPLCONF".as_slice(), b"capa", b"eof", b"capa", b"psync2", b"capa"];
        let can = request(&[&can[..], &[b"rdb-channel-repl"]].concat());
        assert!(said.windows(can.len()).any(|part| part == can));
        assert_eq!(events[2..], [Event::Channel(17)]);
        assert_eq!(stream, b"\n*1\r\n", "what follows belongs to the stream");
    }
    let wrong = [&greeting(3), b"+RDBCHANNELSYNC me\r\n".as_slice()].concat();
    let fault = text(play(offers.clone(), Some(position), &wrong, || 9));
    assert!(fault.starts_with("Master replied with wrong +RDBCHANNELSYNC syntax"), "{fault}");

    let login = Introduction { password: b"secret".to_vec(), ..offers };
    let words =
        "REPLCONF capa eof rdb-only 1 rdb-channel 1 main-ch-client-id 17 listening-port 6379";
    let opening = request(&words.split(' ').map(str::as_bytes).collect::<Vec<_>>());
    let opening = [request(&[b"AUTH", b"secret"]), opening].concat();
    let begin = || {
        let (link, first) = Link::channel(login.clone(), 17);
        assert_eq!(first, opening);
        link
    };
    let snapshot = format!("+OK\r\n+OK\r\n\n+FULLRESYNC {ID} 99\r\n$EOF:{MARK}\r\nREDIS{MARK}");
    for piece in [1, 7, 10_000] {
        let played = play_over(begin(), None, snapshot.as_bytes(), || piece);
        let (events, got, _) = played.expect("no fault");
        let asks = Event::Send(request(&[b"PSYNC", b"?", b"-1"]));
        let expected = [asks, Event::Begins(position), Event::Snapshot(None), Event::Complete];
        assert_eq!((&events[..], &got[..]), (&expected[..], b"REDIS".as_slice()));
    }
    for (bytes, said) in [
        ("-ERR wrong\r\n", "Unable to AUTH to MASTER: -ERR wrong"),
        ("+OK\r\n-ERR x\r\n", "Master replied error to replconf: -ERR x"),
        ("+OK\r\n+OK\r\n+RDBCHANNELSYNC 17\r\n", "Unexpected reply to PSYNC from master"),
        ("+OK\r\n+OK\r\n+CONTINUE\r\n", "Unexpected reply to PSYNC from master"),
    ] {
        let fault = text(play_over(begin(), None, bytes.as_bytes(), || 5));
        assert!(fault.starts_with(said), "{fault}");
    }
}

#[test]
fn what_is_not_expected_ends_the_link() {
    let begun = |rest: &str| [&greeting(3), rest.as_bytes()].concat();
    let synced = |rest: &str| begun(&format!("+FULLRESYNC {ID} 5\r\n{rest}"));
    for (bytes, said) in [
        (b"-DENIED go away\r\n".to_vec(), "Error reply to PING"),
        (b"HTTP/1.1 400 Bad Request\r\n".to_vec(), "Unexpected reply to PING"),
        (vec![b'x'; 5000], "The primary sends a line without an end"),
        (begun("-ERR unknown command\r\n"), "Master does not support PSYNC"),
        (begun("-NOMASTERLINK Can't SYNC\r\n"), "Master is currently unable to PSYNC"),
        (begun("+RDBCHANNELSYNC 17\r\n"), "Unexpected reply to PSYNC"),
        (begun("+FULLRESYNC abc 5\r\n"), "Master replied with wrong +FULLRESYNC"),
        (begun(&format!("+FULLRESYNC {ID}\r\n")), "Master replied with wrong +FULLRESYNC"),
        (begun(&format!("+FULLRESYNC {ID} -7\r\n")), "Master replied with wrong +FULLRESYNC"),
        (begun(&format!("+FULLRESYNC {ID} 99999999999999999999\r\n")), "Master replied with wrong"),
        (synced("-ERR no memory\r\n"), "MASTER aborted replication with an error: ERR no memory"),
        (synced("$-5\r\n"), "Bad protocol from MASTER"),
        (synced("$99999999999999999999\r\n"), "Bad protocol from MASTER"),
        (synced("$EOF:short\r\n"), "Bad protocol from MASTER"),
        (synced("REDIS0011"), ""),
    ] {
        for piece in [1, 7, 10_000] {
            let played = play(introduction(), None, &bytes, || piece);
            if said.is_empty() {
                assert!(played.is_ok(), "a line that is not complete says nothing yet");
            } else {
                let fault = text(played);
                assert!(fault.starts_with(said), "{fault}");
            }
        }
    }
}

#[test]
fn an_absurd_length_takes_no_memory() {
    let bytes = [&greeting(3), format!("+FULLRESYNC {ID} 5\r\n").as_bytes()].concat();
    let bytes = [&bytes[..], format!("${}\r\nREDIS", u64::MAX).as_bytes()].concat();
    let (events, snapshot, _) = play(introduction(), None, &bytes, || 64).expect("no fault");
    assert_eq!(events.last(), Some(&Event::Snapshot(Some(u64::MAX))));
    assert_eq!(snapshot, b"REDIS");
}

#[test]
fn noise_never_panics() {
    for seed in 0..3000 {
        let mut rng = Rng::new(seed);
        let mut bytes = match seed % 3 {
            0 => Vec::new(),
            1 => greeting(3),
            _ => [&greeting(3), format!("+FULLRESYNC {ID} 5\r\n").as_bytes()].concat(),
        };
        let alphabet = b"+-$*\r\n0123456789 EOF:FULLRESYNC\0\xff";
        for _ in 0..rng.below(400) {
            bytes.push(alphabet[rng.below(alphabet.len() as u64) as usize]);
        }
        let _ = play(introduction(), None, &bytes, || 1 + rng.below(50) as usize);
    }
}
