//! Property tests of the table against ordered maps, and the scan's promise.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use proptest::prelude::*;

use super::*;

/// A small generator (splitmix64), enough to spread test keys.
fn mix(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// How test keys lie: everywhere, all in one hash slot, or nearly all at one position.
#[derive(Clone, Copy, Debug)]
enum Skew {
    None,
    OneSlot,
    FewPositions,
}

/// The payload of a key is the key itself, eight times over.
fn position(skew: Skew, payload: u64) -> Position {
    let hash = mix(payload);
    match skew {
        Skew::None => Position::new((hash >> 20) as u16 & 0x3fff, hash),
        Skew::OneSlot => Position::new(9189, hash),
        Skew::FewPositions => Position::new(5, hash & 3),
    }
}

struct Checked {
    skew: Skew,
    table: Table,
    model: BTreeMap<u64, Option<i64>>,
}

impl Checked {
    fn new(skew: Skew) -> Self {
        Self { skew, table: Table::default(), model: BTreeMap::new() }
    }

    fn find(&self, key: u64) -> Option<Place> {
        let found = self.table.find(position(self.skew, key * 8), |payload| payload == key * 8);
        found.map(|(place, _)| place)
    }

    fn insert(&mut self, key: u64, expiry: Option<i64>) {
        let skew = self.skew;
        if self.model.insert(key, expiry).is_none() {
            let at = position(skew, key * 8);
            self.table.insert(at, key * 8, expiry, |payload| position(skew, payload));
        } else {
            let place = self.find(key).expect("the model has it");
            self.table.set_expiry(place, expiry);
        }
    }

    fn remove(&mut self, key: u64) {
        let place = self.find(key);
        assert_eq!(place.is_some(), self.model.remove(&key).is_some());
        if let Some(place) = place {
            assert_eq!(self.table.remove(position(self.skew, key * 8), place), key * 8);
        }
    }

    fn check(&self) {
        assert_eq!(self.table.len(), self.model.len());
        for (&key, expiry) in &self.model {
            let place = self.find(key).expect("the model has it");
            assert_eq!(self.table.is_volatile(place), expiry.is_some());
        }
        let mut counted = 0;
        let mut prefix = Some(0);
        while let Some(at) = prefix {
            let Some(range) = self.table.range(at) else { break };
            counted += range.count;
            prefix = range.next;
        }
        assert_eq!(counted, self.model.len());
        if self.model.is_empty() {
            assert_eq!(self.table.bytes(), 0);
        }
    }
}

#[test]
fn a_table_with_room_made_beforehand_is_like_any_other() {
    for skew in [Skew::None, Skew::OneSlot] {
        let mut checked = Checked::new(skew);
        checked.table.reserve(20_000);
        (1..15_000).for_each(|key| checked.insert(key, None));
        checked.check();
        let bytes = checked.table.bytes();
        checked.table.reserve(1 << 30);
        assert_eq!(checked.table.bytes(), bytes, "it holds words already");
        let (mut cursor, mut seen) = (0, BTreeSet::new());
        loop {
            cursor = checked.table.scan(cursor, 100, |payload| {
                seen.insert(payload / 8);
            });
            if cursor == 0 {
                break;
            }
        }
        assert!(seen.iter().eq(checked.model.keys()));
        (1..15_000).for_each(|key| checked.remove(key));
        checked.check();
    }
}

fn skews() -> impl Strategy<Value = Skew> {
    prop_oneof![Just(Skew::None), Just(Skew::OneSlot), Just(Skew::FewPositions)]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn agrees_with_a_map(
        skew in skews(),
        runs in prop::collection::vec((any::<bool>(), 1u64..4000, 1u64..2500, any::<bool>()), 1..12),
    ) {
        let mut checked = Checked::new(skew);
        let limit = if matches!(skew, Skew::FewPositions) { 300 } else { 2500 };
        for (insert, first, count, volatile) in runs {
            for key in first..first + count.min(limit) {
                if insert {
                    checked.insert(key, volatile.then_some(key as i64));
                } else {
                    checked.remove(key);
                }
            }
            checked.check();
        }
    }

    #[test]
    fn scan_returns_what_stays(
        skew in prop_oneof![Just(Skew::None), Just(Skew::OneSlot)],
        stay in 1u64..400,
        first in 0u64..6000,
        runs in prop::collection::vec((any::<bool>(), 0u64..6000, 1u64..3000), 0..40),
        count in 1usize..200,
    ) {
        let mut checked = Checked::new(skew);
        for key in 1..=stay {
            checked.insert(key, None);
        }
        for key in 0..first {
            checked.insert(1000 + key, None);
        }
        let mut seen = BTreeSet::new();
        let mut cursor = 0;
        let mut runs = runs.into_iter();
        loop {
            cursor = checked.table.scan(cursor, count, |payload| { seen.insert(payload / 8); });
            if cursor == 0 {
                break;
            }
            let Some((insert, first, count)) = runs.next() else { continue };
            for key in 1000 + first..1000 + first + count {
                if insert { checked.insert(key, None) } else { checked.remove(key) }
            }
        }
        for key in 1..=stay {
            prop_assert!(seen.contains(&key), "{key} was there all the time");
        }
    }

    #[test]
    fn any_cursor_ends(cursor in any::<u64>(), keys in 0u64..3000) {
        let mut checked = Checked::new(Skew::None);
        (1..=keys).for_each(|key| checked.insert(key, None));
        let mut cursor = cursor;
        for _ in 0..10_000 {
            cursor = checked.table.scan(cursor, 10, |_| ());
            if cursor == 0 {
                return Ok(());
            }
        }
        prop_assert!(false, "the scan goes round");
    }

    #[test]
    fn visits_every_volatile_word(skew in skews(), keys in 1u64..3000, now in 0i64..3000) {
        let mut checked = Checked::new(skew);
        let keys = if matches!(skew, Skew::FewPositions) { keys.min(300) } else { keys };
        for key in 1..=keys {
            checked.insert(key, (key % 3 != 0).then_some(key as i64));
        }
        let mut prefix = Some(0);
        while let Some(at) = prefix {
            let Some(range) = checked.table.range(at) else { break };
            let mut removed = Vec::new();
            let judge = |payload| {
                let expiry = (payload / 8) as i64;
                if expiry <= now { Fate::Remove } else { Fate::Keep(expiry) }
            };
            checked.table.visit_volatile(at, 0, judge, |payload| removed.push(payload / 8));
            for key in removed {
                prop_assert!(checked.model.remove(&key).is_some_and(|expiry| expiry.is_some()));
            }
            prefix = range.next;
        }
        prop_assert!(checked.model.values().all(|expiry| expiry.is_none_or(|at| at > now)));
        checked.check();
    }
}

#[test]
fn a_quiet_scan_returns_each_word_once() {
    let mut checked = Checked::new(Skew::None);
    (1..=20_000).for_each(|key| checked.insert(key, None));
    let mut seen = HashMap::new();
    let mut cursor = 0;
    loop {
        cursor =
            checked.table.scan(cursor, 10, |payload| *seen.entry(payload).or_insert(0u32) += 1);
        if cursor == 0 {
            break;
        }
    }
    assert_eq!(seen.len(), 20_000);
    assert!(seen.values().all(|&times| times == 1));
}

#[test]
fn a_hot_slot_costs_no_large_directory() {
    let mut checked = Checked::new(Skew::OneSlot);
    (1..=20_000).for_each(|key| checked.insert(key, None));
    assert!(checked.table.bytes() < 20_000 * 14, "{} bytes", checked.table.bytes());
    assert_eq!(checked.table.count_in_slot(9189, |_| true), 20_000);
    assert_eq!(checked.table.count_in_slot(9190, |payload| payload == 0), 0);
    (1..=20_000).for_each(|key| checked.remove(key));
    checked.check();
}

#[test]
fn a_slot_is_counted_among_others() {
    let mut checked = Checked::new(Skew::None);
    (1..=50_000).for_each(|key| checked.insert(key, None));
    for slot in [0, 1, 777, 16383] {
        let there = |payload: u64| position(Skew::None, payload).slot() == slot;
        let expected = (1..=50_000).filter(|key| there(key * 8)).count();
        assert_eq!(checked.table.count_in_slot(slot, there), expected);
    }
}

#[test]
fn steady_churn_keeps_chains_short() {
    let mut checked = Checked::new(Skew::None);
    (1..=3000).for_each(|key| checked.insert(key, None));
    for key in 1..=60_000 {
        checked.remove(key);
        checked.insert(key + 3000, None);
    }
    let flags = |segment: &Segment| segment.iter().filter(|b| b.overflowed()).count();
    let flagged: usize = checked.table.segments.iter().map(flags).sum();
    let buckets: usize = checked.table.segments.iter().map(Segment::buckets).sum();
    assert!(flagged * 100 < buckets * 70, "{flagged} of {buckets} flags are set");
}

#[test]
fn random_words_are_spread_evenly() {
    let mut checked = Checked::new(Skew::None);
    (1..=100).for_each(|key| checked.insert(key, None));
    let times = times_drawn(&checked.table, 101);
    assert!(times[1..].iter().all(|&n| (100..320).contains(&n)), "{times:?}");
}

#[test]
fn random_words_are_spread_evenly_over_what_is_left() {
    let mut checked = Checked::new(Skew::None);
    (1..=50_000).for_each(|key| checked.insert(key, None));
    (101..=50_000).for_each(|key| checked.remove(key));
    let times = times_drawn(&checked.table, 101);
    assert!(times[1..].iter().all(|&n| (100..320).contains(&n)), "{times:?}");
}

/// How often each key below `keys` came up in 200 draws for each.
fn times_drawn(table: &Table, keys: usize) -> Vec<u32> {
    let mut state = 7;
    let mut times = vec![0u32; keys];
    for _ in 0..(keys - 1) * 200 {
        let payload = table.random(|| {
            state += 1;
            mix(state)
        });
        times[payload.expect("not empty") as usize / 8] += 1;
    }
    times
}

#[test]
fn draining_gives_every_word_once() {
    let mut checked = Checked::new(Skew::None);
    (1..=5000).for_each(|key| checked.insert(key, None));
    let mut seen = BTreeSet::new();
    while checked.table.drain_segment(|payload| assert!(seen.insert(payload))) {}
    assert_eq!(seen.len(), 5000);
    assert_eq!(checked.table.bytes(), 0);
}

#[test]
fn lookups_read_little_more_than_one_line() {
    let mut lines = 0;
    let mut words = 0;
    let mut pages = 0;
    for count in (480..=960).step_by(20) {
        let table: Vec<u64> = (1..=count).map(|n| mix(n) << 48 | n * 8).collect();
        let segment = Segment::of(0, i64::MAX, &table);
        for (at, bucket) in segment.iter().enumerate() {
            for (_, word) in bucket.words() {
                let home = segment.home((word >> 48) as u16);
                lines += 1 + (at + segment.buckets() - home) % segment.buckets();
            }
        }
        words += count as usize;
        pages += segment.pages();
    }
    assert!(words * 100 > pages * 64 * 86, "{words} words in {pages} pages");
    assert!(lines * 100 < words * 145, "{lines} lines for {words} words");
}

#[test]
fn matches_are_those_of_the_plain_loop() {
    for seed in 0..1000 {
        let mut bucket = Bucket::EMPTY;
        let words: Vec<u64> = (0..seed % 9).map(|n| (mix(seed * 9 + n) % 4) << 62 | 8).collect();
        for (lane, &word) in words.iter().enumerate() {
            bucket.set(lane, word);
        }
        for fp in [0, 0x4000, 0x8000, 0xc000, 1] {
            let plain = |lane| u32::from(words.get(lane).is_some_and(|w| (w >> 48) as u16 == fp));
            let mut expected = (0..LANES).map(|lane| plain(lane) << lane).sum::<u32>();
            if fp == 0 {
                expected |= 0xff << words.len() & 0xff;
            }
            assert_eq!(bucket.matches(fp), expected);
        }
    }
}
