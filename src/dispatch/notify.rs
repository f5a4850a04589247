//! Keyspace notifications: what commands did to keys, published.
//!
//! Invariant: the events of a command are published behind it and before any other command, in the
//! order in which it reported them, each to the key's channel before the event's. Nothing is
//! recorded while nobody listens. Source: the keyspace notifications page of Redis 8.0.

use super::worker::Worker;
use crate::command::effects::{Event, EventClass};
use crate::config::value::NotifyFlags;

impl Worker {
    /// The configuration, or who listens, has changed.
    pub fn listeners_changed(&mut self) {
        let wanted = self.config.notify_keyspace_events;
        let to = NotifyFlags::KEYSPACE.with(NotifyFlags::KEYEVENT);
        self.notifies = wanted.intersects(to) && !self.directory.is_silent();
        self.listening_changed();
    }

    /// Publishes the events of the command that has just run.
    pub(super) fn notify(&mut self) {
        if self.notifies {
            let events = self.effects.take_events();
            self.publish_events(events);
        }
    }

    /// Publishes events.
    pub fn publish_events(&mut self, events: Vec<Event>) {
        let wanted = self.config.notify_keyspace_events;
        for Event { class, name, db, key } in events {
            if !wanted.intersects(flag_of(class)) {
                continue;
            }
            if wanted.contains(NotifyFlags::KEYSPACE) {
                let channel = [format!("__keyspace@{db}__:").as_bytes(), &key].concat();
                let published = self.directory.publish(&channel, name.as_bytes());
                self.pushes.publish(published);
            }
            if wanted.contains(NotifyFlags::KEYEVENT) {
                let channel = format!("__keyevent@{db}__:{name}");
                let published = self.directory.publish(channel.as_bytes(), &key);
                self.pushes.publish(published);
            }
        }
    }
}

fn flag_of(class: EventClass) -> NotifyFlags {
    match class {
        EventClass::Generic => NotifyFlags::GENERIC,
        EventClass::String => NotifyFlags::STRING,
        EventClass::List => NotifyFlags::LIST,
        EventClass::Set => NotifyFlags::SET,
        EventClass::Hash => NotifyFlags::HASH,
        EventClass::SortedSet => NotifyFlags::ZSET,
        EventClass::Stream => NotifyFlags::STREAM,
        EventClass::Expired => NotifyFlags::EXPIRED,
        EventClass::Evicted => NotifyFlags::EVICTED,
        EventClass::New => NotifyFlags::NEW,
        EventClass::Miss => NotifyFlags::KEY_MISS,
    }
}
