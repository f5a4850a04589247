//! Makes keys of what a file says of them.
//! Invariant: a value is decoded whole before its key is there; what is wrong is told with its place
//! in the file, and nothing behind it is made. Source: how stock servers load RDB.

use std::sync::atomic::Ordering::Relaxed;

use super::access::{AccessPolicy, clock_of_frequency, clock_of_idle};
use super::db::Db;
use super::entry::{Entry, NewValue};
use super::graveyard::Graveyard;
use super::key::Key;
use super::partition::Partition;
use crate::base::time::Millis;
use crate::observe::log;
use crate::persist::load::{Aim, Load, Records};
use crate::persist::rdb::file::{Fault, KeyRecord};
use crate::persist::rdb::{Limits, Loaded, Malformed, Reader, decode, opcode};
use crate::types::Value;

/// What decides how keys are made.
#[derive(Clone, Copy, Debug)]
pub struct Making {
    /// When collections change their form.
    pub limits: Limits,
    /// How accesses are recorded.
    pub access: AccessPolicy,
    /// The time.
    pub now: Millis,
}

impl Partition {
    /// Makes the keys of some records. `on_expired` is told of those that have expired and are left out.
    pub fn load(
        &mut self,
        load: &Load,
        records: &Records,
        making: &Making,
        mut on_expired: impl FnMut(usize, &[u8]),
    ) {
        let hasher = *self.hasher();
        let mut target = match load.aim {
            Aim::Trial => return try_records(load, records, making),
            Aim::Serve => {
                self.touch_all();
                Target { dbs: &mut self.dbs, graveyard: &mut self.graveyard }
            }
            Aim::Aside => {
                let empty = || self.dbs.iter().map(|_| Db::new(hasher)).collect();
                Target { dbs: self.aside.get_or_insert_with(empty), graveyard: &mut self.graveyard }
            }
        };
        for (db, keys) in &records.sizes {
            if let Some(db) = target.dbs.get_mut(*db) {
                db.reserve(*keys);
            }
        }
        // Where keys belong is fetched for all of them before it is needed for the first.
        let mut places = Vec::with_capacity(records.len());
        for (db, record) in records.iter() {
            let key = Key { bytes: &[], ..hasher.key(&record.key) };
            places.push((db, key));
            target.dbs.get(db).inspect(|db| db.prefetch_segment(&key));
        }
        for (db, key) in &places {
            target.dbs.get(*db).inspect(|db| db.prefetch_bucket(key));
        }
        for ((db, record), (_, key)) in records.iter().zip(places) {
            if load.failure().is_some() {
                return;
            }
            let key = Key { bytes: &record.key, ..key };
            match target.load_one(load, (db, key), &record, making) {
                Ok(Made::Expired) => on_expired(db, &record.key),
                Ok(Made::Key | Made::Nothing) => {}
                Err(fault) => load.fail(record.offset, fault),
            }
        }
    }

    /// What was put aside takes the place of all data, which is freed in slices.
    pub fn take_aside(&mut self, now: Millis) {
        let Some(aside) = self.aside.take() else { return self.flush_all() };
        self.unshared.clear();
        for (index, db) in aside.into_iter().enumerate() {
            self.replace(index, db, now);
        }
    }

    /// What was put aside is not wanted: it is freed in slices.
    pub fn drop_aside(&mut self) {
        for mut db in self.aside.take().into_iter().flatten() {
            self.graveyard.bury_table(db.flush());
        }
    }
}

/// What became of a record.
enum Made {
    /// A key.
    Key,
    /// Nothing, since it had expired.
    Expired,
    /// Nothing, since it has no elements.
    Nothing,
}

/// Where the keys of records go.
struct Target<'a> {
    dbs: &'a mut [Db],
    graveyard: &'a mut Graveyard,
}

/// Empty keys that the log names; the rest is only counted. Source: Redis.
const SKIPPED_LINES_MAX: u64 = 10;

impl Target<'_> {
    fn load_one(
        &mut self,
        load: &Load,
        (db, key): (usize, Key<'_>),
        record: &KeyRecord<'_>,
        making: &Making,
    ) -> Result<Made, Fault> {
        let Some(db) = self.dbs.get_mut(db) else { return Err(Fault::Database(db as u64)) };
        // What has expired is checked like the rest, as it may be told by a damaged byte alone.
        let Some(loaded) = decoded(record, making)? else {
            if load.skipped.fetch_add(1, Relaxed) < SKIPPED_LINES_MAX {
                let key = String::from_utf8_lossy(&record.key);
                log::notice(format!("Loading RDB: skipping empty key: {key}"));
            }
            return Ok(Made::Nothing);
        };
        if record.expiry.is_some_and(|expiry| load.now.is_some_and(|now| expiry < now)) {
            load.expired.fetch_add(1, Relaxed);
            return Ok(Made::Expired);
        }
        let clock = match (making.access, record.idle, record.frequency) {
            (AccessPolicy::Lru, Some(idle), _) => clock_of_idle(idle, making.now),
            (AccessPolicy::Lfu { .. }, _, Some(count)) => clock_of_frequency(count, making.now),
            (policy, ..) => policy.initial(making.now),
        };
        let value = match &loaded {
            Loaded::Str(bytes) => NewValue::string(bytes),
            Loaded::Big(_) | Loaded::Collection(_) => match loaded {
                Loaded::Big(big) => NewValue::Boxed(Box::new(Value::String(big))),
                Loaded::Collection(collection) => NewValue::from(collection),
                Loaded::Str(_) => unreachable!("matched above"),
            },
        };
        let entry = Entry::new(&record.key, value, record.expiry, clock);
        let old = db.insert(&key, entry);
        load.keys.fetch_add(1, Relaxed);
        if old.is_some() && !load.replaces {
            return Err(Fault::Duplicate(record.key.to_vec()));
        }
        old.into_iter().for_each(|old| self.graveyard.bury(old));
        Ok(Made::Key)
    }
}

/// The value of a record, all of it. None if it is a collection without elements, which is no value.
fn decoded<'a>(record: &KeyRecord<'a>, making: &Making) -> Result<Option<Loaded<'a>>, Fault> {
    let mut reader = Reader::new(record.value);
    match decode::value(&mut reader, record.kind, &making.limits) {
        Ok(loaded) if reader.rest().is_empty() => Ok(Some(loaded)),
        Err(Malformed) if decode::is_empty(Reader::new(record.value), record.kind) => Ok(None),
        _ => Err(Fault::Value(opcode::form(record.kind))),
    }
}

/// Looks whether all records are good.
fn try_records(load: &Load, records: &Records, making: &Making) {
    for (_, record) in records.iter() {
        if let Err(fault) = decoded(&record, making) {
            return load.fail(record.offset, fault);
        }
    }
}
