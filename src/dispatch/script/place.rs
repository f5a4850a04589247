//! Which script a request names, and where it runs.
//!
//! Invariant: a script runs where all partitions are that it may touch: those of its declared keys if
//! it is known to use no others, else all.

use crate::base::number;
use crate::base::slot::Slot;
use crate::command::{Args, CommandError, Flags, Handler, ScriptCall, ScriptSource};
use crate::dispatch::route::Place;
use crate::dispatch::table::{Registered, Way};
use crate::dispatch::worker::Worker;
use crate::script::{FunctionId, Reach, ScriptFlags, ScriptId, shebang};
use crate::txn::cores::{CoreSet, SlotMap};

/// Where the keys of EVAL and its kin begin.
const FIRST_KEY: usize = 3;

/// What a request for a script comes to before anything runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Named {
    /// This script, with so many keys.
    Known(ScriptId, usize),
    /// This function, with so many keys.
    Function(FunctionId, usize),
    /// EVAL brings a script that is not known yet.
    New,
    /// Nothing: the request is wrong.
    Wrong(CommandError),
}

impl Worker {
    /// Which script a request names.
    #[inline]
    pub fn named_script(&self, call: ScriptCall, args: Args<'_>) -> Named {
        let text = args.get(1);
        if call.source == ScriptSource::Digest && text.len() != 40 {
            return Named::Wrong(CommandError::NoScript);
        }
        let function = match call.source {
            ScriptSource::Function => match self.functions.find(text) {
                None => return Named::Wrong(CommandError::NoFunction),
                found => found,
            },
            ScriptSource::Body | ScriptSource::Digest => None,
        };
        let Some(keys) = number::parse_i64(args.get(2)) else {
            let is_function = call.source == ScriptSource::Function;
            let bad = CommandError::BadScriptKeys;
            return Named::Wrong(if is_function { bad } else { CommandError::NotAnInteger });
        };
        if keys > (args.len() - FIRST_KEY) as i64 {
            return Named::Wrong(CommandError::TooManyScriptKeys);
        }
        let Ok(keys) = usize::try_from(keys) else {
            return Named::Wrong(CommandError::NegativeScriptKeys);
        };
        if let Some(id) = function {
            return Named::Function(id, keys);
        }
        match call.source {
            ScriptSource::Body => match self.scripts.find_body(text) {
                Some(id) => Named::Known(id, keys),
                None => Named::New,
            },
            ScriptSource::Digest | ScriptSource::Function => match self.scripts.find(text) {
                Some(id) => Named::Known(id, keys),
                None => Named::Wrong(CommandError::NoScript),
            },
        }
    }

    /// Where a script runs. At home if it has to be made known to all cores first.
    pub fn script_place(&self, registered: &Registered, args: Args<'_>, map: SlotMap) -> Place {
        let (reach, keys) = match self.named_script(script_call(registered), args) {
            Named::New => return Place::Home,
            Named::Wrong(_) => return Place::Core(self.core),
            Named::Known(..) | Named::Function(..) if map.cores() == 1 => return Place::Core(0),
            Named::Known(id, keys) => (self.scripts.get(id).reach, keys),
            Named::Function(id, keys) => (self.functions.library(id).reach, keys),
        };
        match reach {
            Reach::Nothing => Place::Core(self.core),
            Reach::Everything => Place::Loan(CoreSet::all(map.cores())),
            Reach::Declared => {
                let owners = owners_of(args, keys, map);
                match (owners.len(), owners.iter().next()) {
                    (0, _) | (_, None) => Place::Core(self.core),
                    (1, Some(owner)) => Place::Core(owner),
                    _ => Place::Loan(owners),
                }
            }
        }
    }

    /// The partitions that a script needs that is queued by MULTI, when it is not known what will be
    /// known of it then.
    pub fn queued_script_owners(
        &self,
        registered: &Registered,
        args: Args<'_>,
        map: SlotMap,
    ) -> CoreSet {
        match self.script_place(registered, args, map) {
            Place::Core(owner) => CoreSet::one(owner),
            Place::Loan(owners) => owners,
            Place::Here => CoreSet::default(),
            Place::Home | Place::Whole => CoreSet::all(map.cores()),
        }
    }

    /// The flags of a command. Those of one that runs a script are what the script has declared; one
    /// that has declared nothing is refused when it calls a command that may not run.
    #[inline]
    pub fn flags_of(&self, registered: &Registered, args: Args<'_>) -> Flags {
        match registered.way {
            Way::Script => self.script_flags(registered, args),
            _ => registered.command.flags,
        }
    }

    #[cold]
    fn script_flags(&self, registered: &Registered, args: Args<'_>) -> Flags {
        let flags = registered.command.flags;
        let declared = match self.named_script(script_call(registered), args) {
            Named::Known(id, _) => self.scripts.get(id).flags,
            Named::Function(id, _) => self.functions.declared(id).flags,
            Named::New => match shebang::parse(args.get(1)) {
                Ok(line) => line.flags,
                Err(_) => return flags,
            },
            Named::Wrong(_) => return flags,
        };
        if declared.has(ScriptFlags::COMPATIBLE) {
            return flags;
        }
        let mut flags = flags.without(Flags::MAY_REPLICATE);
        if !declared.has(ScriptFlags::ALLOW_STALE) {
            flags = flags.without(Flags::STALE);
        }
        if declared.has(ScriptFlags::NO_WRITES) {
            flags
        } else if declared.has(ScriptFlags::ALLOW_OOM) {
            flags.with(Flags::WRITE)
        } else {
            flags.with(Flags::WRITE).with(Flags::DENYOOM)
        }
    }
}

/// The keys of a request for a script, and its arguments.
pub fn words_of(
    args: Args<'_>,
    keys: usize,
) -> (impl ExactSizeIterator<Item = &[u8]>, impl ExactSizeIterator<Item = &[u8]>) {
    let behind = FIRST_KEY + keys;
    ((FIRST_KEY..behind).map(move |at| args.get(at)), args.iter_from(behind))
}

pub(super) fn script_call(registered: &Registered) -> ScriptCall {
    match registered.command.handler {
        Handler::Script(call) => call,
        _ => unreachable!("only commands that run scripts are asked for one"),
    }
}

fn owners_of(args: Args<'_>, keys: usize, map: SlotMap) -> CoreSet {
    let mut owners = CoreSet::default();
    words_of(args, keys).0.for_each(|key| owners.insert(map.owner(Slot::of(key))));
    owners
}
