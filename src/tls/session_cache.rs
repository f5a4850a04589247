//! Sessions that clients may take up again, for a while.
//!
//! Invariant: no more than `len_max`, none longer than `lifetime`; the oldest goes first. Asked by
//! threads that do handshakes, never by a core. Source: tls-session-cache-size and -timeout.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustls::server::StoresServerSessions;

/// The cache of one context.
pub(super) struct SessionCache {
    len_max: usize,
    lifetime: Duration,
    sessions: Mutex<Sessions>,
}

#[derive(Default)]
struct Sessions {
    values: HashMap<Vec<u8>, (Instant, Vec<u8>)>,
    /// Keys in the order of their age; some may have gone from `values`.
    order: VecDeque<(Instant, Vec<u8>)>,
}

impl SessionCache {
    /// An empty one. A size or a time of 0 is no limit, as OpenSSL has it.
    pub(super) fn new(len_max: usize, seconds: u64) -> SessionCache {
        let lifetime = if seconds == 0 { FOREVER } else { Duration::from_secs(seconds) };
        let len_max = if len_max == 0 { LEN_MAX } else { len_max.min(LEN_MAX) };
        SessionCache { len_max, lifetime, sessions: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Sessions> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sessions {
    fn forget(&mut self, len_max: usize, lifetime: Duration, now: Instant) {
        while let Some((since, _)) = self.order.front()
            && (self.order.len() > len_max || now.duration_since(*since) > lifetime)
        {
            let Some((since, key)) = self.order.pop_front() else { return };
            // The key may have been put again since.
            if self.values.get(&key).is_some_and(|(put, _)| *put == since) {
                self.values.remove(&key);
            }
        }
    }
}

impl std::fmt::Debug for SessionCache {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Sessions are secrets.
        out.debug_struct("SessionCache").finish_non_exhaustive()
    }
}

impl StoresServerSessions for SessionCache {
    fn put(&self, key: Vec<u8>, value: Vec<u8>) -> bool {
        let now = Instant::now();
        let mut sessions = self.lock();
        sessions.order.push_back((now, key.clone()));
        sessions.values.insert(key, (now, value));
        sessions.forget(self.len_max, self.lifetime, now);
        true
    }

    fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        let sessions = self.lock();
        let (since, value) = sessions.values.get(key)?;
        (since.elapsed() <= self.lifetime).then(|| value.clone())
    }

    fn take(&self, key: &[u8]) -> Option<Vec<u8>> {
        let (since, value) = self.lock().values.remove(key)?;
        (since.elapsed() <= self.lifetime).then_some(value)
    }

    fn can_cache(&self) -> bool {
        true
    }
}

/// Memory has an end, even where the directive has none: about 100 MB.
const LEN_MAX: usize = 100_000;
const FOREVER: Duration = Duration::MAX;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_goes_first() {
        let cache = SessionCache::new(2, 300);
        for name in [b"a", b"b", b"c"] {
            assert!(cache.put(name.to_vec(), name.to_vec()));
        }
        assert_eq!(cache.get(b"a"), None);
        assert_eq!(cache.take(b"b"), Some(b"b".to_vec()));
        assert_eq!((cache.get(b"b"), cache.get(b"c")), (None, Some(b"c".to_vec())));
    }

    #[test]
    fn what_is_put_again_is_young_again() {
        let cache = SessionCache::new(2, 0);
        for name in [b"a", b"b", b"a", b"a"] {
            cache.put(name.to_vec(), name.to_vec());
        }
        assert_eq!(cache.get(b"a"), Some(b"a".to_vec()));
    }
}
