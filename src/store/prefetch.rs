//! Fetches into the processor's caches what lookups are about to read, for many of them at once, so
//! that they wait for memory together.
//!
//! Invariant: nothing changes but how long a command waits.

use super::db::Db;
use super::key::{Key, Position};
use crate::types::ahead::Ahead;

/// Tables smaller than this stay in the processor's caches: to fetch what is in them costs more than it
/// gives.
const KEYS_MIN: usize = 10_000;

/// Fetches what lookups at these positions read: all buckets, and then, when they are there, all
/// entries.
#[inline]
pub fn prefetch<'d, L: Iterator<Item = (&'d Db, Position)>>(lookups: impl Fn() -> L) {
    let large = || lookups().filter(|(db, _)| db.len() >= KEYS_MIN);
    large().for_each(|(db, position)| db.entries.prefetch_bucket(position));
    large().for_each(|(db, position)| db.entries.prefetch_entry(position));
}

/// Fetches what the searches for members of the values at these keys read. False if no value is large.
pub fn prefetch_members<'a>(members: impl Iterator<Item = (&'a Db, Key<'a>, &'a [u8])>) -> bool {
    let lookups = members.filter_map(|(db, key, member)| {
        // Another key with this fingerprint does no harm.
        let entry = db.entries.candidate(key.position).or_else(|| db.peek(&key))?;
        Ahead::of(entry.value(), member)
    });
    let mut lookups: Vec<Ahead<'_>> = lookups.collect();
    for _ in 0..Ahead::STEPS {
        lookups.iter_mut().for_each(Ahead::step);
    }
    !lookups.is_empty()
}
