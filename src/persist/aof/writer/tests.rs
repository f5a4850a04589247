//! The writer against a disk by chance: whatever is short, late or fails, the file is a prefix of the
//! blocks in their order, and what was told is in it.

use super::*;
use crate::base::rng::Rng;

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
            Action::Write { slot, fd, offset, bytes, syncs } => {
                let (contents, synced) = self.files.entry(fd).or_default();
                if fails(rng) {
                    let failure = writer.wrote(slot, -libc::ENOSPC);
                    return if syncs {
                        failure.or(writer.was_synced(Some(slot), -libc::ECANCELED))
                    } else {
                        failure
                    };
                }
                let is_short = rng.below(4) == 0;
                let count = if is_short { rng.below(bytes.len() as u64) + 1 } else { u64::MAX };
                let count = bytes.len().min(count as usize);
                let end = offset as usize + count;
                contents.resize(contents.len().max(end), 0);
                contents[offset as usize..end].copy_from_slice(&bytes[..count]);
                let failure = writer.wrote(slot, count as i32);
                if !syncs || failure.is_some() {
                    return failure;
                }
                if count < bytes.len() {
                    return writer.was_synced(Some(slot), -libc::ECANCELED);
                }
                if fails(rng) {
                    return writer.was_synced(Some(slot), -libc::EIO);
                }
                synced.clone_from(contents);
                writer.was_synced(Some(slot), 0)
            }
            Action::Sync { fd } => {
                if fails(rng) {
                    return writer.was_synced(None, -libc::EIO);
                }
                let (contents, synced) = self.files.entry(fd).or_default();
                synced.clone_from(contents);
                writer.was_synced(None, 0)
            }
            Action::Close { fd } => {
                self.closed.push(fd);
                None
            }
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
        let wanted = Wanted { syncs: rng.below(2) == 0, time: None };
        while let Some(action) = writer.next(wanted) {
            disk.actions.push(action);
        }
        if rng.below(10) == 0 {
            disk.actions.extend(writer.begin_sync());
        }
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
    let wanted = Wanted { syncs: true, time: None };
    writer.open(file(FD), 0);
    writer.add(2, block(2));
    assert!(writer.next(wanted).is_none() && writer.waits_for_others());
    writer.add(1, block(1));
    writer.advance(2);
    let Some(Action::Write { slot, bytes, syncs, .. }) = writer.next(wanted) else {
        panic!("both are due");
    };
    assert!(syncs && numbers_in(&bytes) == [1, 2]);
    assert!(writer.next(wanted).is_none());
    assert!(writer.wrote(slot, bytes.len() as i32).is_none());
    assert_eq!(writer.progress(), (2, 0));
    // The next group is written while this one is synced.
    writer.add(3, block(3));
    writer.advance(3);
    assert!(matches!(writer.next(wanted), Some(Action::Write { .. })));
    assert!(writer.was_synced(Some(slot), 0).is_none());
    assert_eq!(writer.progress(), (2, 2));
}

#[test]
fn a_file_begins_by_selecting_its_database() {
    let mut writer = Writer::default();
    let wanted = Wanted { syncs: false, time: Some(1_700_000_000) };
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
