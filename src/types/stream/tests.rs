//! Streams against a vector of entries; and blocks that anybody may have made.

use proptest::prelude::*;

use super::*;

const LIMITS: Limits = Limits { node_max_bytes: 300, node_max_entries: 8 };

type Fields = Vec<(Vec<u8>, Vec<u8>)>;

#[derive(Clone, Debug)]
enum Step {
    Add(u64, Fields),
    Delete(Vec<u64>),
    Trim(bool, bool, u64, u64),
    Share,
}

fn word() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        "[a-c]{1,2}".prop_map(String::into_bytes),
        any::<i64>().prop_map(|number| number.to_string().into_bytes()),
        prop::collection::vec(any::<u8>(), 0..90),
    ]
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let usual = word().prop_map(|value| vec![(b"a".to_vec(), value)]);
    let fields = prop_oneof![usual, prop::collection::vec((word(), word()), 1..4)];
    let step = prop_oneof![
        8 => (0u64..3, fields).prop_map(|(ms, fields)| Step::Add(ms, fields)),
        2 => prop::collection::vec(0u64..200, 1..12).prop_map(Step::Delete),
        1 => (any::<bool>(), any::<bool>(), 0u64..60, prop_oneof![Just(0), 0u64..40])
            .prop_map(|(by_id, approximately, to, limit)| Step::Trim(by_id, approximately, to, limit)),
        1 => Just(Step::Share),
    ];
    prop::collection::vec(step, 0..150)
}

type Model = Vec<(StreamId, Fields)>;

fn walked(stream: &Stream, start: StreamId, end: StreamId, backward: bool) -> Model {
    let mut range = stream.entries().range(start, end, backward);
    let mut entries = Vec::new();
    while let Some((id, count)) = range.next() {
        let mut fields = Vec::new();
        // The last field is left unread, so that the walk has to skip it.
        for _ in 0..count {
            let (field, value) = range.field().expect("an entry has the fields that it counts");
            fields.push((field.to_vec(), value.to_vec()));
        }
        entries.push((id, fields));
    }
    entries
}

fn check(stream: &Stream, model: &Model) {
    let mut live = 0;
    for (id, bytes) in stream.blocks() {
        live += validate_block(id, bytes).expect("a block of ours is a block");
    }
    assert_eq!(live, stream.len());
    assert_eq!(stream.len(), model.len() as u64);
    assert_eq!(&walked(stream, StreamId::MIN, StreamId::MAX, false), model);
    let mut backward = walked(stream, StreamId::MIN, StreamId::MAX, true);
    backward.reverse();
    assert_eq!(&backward, model);
    let facts = stream.facts();
    assert_eq!(facts.first_id, model.first().map(|(id, _)| *id).unwrap_or_default());
    assert_eq!(stream.entries().last(), model.last().map(|(id, _)| *id));
}

proptest! {
    #[test]
    fn agrees_with_a_vector(steps in steps(), from in 0u64..400, to in 0u64..400) {
        let (mut stream, mut model) = (Stream::new(), Model::new());
        let mut shared: Vec<(Stream, Model)> = Vec::new();
        for step in steps {
            match step {
                Step::Add(ms, fields) => {
                    let now = stream.facts().last_id.ms + ms;
                    let pairs = fields.iter().map(|(field, value)| (&field[..], &value[..]));
                    let id = stream.append(NewId::Auto, now, LIMITS, pairs).expect("it has room");
                    model.push((id, fields));
                }
                Step::Delete(picks) => {
                    let pick = |at: u64| match model.len() {
                        0 => StreamId::new(at, 1),
                        len => model[at as usize % len].0,
                    };
                    let ids: Vec<StreamId> = picks.into_iter().map(pick).collect();
                    let before = model.len();
                    model.retain(|(id, _)| !ids.contains(id));
                    prop_assert_eq!(stream.delete(ids), (before - model.len()) as u64);
                }
                Step::Trim(by_id, approximately, to, limit) => {
                    let first = stream.facts().first_id;
                    let trim = if by_id {
                        Trim::MinId(StreamId::new(first.ms + to, 0))
                    } else {
                        Trim::MaxLen(to)
                    };
                    let limit = if approximately { limit } else { 0 };
                    let (deleted, removed) = stream.trim(trim, approximately, limit);
                    let exact = match trim {
                        Trim::MinId(min) => model.partition_point(|(id, _)| *id < min),
                        Trim::MaxLen(max) => model.len().saturating_sub(max as usize),
                    };
                    let deleted = deleted as usize;
                    prop_assert!(deleted == exact || approximately && deleted < exact);
                    prop_assert!(limit == 0 || deleted as u64 <= limit);
                    let first = stream.blocks().next().map_or(StreamId::MAX, |(id, _)| id);
                    prop_assert!(removed.blocks().all(|(id, _)| id < first));
                    model.drain(..deleted);
                }
                Step::Share => shared.push((stream.clone(), model.clone())),
            }
        }
        shared.push((stream, model));
        for (mut stream, model) in shared {
            check(&stream, &model);
            let (start, end) = (StreamId::new(from / 4, from % 4), StreamId::new(to / 4, to % 4));
            let mut expected = model.clone();
            expected.retain(|(id, _)| (start..=end).contains(id) && start <= end);
            prop_assert_eq!(&walked(&stream, start, end, false), &expected);
            let mut backward = walked(&stream, start, end, true);
            backward.reverse();
            prop_assert_eq!(&backward, &expected);
            for (id, _) in &model {
                prop_assert!(stream.entries().contains(*id));
            }
            while stream.free_slice(1) == 0 {}
            prop_assert_eq!(stream.block_count(), 0);
        }
    }

    #[test]
    fn unread_fields_are_skipped(count in 0usize..4, backward: bool) {
        let mut stream = Stream::new();
        for number in 0..20u64 {
            let own = number.to_string();
            let pairs = [("a", "1"), ("b", "2"), (own.as_str(), "3")];
            let pairs = pairs.iter().map(|(field, value)| (field.as_bytes(), value.as_bytes()));
            stream.append(NewId::Given(StreamId::new(1, number + 1)), 0, LIMITS, pairs).unwrap();
        }
        let mut range = stream.entries().range(StreamId::MIN, StreamId::MAX, backward);
        let mut seen = 0;
        while let Some((_, fields)) = range.next() {
            prop_assert_eq!(fields, 3);
            for _ in 0..count {
                range.field();
            }
            seen += 1;
        }
        prop_assert_eq!(seen, 20);
    }

    #[test]
    fn damaged_blocks_are_refused_or_walked(at: prop::sample::Index, byte: u8, cut in 0usize..3) {
        let mut stream = Stream::new();
        for (number, value) in [(1, "x"), (5, "70000"), (9, "-3")] {
            let pairs = [("field".as_bytes(), value.as_bytes())].into_iter();
            stream.append(NewId::Given(StreamId::new(number, 0)), 0, LIMITS, pairs).unwrap();
        }
        let other = [("other".as_bytes(), "y".as_bytes())].into_iter();
        stream.append(NewId::Given(StreamId::new(9, 2)), 0, LIMITS, other).unwrap();
        let (id, bytes) = stream.blocks().next().expect("it has a block");
        let mut bytes = bytes.to_vec();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        bytes.truncate(bytes.len() - cut);
        let facts = stream.facts();
        if let Some(mut stream) = Stream::from_blocks([(id, bytes)], facts) {
            walked(&stream, StreamId::MIN, StreamId::MAX, false);
            walked(&stream, StreamId::MIN, StreamId::MAX, true);
            stream.radix_tree_nodes();
            stream.delete([StreamId::new(5, 0), StreamId::new(9, 2)]);
            let pairs = [("field".as_bytes(), "z".as_bytes())].into_iter();
            stream.append(NewId::Auto, 0, LIMITS, pairs).unwrap();
            stream.trim(Trim::MaxLen(1), false, 0);
            stream.entries().last();
        }
    }
}

#[test]
fn a_block_has_the_bytes_of_a_stock_server() {
    let mut stream = Stream::new();
    let pairs = [("f".as_bytes(), "v".as_bytes())].into_iter();
    stream.append(NewId::Given(StreamId::new(5, 1)), 0, LIMITS, pairs).unwrap();
    let pairs = [("f".as_bytes(), "7".as_bytes())].into_iter();
    stream.append(NewId::Given(StreamId::new(6, 0)), 0, LIMITS, pairs).unwrap();
    stream.delete([StreamId::new(5, 1)]);
    let (id, bytes) = stream.blocks().next().expect("it has a block");
    assert_eq!(id, StreamId::new(5, 1));
    let master = [1, 1, 1, 1, 1, 1, 0x81, b'f', 2, 0, 1];
    let first = [3, 1, 0, 1, 0, 1, 0x81, b'v', 2, 4, 1];
    // The sequence went from 1 to 0: a distance of -1, in 13 bits.
    let second = [2, 1, 1, 1, 0xDF, 0xFF, 2, 7, 1, 4, 1];
    let body = [&master[..], &first, &second].concat();
    assert_eq!(bytes[6..bytes.len() - 1], body[..]);
    assert_eq!(usize::from(bytes[0]), bytes.len());
    assert_eq!(bytes[4], 15);
}

#[test]
fn ids_end_where_they_end() {
    let mut stream = Stream::new();
    let pair = || [("f".as_bytes(), "v".as_bytes())].into_iter();
    let full = StreamId::new(7, u64::MAX);
    let mut add = |id, now| stream.append(id, now, LIMITS, pair());
    assert_eq!(add(NewId::AutoSeq(0), 0), Ok(StreamId::new(0, 1)));
    assert_eq!(add(NewId::Given(full), 0), Ok(full));
    assert_eq!(add(NewId::AutoSeq(7), 0), Err(AppendError::NotAbove));
    assert_eq!(add(NewId::AutoSeq(6), 0), Err(AppendError::NotAbove));
    assert_eq!(add(NewId::Given(full), 0), Err(AppendError::NotAbove));
    assert_eq!(add(NewId::Auto, 3), Ok(StreamId::new(8, 0)));
    assert_eq!(add(NewId::Auto, 9), Ok(StreamId::new(9, 0)));
    assert_eq!(add(NewId::Given(StreamId::MAX), 0), Ok(StreamId::MAX));
    assert_eq!(add(NewId::Auto, 9), Err(AppendError::Exhausted));
}

/// The flags of an entry that ends in a length which goes on into them: it would be another one as soon
/// as the entry is deleted. Found by the fuzz target of blocks.
#[test]
fn a_block_whose_lengths_reach_into_elements_is_none() {
    let block = b"\x21\0\0\0\xff\xff\x02\x01\0\x01\0\x01\0\x01\x1a\x01\x01\x01\0\x01\x03\x01\0\x81\x1a\x01\x26\x01\0\x01\x04\x01\xff";
    assert_eq!(validate_block(StreamId::new(5, 5), block), None);
    let mut right = *block;
    right[23] = 1;
    assert_eq!(validate_block(StreamId::new(5, 5), &right), Some(2));
}
