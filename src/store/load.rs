//! Makes keys of what a file says of them.
//! Invariant: a value is decoded whole before its key is there; what is wrong is told with its place
//! in the file, and nothing behind it is made. Source: how stock servers load RDB.

use std::sync::atomic::Ordering::Relaxed;

use super::access::{AccessPolicy, clock_of_frequency, clock_of_idle};
use super::entry::{Entry, NewValue};
use super::key::Key;
use super::partition::Partition;
use crate::base::time::Millis;
use crate::persist::load::{Load, Records};
use crate::persist::rdb::file::{Fault, KeyRecord};
use crate::persist::rdb::{Limits, Loaded, Malformed, Reader, decode};
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
    /// Makes the keys of some records.
    pub fn load(&mut self, load: &Load, records: &Records, making: &Making) {
        if load.is_trial {
            return try_records(load, records, making);
        }
        for (db, keys) in &records.sizes {
            if let Some(db) = self.dbs.get_mut(*db) {
                db.reserve(*keys);
            }
        }
        // Where keys belong is fetched for all of them before it is needed for the first.
        let hasher = *self.hasher();
        let mut places = Vec::with_capacity(records.len());
        for (db, record) in records.iter() {
            let key = Key { bytes: &[], ..hasher.key(&record.key) };
            places.push((db, key));
            self.dbs.get(db).inspect(|db| db.prefetch_segment(&key));
        }
        for (db, key) in &places {
            self.dbs.get(*db).inspect(|db| db.prefetch_bucket(key));
        }
        for ((db, record), (_, key)) in records.iter().zip(places) {
            if load.failure().is_some() {
                return;
            }
            let key = Key { bytes: &record.key, ..key };
            if let Err(fault) = self.load_one(load, (db, key), &record, making) {
                load.fail(record.offset, fault);
            }
        }
    }

    fn load_one(
        &mut self,
        load: &Load,
        (db, key): (usize, Key<'_>),
        record: &KeyRecord<'_>,
        making: &Making,
    ) -> Result<(), Fault> {
        if db >= self.dbs().len() {
            return Err(Fault::Database(db as u64));
        }
        // What has expired is checked like the rest, as it may be told by a damaged byte alone.
        let loaded = decoded(record, making)?;
        if record.expiry.is_some_and(|expiry| load.now.is_some_and(|now| expiry < now)) {
            load.expired.fetch_add(1, Relaxed);
            return Ok(());
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
        let old = self.db_mut(db).insert(&key, entry);
        load.keys.fetch_add(1, Relaxed);
        match old {
            Some(_) if !load.replaces => Err(Fault::Duplicate(record.key.to_vec())),
            Some(old) => {
                self.graveyard().bury(old);
                Ok(())
            }
            None => Ok(()),
        }
    }
}

/// The value of a record, all of it.
fn decoded<'a>(record: &KeyRecord<'a>, making: &Making) -> Result<Loaded<'a>, Fault> {
    let mut reader = Reader::new(record.value);
    let loaded = decode::value(&mut reader, record.kind, &making.limits)
        .map_err(|Malformed| Fault::Corrupt)?;
    if reader.rest().is_empty() { Ok(loaded) } else { Err(Fault::Corrupt) }
}

/// Looks whether all records are good.
fn try_records(load: &Load, records: &Records, making: &Making) {
    for (_, record) in records.iter() {
        if let Err(fault) = decoded(&record, making) {
            return load.fail(record.offset, fault);
        }
    }
}
