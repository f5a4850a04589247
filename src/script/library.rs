//! The libraries of functions that a core knows, each with its compiled form.
//!
//! Invariant: all cores know the same libraries, since each applies the same [`Change`]s in the
//! sequencer's order; a change is applied whole or, with an error, not at all. A core compiles a
//! library when one of its functions is called first. Source: "Redis functions"; the errors are those
//! of stock servers.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use slab::Slab;

use super::engine::{Engine, Function, Limits};
use super::registry::Reach;
use super::shebang::ScriptFlags;
use crate::base::time::Millis;
use crate::base::words;

/// A function as its library declares it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Declared {
    /// Its name; FCALL takes it in any case.
    pub name: Box<[u8]>,
    /// What it is for, in the library's words.
    pub description: Option<Box<[u8]>>,
    /// What it says of itself.
    pub flags: ScriptFlags,
}

/// A library. Cores share it.
#[derive(Debug)]
pub struct Library {
    /// Its name.
    pub name: Box<[u8]>,
    /// Its text, the first line included.
    pub code: Box<[u8]>,
    /// Its functions.
    pub functions: Vec<Declared>,
    /// Which partitions they may touch.
    pub reach: Reach,
    /// Where the code begins behind the first line.
    code_at: usize,
}

/// What a first line says: `#!lua name=mylib`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heading {
    /// The name of the library.
    pub name: Vec<u8>,
    /// Bytes of the line without its end.
    pub len: usize,
}

/// What happens to the libraries.
#[derive(Debug)]
pub enum Change {
    /// One more comes; an old one of its name goes if `replace`.
    Load {
        /// The new one.
        library: Arc<Library>,
        /// It may take the place of another.
        replace: bool,
    },
    /// One goes.
    Delete(Vec<u8>),
    /// All go.
    Flush,
    /// Those of a dump come.
    Restore {
        /// The new ones.
        libraries: Vec<Arc<Library>>,
        /// What becomes of those that are there.
        policy: Policy,
    },
}

/// What becomes of libraries that are there when others are restored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// They stay; one of the same name is an error.
    Append,
    /// They go where a new one has their name.
    Replace,
    /// They go.
    Flush,
}

/// A function that has run for too long, for FUNCTION STATS.
#[derive(Clone, Debug)]
pub struct RunningFunction {
    /// Its name.
    pub name: Box<[u8]>,
    /// The request that calls it.
    pub words: Vec<Vec<u8>>,
    /// When it was called.
    pub began: Millis,
}

/// A function of a core.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FunctionId {
    library: usize,
    index: usize,
}

/// The libraries of a core, and the interpreter of their functions.
pub struct Functions {
    engine: Option<Box<Engine>>,
    limits: Limits,
    libraries: Slab<Known>,
    by_library: BTreeMap<Box<[u8]>, usize>,
    /// By names in lower case.
    by_function: BTreeMap<Box<[u8]>, FunctionId>,
    running: Option<RunningFunction>,
}

/// A library with its form in the interpreter.
#[derive(Debug)]
struct Known {
    library: Arc<Library>,
    compiled: Option<Vec<Function>>,
}

impl Functions {
    /// No library, and no interpreter before the first one.
    pub fn new(limits: Limits) -> Functions {
        Functions {
            engine: None,
            limits,
            libraries: Slab::new(),
            by_library: BTreeMap::new(),
            by_function: BTreeMap::new(),
            running: None,
        }
    }

    /// A function of this core has run for too long; or has ended.
    pub fn set_running(&mut self, running: Option<RunningFunction>) {
        self.running = running;
    }

    /// The function of this core that has run for too long.
    pub fn running(&self) -> Option<&RunningFunction> {
        self.running.as_ref()
    }

    /// What the interpreter may use from now on.
    pub fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// Takes the interpreter for a run; it is made if there is none.
    pub fn take_engine(&mut self) -> Box<Engine> {
        let limits = self.limits;
        self.engine.take().unwrap_or_else(|| Box::new(Engine::for_functions(limits)))
    }

    /// The run has ended.
    pub fn give_back(&mut self, engine: Box<Engine>) {
        self.engine = Some(engine);
    }

    /// The function of this name, in any case.
    pub fn find(&self, name: &[u8]) -> Option<FunctionId> {
        self.by_function.get(&*lower(name)).copied()
    }

    /// The library of a function.
    pub fn library(&self, id: FunctionId) -> &Arc<Library> {
        &self.libraries[id.library].library
    }

    /// What the library says of a function.
    pub fn declared(&self, id: FunctionId) -> &Declared {
        &self.library(id).functions[id.index]
    }

    /// Every library, by name.
    pub fn all(&self) -> impl ExactSizeIterator<Item = &Arc<Library>> {
        self.by_library.values().map(|at| &self.libraries[*at].library)
    }

    /// True if there is a library of this name.
    pub fn has_library(&self, name: &[u8]) -> bool {
        self.by_library.contains_key(name)
    }

    /// The compiled form of a function, for the interpreter that was taken.
    pub fn function(&mut self, id: FunctionId, engine: &mut Engine) -> Result<Function, Vec<u8>> {
        let known = &mut self.libraries[id.library];
        if let Some(compiled) = &known.compiled {
            return Ok(compiled[id.index]);
        }
        let library = &known.library;
        let loaded = engine.load(&library.code[library.code_at..], self.limits)?;
        // The code can see nothing that differs from core to core.
        let compiled: Vec<Function> = loaded.iter().map(|(_, function)| *function).collect();
        if compiled.len() != library.functions.len() {
            return Err(b"ERR Function not found".to_vec());
        }
        let function = compiled[id.index];
        known.compiled = Some(compiled);
        Ok(function)
    }

    /// Makes a library of a text that `heading` was read from; nobody knows it yet. `reach_of` says
    /// which partitions its code may touch. An error is the line of the reply.
    pub fn prepare(
        &mut self,
        text: &[u8],
        heading: Heading,
        reach_of: impl FnOnce(&[u8]) -> Reach,
    ) -> Result<Library, Vec<u8>> {
        let mut engine = self.take_engine();
        let loaded = engine.load(&text[heading.len..], self.limits);
        let functions = loaded.map(|loaded| {
            let declare = |(declared, function)| {
                engine.forget(function);
                declared
            };
            loaded.into_iter().map(declare).collect::<Vec<_>>()
        });
        self.give_back(engine);
        let functions = functions?;
        if functions.is_empty() {
            return Err(b"ERR No functions registered".to_vec());
        }
        Ok(Library {
            name: heading.name.into(),
            code: text.into(),
            functions,
            reach: reach_of(&text[heading.len..]),
            code_at: heading.len,
        })
    }

    /// Applies a change. An error is the line of the reply; then nothing has changed.
    pub fn apply(&mut self, change: &Change) -> Result<(), Vec<u8>> {
        match change {
            Change::Load { library, replace } => {
                if !replace && self.has_library(&library.name) {
                    return Err(exists(&library.name));
                }
                self.check_functions(library, std::slice::from_ref(library))?;
                self.remove(&library.name);
                self.insert(library);
            }
            Change::Delete(name) => {
                if !self.remove(name) {
                    return Err(b"ERR Library not found".to_vec());
                }
            }
            Change::Flush => *self = Functions::new(self.limits),
            Change::Restore { libraries, policy: Policy::Flush } => {
                *self = Functions::new(self.limits);
                libraries.iter().for_each(|library| self.insert(library));
            }
            Change::Restore { libraries, policy } => {
                for library in libraries {
                    if *policy == Policy::Append && self.has_library(&library.name) {
                        return Err(
                            [b"ERR Library ", &library.name[..], b" already exists"].concat()
                        );
                    }
                }
                for library in libraries {
                    self.check_functions(library, libraries)?;
                }
                for library in libraries {
                    self.remove(&library.name);
                }
                libraries.iter().for_each(|library| self.insert(library));
            }
        }
        Ok(())
    }

    /// An error if a library that stays has a function of a new one; those with the names of `coming`
    /// go.
    fn check_functions(&self, library: &Library, coming: &[Arc<Library>]) -> Result<(), Vec<u8>> {
        for declared in &library.functions {
            let Some(id) = self.find(&declared.name) else { continue };
            let owner = &self.library(id).name;
            if !coming.iter().any(|new| new.name == *owner) {
                return Err(function_exists(&declared.name));
            }
        }
        Ok(())
    }

    fn insert(&mut self, library: &Arc<Library>) {
        let at = self.libraries.insert(Known { library: library.clone(), compiled: None });
        self.by_library.insert(library.name.clone(), at);
        for (index, declared) in library.functions.iter().enumerate() {
            let id = FunctionId { library: at, index };
            // Of two that differ in case alone, the first is called.
            self.by_function.entry(lower(&declared.name).into()).or_insert(id);
        }
    }

    fn remove(&mut self, name: &[u8]) -> bool {
        let Some(at) = self.by_library.remove(name) else { return false };
        let Known { library, compiled } = self.libraries.remove(at);
        for declared in &library.functions {
            self.by_function.remove(&*lower(&declared.name));
        }
        if let (Some(functions), Some(engine)) = (compiled, &mut self.engine) {
            functions.into_iter().for_each(|function| engine.forget(function));
        }
        true
    }

    /// How many functions there are. Source: INFO, number_of_functions.
    pub fn len(&self) -> usize {
        self.by_function.len()
    }

    /// True if there is none.
    pub fn is_empty(&self) -> bool {
        self.by_function.is_empty()
    }

    /// Bytes that the interpreter holds. Source: INFO, used_memory_vm_functions.
    pub fn engine_bytes(&self) -> usize {
        self.engine.as_ref().map_or(0, |engine| engine.memory_bytes())
    }

    /// Bytes that libraries hold outside of the interpreter. Source: INFO, used_memory_functions.
    pub fn library_bytes(&self) -> usize {
        let of = |library: &Arc<Library>| {
            let functions = library.functions.iter().map(|one| {
                size_of::<Declared>()
                    + one.name.len()
                    + one.description.as_ref().map_or(0, |text| text.len())
            });
            size_of::<Library>()
                + library.name.len()
                + library.code.len()
                + functions.sum::<usize>()
        };
        self.all().map(of).sum()
    }
}

/// The libraries of a dump, as far as they have been read.
pub struct Together {
    libraries: Vec<Arc<Library>>,
    known: Functions,
}

impl Default for Together {
    fn default() -> Together {
        Together { libraries: Vec::new(), known: Functions::new(Limits { memory_bytes: 0 }) }
    }
}

impl Together {
    /// An error if a library of the dump has this name already; its code is not run then.
    pub fn has_room_for(&self, heading: &Heading) -> Result<(), Vec<u8>> {
        if self.known.has_library(&heading.name) { Err(exists(&heading.name)) } else { Ok(()) }
    }

    /// Adds the next one; an error if it does not go together with those before.
    pub fn add(&mut self, library: Arc<Library>) -> Result<(), Vec<u8>> {
        self.known.apply(&Change::Load { library: library.clone(), replace: false })?;
        self.libraries.push(library);
        Ok(())
    }

    /// All of them, in the order of the dump.
    pub fn into_libraries(self) -> Vec<Arc<Library>> {
        self.libraries
    }
}

/// Reads the first line of a library. An error is the line of the reply.
pub fn heading(text: &[u8]) -> Result<Heading, Vec<u8>> {
    let invalid = || b"ERR Invalid library metadata".to_vec();
    if !text.starts_with(b"#!") {
        return Err(b"ERR Missing library metadata".to_vec());
    }
    let len = memchr::memchr2(b'\n', 0, text).filter(|end| text[*end] == b'\n');
    let len = len.ok_or_else(invalid)?;
    let parts = words::split_args(&text[..len]).filter(|parts| !parts.is_empty());
    let parts = parts.ok_or_else(invalid)?;
    let mut name: Option<Vec<u8>> = None;
    for part in &parts[1..] {
        let Some((head, value)) = part.split_at_checked(5) else { return Err(unknown(part)) };
        if !head.eq_ignore_ascii_case(b"name=") {
            return Err(unknown(part));
        }
        if name.is_some() {
            return Err(
                b"ERR Invalid metadata value, name argument was given multiple times".to_vec()
            );
        }
        name = Some(value.to_vec());
    }
    let name = name.ok_or_else(|| b"ERR Library name was not given".to_vec())?;
    if !is_name(&name) {
        return Err(b"ERR Library names can only contain letters, numbers, or underscores(_) and must be at least one character long".to_vec());
    }
    let engine = parts[0].get(2..).unwrap_or_default();
    if !engine.eq_ignore_ascii_case(b"lua") {
        return Err([b"ERR Engine '", engine, b"' not found"].concat());
    }
    Ok(Heading { name, len })
}

fn unknown(part: &[u8]) -> Vec<u8> {
    [b"ERR Invalid metadata value given: ", part].concat()
}

/// True if a library or function may have this name.
pub(super) fn is_name(name: &[u8]) -> bool {
    !name.is_empty() && name.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'_')
}

/// The error about a library that there is already.
pub fn exists(name: &[u8]) -> Vec<u8> {
    [b"ERR Library '", name, b"' already exists"].concat()
}

fn function_exists(name: &[u8]) -> Vec<u8> {
    [b"ERR Function ", name, b" already exists"].concat()
}

fn lower(name: &[u8]) -> Cow<'_, [u8]> {
    if name.iter().any(u8::is_ascii_uppercase) {
        Cow::Owned(name.to_ascii_lowercase())
    } else {
        Cow::Borrowed(name)
    }
}

#[cfg(test)]
mod tests;
