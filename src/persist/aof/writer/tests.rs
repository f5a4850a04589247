//! The writer against a disk by chance: whatever is short, late or fails, the file is a prefix of the
//! blocks in their order, and what was told is in it.

use std::os::fd::RawFd;

use super::*;
use crate::base::rng::Rng;
use crate::persist::aof::annotation::Annotation;

const FD: RawFd = 7;
const NEXT_FD: RawFd = 8;

fn file(fd: RawFd) -> JournalFile {
    JournalFile { fd, offset: 0 }
}

fn lines(numbers: &[u64]) -> Lines {
    let mut lines = Lines::default();
    for number in numbers {
        lines.add(0, [number.to_string().as_bytes()].into_iter());
    }
    lines
}

fn block(number: u64) -> Block {
    Block { lines: lines(&[number]), cut: None }
}

/// The numbers of the blocks in a file; what is behind the last whole group does not count.
fn numbers_in(bytes: &[u8]) -> Vec<u64> {
    let text = String::from_utf8_lossy(bytes).into_owned();
    let mut numbers = Vec::new();
    for group in text.split("#CRC:").skip(1) {
        let Some((head, body)) = group.split_once("\r\n") else { break };
        let len: usize = head.split(' ').next().and_then(|len| len.parse().ok()).expect("a length");
        if body.len() < len {
            break;
        }
        let words = body.split("\r\n").filter_map(|word| word.parse::<u64>().ok());
        // Blocks begin at 1; 0 is the database.
        numbers.extend(words.filter(|number| *number > 0));
    }
    numbers
}

/// Files and what is under way to them.
#[derive(Default)]
struct Disk {
    files: BTreeMap<RawFd, (Vec<u8>, Vec<u8>)>,
    actions: Vec<Action>,
    closed: Vec<RawFd>,
}

impl Disk {
    /// Lets one operation come to its end.
    fn step(&mut self, writer: &mut Writer, rng: &mut Rng, faults: bool) -> Option<Failure> {
        let at = rng.below(self.actions.len() as u64) as usize;
        let fails = |rng: &mut Rng| faults && rng.below(20) == 0;
        match self.actions.remove(at) {
            Action::Write { fd, offset, bytes, syncs } => {
                let (contents, synced) = self.files.entry(fd).or_default();
                if fails(rng) {
                    return writer.wrote(-libc::ENOSPC, Nanos(0));
                }
                let is_short = rng.below(4) == 0;
                let count = if is_short { rng.below(bytes.len() as u64) + 1 } else { u64::MAX };
                let count = bytes.len().min(count as usize);
                let end = offset as usize + count;
                contents.resize(contents.len().max(end), 0);
                contents[offset as usize..end].copy_from_slice(&bytes[..count]);
                if syncs && fails(rng) {
                    let error = [libc::EIO, libc::ENOSPC][rng.below(2) as usize];
                    return writer.wrote(-error, Nanos(0));
                }
                if syncs {
                    // Nothing but what it has written.
                    synced.resize(synced.len().max(end), 0);
                    synced[offset as usize..end].copy_from_slice(&bytes[..count]);
                }
                writer.wrote(count as i32, Nanos(0))
            }
            Action::Sync { fd } => {
                if fails(rng) {
                    return writer.was_synced(-libc::EIO);
                }
                let (contents, synced) = self.files.entry(fd).or_default();
                synced.clone_from(contents);
                writer.was_synced(0)
            }
            Action::Close { fd } | Action::Trim { fd, .. } => {
                self.closed.push(fd);
                None
            }
            Action::WriteBack { .. } => {
                writer.wrote_back();
                None
            }
            Action::Fill { .. } => unreachable!("nobody has asked for it"),
        }
    }

    /// Everything that told of itself is there, in order and without a hole.
    fn check(&self, writer: &Writer, seed: u64) {
        let (written, synced) = writer.progress();
        let numbers = |synced: bool| -> Vec<u64> {
            let of = |(contents, safe): &(Vec<u8>, Vec<u8>)| {
                numbers_in(if synced { safe } else { contents })
            };
            self.files.values().flat_map(of).collect()
        };
        let (all, safe) = (numbers(false), numbers(true));
        assert!(all.iter().copied().eq(1..=all.len() as u64), "seed {seed}: {all:?}");
        assert!(all.len() as u64 >= written, "seed {seed}: {written} were said to be written");
        assert!(safe.len() as u64 >= synced, "seed {seed}: {synced} were said to be synced");
    }
}

fn run(seed: u64, faults: bool) {
    let mut rng = Rng::new(seed);
    let (mut writer, mut disk) = (Writer::default(), Disk::default());
    writer.open(file(FD), 0);
    let count = 30;
    let cut = 10 + rng.below(10);
    let mut posted = 0;
    let mut order: Vec<u64> = (1..=count).collect();
    // They come in any order, within a window.
    for at in 0..order.len() {
        let other = (at + rng.below(4) as usize).min(order.len() - 1);
        order.swap(at, other);
    }
    let mut left = order.into_iter();
    let mut here = std::collections::BTreeSet::new();
    for _ in 0..10_000 {
        if rng.below(3) == 0
            && let Some(number) = left.next()
        {
            let mut one = block(number);
            if number == cut {
                let before = if rng.below(2) == 0 { lines(&[]) } else { lines(&[number]) };
                let behind = if before.is_empty() { lines(&[number]) } else { lines(&[]) };
                let next = Cut { file: Some(file(NEXT_FD)), is_fresh: false, lines: behind };
                one = Block { lines: before, cut: Some(Box::new(next)) };
            }
            here.insert(number);
            writer.add(number, one);
            while here.contains(&(posted + 1)) {
                posted += 1;
            }
            writer.advance(posted);
        }
        let wanted = Wanted { syncs: rng.below(2) == 0, time: None, now: Nanos(0) };
        while let Some(action) = writer.next(wanted) {
            disk.actions.push(action);
        }
        // Where each group is synced, what was written before has to be.
        if wanted.syncs || rng.below(10) == 0 {
            disk.actions.extend(writer.begin_sync());
        }
        disk.actions.extend(writer.begin_write_back());
        if !disk.actions.is_empty()
            && let Some(failure) = disk.step(&mut writer, &mut rng, faults)
        {
            assert!(faults, "seed {seed}: {failure:?}");
            disk.check(&writer, seed);
            let next = writer.next(wanted);
            assert!(next.is_none(), "seed {seed}: {next:?} after {failure:?}");
            writer.retry();
            if matches!(failure, Failure::Sync(_)) {
                assert!(writer.next(wanted).is_none(), "nobody knows what the disk holds");
                return;
            }
        }
        disk.check(&writer, seed);
        if left.len() == 0 && writer.is_idle() && disk.actions.is_empty() {
            let Some(action) = writer.begin_sync() else { break };
            disk.actions.push(action);
        }
    }
    assert_eq!(writer.progress(), (count, count), "seed {seed}");
    assert_eq!(disk.closed, [FD], "seed {seed}");
}

#[test]
fn files_are_a_prefix_of_the_blocks_whatever_the_disk_does() {
    for seed in 0..300 {
        run(seed, false);
        run(seed, true);
    }
}

#[test]
fn a_block_waits_for_those_before_it() {
    let mut writer = Writer::default();
    let wanted = Wanted { syncs: true, time: None, now: Nanos(0) };
    writer.open(file(FD), 0);
    writer.add(2, block(2));
    assert!(writer.next(wanted).is_none() && writer.waits_for_others());
    writer.add(1, block(1));
    writer.advance(2);
    let Some(Action::Write { bytes, syncs, .. }) = writer.next(wanted) else {
        panic!("both are due");
    };
    assert!(syncs && numbers_in(&bytes) == [1, 2]);
    assert!(writer.next(wanted).is_none());
    assert!(writer.syncs_group() && writer.progress() == (0, 0));
    // The next group takes up what comes meanwhile.
    writer.add(3, block(3));
    writer.advance(3);
    assert_eq!(writer.next(wanted), None);
    assert!(writer.wrote(bytes.len() as i32, Nanos(0)).is_none());
    assert_eq!(writer.progress(), (2, 2));
    assert!(matches!(writer.next(wanted), Some(Action::Write { .. })));
}

#[test]
fn a_file_begins_by_selecting_its_database() {
    let mut writer = Writer::default();
    let wanted = Wanted { syncs: false, time: Some(1_700_000_000), now: Nanos(0) };
    writer.open(file(FD), 0);
    let mut three = Lines::default();
    three.add(3, [b"PING".as_slice()].into_iter());
    writer.add(1, Block { lines: three, cut: None });
    writer.add(2, block(5));
    writer.advance(2);
    let Some(Action::Write { bytes, .. }) = writer.next(wanted) else { panic!("both are due") };
    let text = String::from_utf8_lossy(&bytes).replace("\r\n", "|");
    assert!(text.starts_with("#TS:1700000000|#CRC:"), "{text}");
    let expected = "|*2|$6|SELECT|$1|3|*1|$4|PING|*2|$6|SELECT|$1|0|*1|$1|5|";
    assert!(text.ends_with(expected), "{text}");
}

fn cut(number: u64, file: Option<JournalFile>, is_fresh: bool) -> (u64, Block) {
    let cut = Cut { file, is_fresh, lines: lines(&[number]) };
    (number, Block { lines: lines(&[]), cut: Some(Box::new(cut)) })
}

const SYNCED: Wanted = Wanted { syncs: true, time: None, now: Nanos(0) };

/// The write that is due.
fn write_of(writer: &mut Writer) -> (RawFd, usize) {
    match writer.next(SYNCED) {
        Some(Action::Write { fd, bytes, .. }) => (fd, bytes.len()),
        other => panic!("a write is due, not {other:?}"),
    }
}

#[test]
fn a_sync_that_failed_is_given_up_behind_a_fresh_cut_only() {
    let mut writer = Writer::default();
    writer.open(file(FD), 100);
    writer.add(1, block(1));
    writer.advance(1);
    write_of(&mut writer);
    assert!(matches!(writer.wrote(-libc::EIO, Nanos(0)), Some(Failure::Sync(_))));
    writer.add(2, block(2));
    let (number, within) = cut(3, Some(file(9)), false);
    writer.add(number, within);
    writer.advance(3);
    assert_eq!(writer.next(SYNCED), None, "nobody knows what the disk holds");
    let (number, fresh) = cut(5, Some(file(NEXT_FD)), true);
    writer.add(6, block(6));
    writer.add(number, fresh);
    writer.advance(4);
    assert_eq!(writer.next(SYNCED), None, "others come before it");
    writer.advance(6);
    let mut closed = Vec::new();
    let (fd, len) = loop {
        match writer.next(SYNCED) {
            Some(Action::Close { fd }) => closed.push(fd),
            Some(Action::Write { fd, bytes, .. }) => {
                assert_eq!(numbers_in(&bytes), [5, 6]);
                break (fd, bytes.len());
            }
            other => panic!("{other:?}"),
        }
    };
    closed.sort_unstable();
    assert_eq!((closed, fd, writer.progress()), (vec![FD, 9], NEXT_FD, (4, 4)));
    writer.wrote(len as i32, Nanos(0));
    assert_eq!((writer.progress(), writer.size()), ((6, 6), len as u64));
}

#[test]
fn groups_that_are_synced_wait_until_what_was_written_before_is() {
    let mut writer = Writer::default();
    writer.open(file(FD), 0);
    writer.add(1, block(1));
    writer.advance(1);
    let wanted = Wanted { syncs: false, time: None, now: Nanos(0) };
    let Some(Action::Write { bytes, .. }) = writer.next(wanted) else { panic!("it is due") };
    writer.add(2, block(2));
    writer.advance(2);
    assert_eq!(writer.next(SYNCED), None, "a group is under way");
    writer.wrote(bytes.len() as i32, Nanos(0));
    assert_eq!((writer.next(SYNCED), writer.progress()), (None, (1, 0)));
    assert_eq!(writer.begin_sync(), Some(Action::Sync { fd: FD }));
    assert_eq!(writer.next(SYNCED), None);
    assert!(writer.was_synced(0).is_none());
    write_of(&mut writer);
}

/// What is under way: its offset, its length, and whether it is durable.
fn write_under_way(writer: &mut Writer) -> Option<(u64, usize, bool)> {
    match writer.next(SYNCED)? {
        Action::Write { offset, bytes, syncs, .. } => Some((offset, bytes.len(), syncs)),
        other => panic!("a write is due, not {other:?}"),
    }
}

#[test]
fn a_full_disk_is_waited_for_and_a_sync_that_failed_is_not() {
    let begin = || {
        let mut writer = Writer::default();
        writer.open(file(FD), 0);
        writer.add(1, block(1));
        writer.advance(1);
        let (offset, len, durable) = write_under_way(&mut writer).expect("it is due");
        assert!(offset == 0 && durable);
        (writer, len)
    };
    for error in [libc::EIO, libc::ENODEV] {
        let (mut writer, _) = begin();
        assert!(matches!(writer.wrote(-error, Nanos(0)), Some(Failure::Sync(_))));
        writer.retry();
        assert_eq!(writer.next(SYNCED), None, "nobody knows what the disk holds");
    }
    for error in [libc::ENOSPC, libc::EDQUOT] {
        // The write or the sync: a write alone tells.
        let doubt = || {
            let (mut writer, len) = begin();
            assert!(writer.wrote(-error, Nanos(0)).is_none());
            assert_eq!(write_under_way(&mut writer), Some((0, len, false)));
            (writer, len)
        };
        for result in [-error, 1, 0] {
            let (mut writer, len) = doubt();
            assert!(matches!(writer.wrote(result, Nanos(0)), Some(Failure::Write(_))));
            assert_eq!(writer.next(SYNCED), None);
            writer.retry();
            // All of it, since what was written meanwhile is not synced.
            assert_eq!(write_under_way(&mut writer), Some((0, len, true)));
            assert!(writer.wrote(len as i32, Nanos(0)).is_none());
            assert_eq!(writer.progress(), (1, 1));
        }
        let (mut writer, len) = doubt();
        assert!(matches!(writer.wrote(len as i32, Nanos(0)), Some(Failure::Sync(_))));
        writer.retry();
        assert_eq!((writer.next(SYNCED), writer.progress()), (None, (0, 0)));
    }
}

#[test]
fn the_journal_ends_and_begins_again() {
    let mut writer = Writer::default();
    let (number, first) = cut(1, Some(file(FD)), true);
    writer.add(number, first);
    writer.advance(1);
    let (fd, len) = write_of(&mut writer);
    assert_eq!(fd, FD);
    writer.wrote(len as i32, Nanos(0));
    let end = Cut { file: None, is_fresh: true, lines: lines(&[]) };
    writer.add(2, Block { lines: lines(&[2]), cut: Some(Box::new(end)) });
    writer.advance(2);
    let (_, len) = write_of(&mut writer);
    assert_eq!(writer.next(SYNCED), None, "it is not on the disk");
    writer.wrote(len as i32, Nanos(0));
    assert_eq!(writer.next(SYNCED), Some(Action::Close { fd: FD }));
    assert!(writer.is_idle() && writer.progress() == (2, 2));
    // A disk that is full does not keep it from ending.
    let (number, again) = cut(3, Some(file(NEXT_FD)), true);
    writer.add(number, again);
    let end = Cut { file: None, is_fresh: true, lines: lines(&[]) };
    writer.add(4, Block { lines: lines(&[4]), cut: Some(Box::new(end)) });
    writer.advance(4);
    write_of(&mut writer);
    assert!(writer.wrote(-libc::ENOSPC, Nanos(0)).is_none());
    write_of(&mut writer);
    assert!(writer.wrote(-libc::ENOSPC, Nanos(0)).is_some());
    assert_eq!(writer.next(SYNCED), Some(Action::Close { fd: NEXT_FD }));
    assert!(writer.is_idle() && writer.progress() == (4, 4));
}

#[test]
fn zeros_are_written_where_nothing_else_is() {
    let mut writer = Writer::default();
    writer.open(file(FD), 0);
    let Some(Action::Fill { file, from, to, .. }) = writer.begin_fill() else {
        panic!("nothing is filled");
    };
    assert_eq!((from, to), (SLACK_BYTES, SLACK_BYTES + SEGMENT_BYTES));
    assert_eq!(writer.begin_fill(), None, "it is under way");
    let mut large = Lines::default();
    large.add(0, [vec![b'x'; SLACK_BYTES as usize].as_slice()].into_iter());
    writer.add(1, Block { lines: large, cut: None });
    writer.advance(1);
    assert_eq!(writer.next(SYNCED), None, "zeros are on their way to where it would be");
    writer.was_filled(file + 1, Some(to));
    assert_eq!(writer.next(SYNCED), None, "that was another file");
    writer.was_filled(file, Some(to));
    let (_, len) = write_of(&mut writer);
    writer.wrote(len as i32, Nanos(0));
    assert_eq!(writer.end(), Some(Action::Trim { fd: FD, len: len as u64 }));
}

#[test]
fn what_is_written_goes_to_the_disk_in_pieces() {
    let mut writer = Writer::default();
    writer.open(JournalFile { fd: FD, offset: 5000 }, 0);
    assert_eq!(writer.begin_write_back(), None);
    let wanted = Wanted { syncs: false, time: None, now: Nanos(0) };
    let mut written = 5000;
    let mut write = |writer: &mut Writer, number: u64, len: u64| {
        let mut large = Lines::default();
        large.add(0, [vec![b'x'; len as usize].as_slice()].into_iter());
        writer.add(number, Block { lines: large, cut: None });
        writer.advance(number);
        let Some(Action::Write { bytes, .. }) = writer.next(wanted) else { panic!("it is due") };
        assert_eq!(writer.begin_write_back(), None, "it is not in the kernel");
        writer.wrote(bytes.len() as i32, Nanos(0));
        written += bytes.len() as u64;
        written
    };
    write(&mut writer, 1, 200_000);
    assert_eq!(writer.begin_write_back(), None, "it is not much");
    let end = write(&mut writer, 2, 200_000) / PAGE_BYTES * PAGE_BYTES;
    let len = u32::try_from(end - 5000).expect("it is small");
    assert_eq!(writer.begin_write_back(), Some(Action::WriteBack { fd: FD, offset: 5000, len }));
    let synced = write(&mut writer, 3, 300_000);
    assert_eq!(writer.begin_write_back(), None, "one is under way");
    writer.wrote_back();
    writer.begin_sync();
    writer.was_synced(0);
    assert_eq!(writer.begin_write_back(), None, "it is on the disk");
    let end = write(&mut writer, 4, 300_000) / PAGE_BYTES * PAGE_BYTES;
    let len = u32::try_from(end - synced).expect("it is small");
    assert_eq!(writer.begin_write_back(), Some(Action::WriteBack { fd: FD, offset: synced, len }));
}

/// What the group says of the file: up to where it is synced.
fn told_by(bytes: &[u8], offset: u64) -> u64 {
    let mut at = offset;
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        if let Some(upto) = Annotation::parse(line).ok().and_then(|line| line.synced_upto(at)) {
            return upto;
        }
        at += line.len() as u64;
    }
    panic!("it says nothing: {}", bytes.escape_ascii());
}

#[test]
fn each_group_says_up_to_where_the_file_is_synced() {
    let mut writer = Writer::default();
    writer.open(JournalFile { fd: FD, offset: 500 }, 0);
    assert_eq!(writer.seal(), None, "nothing was written");
    let begin = |writer: &mut Writer, number: u64, syncs: bool| {
        writer.add(number, block(number));
        writer.advance(number);
        match writer.next(Wanted { syncs, time: Some(number as i64), now: Nanos(0) }) {
            Some(Action::Write { bytes, offset, .. }) => (told_by(&bytes, offset), bytes.len()),
            other => panic!("a group is due, not {other:?}"),
        }
    };
    let (told, first) = begin(&mut writer, 1, false);
    assert_eq!(told, 500);
    writer.wrote(first as i32, Nanos(0));
    let (told, second) = begin(&mut writer, 2, false);
    assert_eq!(told, 500);
    // It covers what was written when it began, and no part of a group.
    assert_eq!(writer.begin_sync(), Some(Action::Sync { fd: FD }));
    writer.wrote(second as i32, Nanos(0));
    writer.was_synced(0);
    let (told, third) = begin(&mut writer, 3, false);
    assert_eq!(told, 500 + first as u64);
    assert_eq!(writer.seal(), None, "a group is under way");
    writer.wrote(third as i32, Nanos(0));
    assert_eq!(writer.seal(), None, "it is not synced");
    writer.begin_sync();
    writer.was_synced(0);
    let end = 500 + (first + second + third) as u64;
    let Some(Action::Write { offset, bytes, syncs, .. }) = writer.seal() else {
        panic!("all is synced");
    };
    assert_eq!((offset, told_by(&bytes, offset), syncs), (end, end, true));
    writer.wrote(bytes.len() as i32, Nanos(0));
    assert_eq!((writer.seal(), writer.progress()), (None, (3, 3)));
    assert_eq!(writer.end(), Some(Action::Close { fd: FD }));
}
