//! The scripts that a core knows, by digest and by text, each with its compiled form.
//!
//! Invariant: all cores know the same scripts, since they come and go by a part on every core, in the
//! sequencer's order. A script that EVAL brought may be evicted by a newer one, as in stock servers;
//! one that SCRIPT LOAD brought stays until SCRIPT FLUSH.

use std::cell::Cell;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use sha1::{Digest, Sha1};
use slab::Slab;

use super::engine::{Engine, Function, Limits};
use super::shebang::{self, ScriptFlags};
use crate::base::siphash::HashKey;

/// Scripts that EVAL brought, at most; those used least recently go. Source: stock servers.
pub const EVICTABLE_MAX: usize = 500;

/// The digest that names a script.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Sha([u8; 20]);

impl Sha {
    /// The digest of a text.
    pub fn of(body: &[u8]) -> Sha {
        Sha(Sha1::digest(body).into())
    }

    /// Reads 40 hexadecimal digits, in any case.
    pub fn parse(text: &[u8]) -> Option<Sha> {
        let digits: &[u8; 40] = text.try_into().ok()?;
        let mut bytes = [0; 20];
        for (byte, pair) in bytes.iter_mut().zip(digits.as_chunks::<2>().0) {
            let [high, low] = pair.map(|digit| char::from(digit).to_digit(16));
            *byte = (high? << 4 | low?) as u8;
        }
        Some(Sha(bytes))
    }

    /// Lower-case hexadecimal.
    pub fn hex(self) -> [u8; 40] {
        super::api::hex(&self.0)
    }
}

/// Which partitions a script may touch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// None: it calls nothing that has keys.
    Nothing,
    /// Those of the keys that it was given.
    Declared,
    /// Any.
    Everything,
}

/// A script. Cores share it.
#[derive(Debug)]
pub struct Script {
    /// Its name.
    pub sha: Sha,
    /// Its text.
    pub body: Box<[u8]>,
    /// What it declares of itself.
    pub flags: ScriptFlags,
    /// Where its code begins.
    code_at: usize,
    /// Which partitions it may touch.
    pub reach: Reach,
    /// EVAL brought it.
    pub is_evictable: bool,
    /// When it was used last: what `Scripts::use_clock` said.
    used: AtomicU64,
}

/// A script with its form in one interpreter.
#[derive(Debug)]
struct Known {
    script: Arc<Script>,
    /// Its digest as text.
    name: [u8; 40],
    function: Option<Function>,
}

/// The scripts of a core, and its interpreter.
pub struct Scripts {
    engine: Option<Box<Engine>>,
    limits: Limits,
    known: Slab<Known>,
    by_sha: HashMap<Sha, usize, BuildHasherDefault<Digits>>,
    by_body: HashMap<u64, usize, BuildHasherDefault<Digits>>,
    /// The one that was found last: it is asked for several times on its way, and often again.
    recent: Cell<usize>,
    key: HashKey,
    evictable: usize,
    body_bytes: usize,
    uses: u64,
    /// Compiled forms to be forgotten when the interpreter comes back.
    gone: Vec<Function>,
    /// The interpreter that is out is not to come back.
    is_flushed: bool,
    is_out: bool,
}

/// A script of a core.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScriptId(usize);

impl Scripts {
    /// No script, and no interpreter before the first one. `key` keeps texts from being chosen so
    /// that they collide.
    pub fn new(key: HashKey, limits: Limits) -> Scripts {
        Scripts {
            engine: None,
            limits,
            known: Slab::new(),
            by_sha: HashMap::default(),
            by_body: HashMap::default(),
            recent: Cell::new(usize::MAX),
            key,
            evictable: 0,
            body_bytes: 0,
            uses: 0,
            gone: Vec::new(),
            is_flushed: false,
            is_out: false,
        }
    }

    /// What an interpreter may use from now on.
    pub fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// What an interpreter may use.
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// Takes the interpreter for a run; it is made if there is none.
    pub fn take_engine(&mut self) -> Box<Engine> {
        let limits = self.limits;
        self.is_out = true;
        self.engine.take().unwrap_or_else(|| Box::new(Engine::new(limits)))
    }

    /// The run has ended.
    pub fn give_back(&mut self, mut engine: Box<Engine>) {
        self.is_out = false;
        // Scripts went while one ran.
        self.gone.drain(..).for_each(|function| engine.forget(function));
        if !std::mem::take(&mut self.is_flushed) {
            self.engine = Some(engine);
        }
    }

    /// The script that 40 digits name.
    pub fn find(&self, sha: &[u8]) -> Option<ScriptId> {
        let recent = self.recent.get();
        if self.known.get(recent).is_some_and(|known| known.name[..] == *sha) {
            return Some(ScriptId(recent));
        }
        let found = self.by_sha.get(&Sha::parse(sha)?).copied()?;
        self.recent.set(found);
        Some(ScriptId(found))
    }

    /// The script of this text.
    #[inline]
    pub fn find_body(&self, body: &[u8]) -> Option<ScriptId> {
        let recent = self.recent.get();
        if self.known.get(recent).is_some_and(|known| *known.script.body == *body) {
            return Some(ScriptId(recent));
        }
        if let Some(at) = self.by_body.get(&self.key.hash(body))
            && *self.known[*at].script.body == *body
        {
            self.recent.set(*at);
            return Some(ScriptId(*at));
        }
        // Another text has the same hash: once in the life of the universe, or nobody knows it.
        if self.by_sha.len() == self.by_body.len() {
            return None;
        }
        self.by_sha.get(&Sha::of(body)).copied().map(ScriptId)
    }

    /// A script that is known.
    #[inline]
    pub fn get(&self, id: ScriptId) -> &Arc<Script> {
        &self.known[id.0].script
    }

    /// The compiled form of a script that is known, for the interpreter that was taken.
    pub fn function(&mut self, id: ScriptId, engine: &mut Engine) -> Result<Function, Vec<u8>> {
        let known = &mut self.known[id.0];
        if let Some(function) = known.function {
            return Ok(function);
        }
        let function = engine.compile(&known.script.body[known.script.code_at..])?;
        known.function = Some(function);
        Ok(function)
    }

    /// Notes that a script was used. `millis` is the time.
    #[inline]
    pub fn touch(&mut self, id: ScriptId, millis: u64) {
        self.uses += 1;
        self.known[id.0].script.used.store(millis << 20 | self.uses & 0xf_ffff, Relaxed);
    }

    /// Makes a script of a text that is to be known; an error is the line of the reply. `reach_of`
    /// says which partitions its code may touch.
    pub fn prepare(
        &mut self,
        body: &[u8],
        is_evictable: bool,
        millis: u64,
        reach_of: impl FnOnce(&[u8]) -> Reach,
    ) -> Result<Arc<Script>, Vec<u8>> {
        let line = shebang::parse(body)?;
        let mut engine = self.take_engine();
        let compiled = engine.compile(&body[line.len..]);
        let forgotten = compiled.map(|function| engine.forget(function));
        self.give_back(engine);
        forgotten?;
        self.uses += 1;
        Ok(Arc::new(Script {
            sha: Sha::of(body),
            body: body.into(),
            flags: line.flags,
            code_at: line.len,
            reach: reach_of(&body[line.len..]),
            is_evictable,
            used: AtomicU64::new(millis << 20 | self.uses & 0xf_ffff),
        }))
    }

    /// The scripts that go when one more comes that EVAL brought.
    pub fn victims(&self) -> Vec<Sha> {
        let mut all: Vec<(u64, Sha)> = self
            .known
            .iter()
            .filter(|(_, known)| known.script.is_evictable)
            .map(|(_, known)| (known.script.used.load(Relaxed), known.script.sha))
            .collect();
        let count = (all.len() + 1).saturating_sub(EVICTABLE_MAX);
        all.sort_unstable_by_key(|(used, _)| *used);
        all.into_iter().take(count).map(|(_, sha)| sha).collect()
    }

    /// True if the next script that EVAL brings has others evicted.
    pub fn is_full(&self) -> bool {
        self.evictable >= EVICTABLE_MAX
    }

    /// Takes a script up, unless it is known, and lets others go. How many went.
    pub fn insert(&mut self, script: &Arc<Script>, victims: &[Sha]) -> usize {
        if self.by_sha.contains_key(&script.sha) {
            return 0;
        }
        let gone = victims.iter().filter(|victim| self.remove(**victim)).count();
        let at = self.known.insert(Known {
            script: script.clone(),
            name: script.sha.hex(),
            function: None,
        });
        self.by_sha.insert(script.sha, at);
        self.by_body.insert(self.key.hash(&script.body), at);
        self.evictable += usize::from(script.is_evictable);
        self.body_bytes += script.body.len();
        gone
    }

    fn remove(&mut self, sha: Sha) -> bool {
        let Some(at) = self.by_sha.remove(&sha) else { return false };
        let Known { script, function, .. } = self.known.remove(at);
        let hash = self.key.hash(&script.body);
        if self.by_body.get(&hash) == Some(&at) {
            self.by_body.remove(&hash);
        }
        match (function, &mut self.engine) {
            (Some(function), Some(engine)) => engine.forget(function),
            (Some(function), None) if self.is_out => self.gone.push(function),
            _ => {}
        }
        self.evictable -= usize::from(script.is_evictable);
        self.body_bytes -= script.body.len();
        true
    }

    /// Forgets all scripts, and the interpreter with what they left in it.
    pub fn flush(&mut self) {
        let (key, limits) = (self.key, self.limits);
        let is_out = self.is_out;
        *self = Scripts { is_out, is_flushed: is_out, ..Scripts::new(key, limits) };
    }

    /// How many scripts are known. Source: INFO, number_of_cached_scripts.
    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// True if none is.
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// Bytes that the interpreter holds. Source: INFO, used_memory_vm_eval.
    pub fn engine_bytes(&self) -> usize {
        self.engine.as_ref().map_or(0, |engine| engine.memory_bytes())
    }

    /// Bytes that the scripts hold outside of the interpreter. Source: INFO, used_memory_scripts_eval.
    pub fn script_bytes(&self) -> usize {
        let each = size_of::<Script>() + size_of::<Known>() + 2 * size_of::<(Sha, usize)>();
        self.body_bytes + self.known.len() * each
    }
}

/// Takes the first bytes of what is random already for its hash.
#[derive(Debug, Default)]
struct Digits(u64);

impl Hasher for Digits {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        if let Some(first) = bytes.first_chunk::<8>() {
            self.0 = u64::from_le_bytes(*first);
        }
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = value;
    }

    fn write_usize(&mut self, _: usize) {
        // The length of a digest, which is always the same.
    }
}
