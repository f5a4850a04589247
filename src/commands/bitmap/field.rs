//! Bitmaps: integers of any width at any bit.

use super::{bit_offset, make, with_bits};
use crate::base::number;
use crate::base::words::c_string;
use crate::command::context::StringRef;
use crate::command::effects::EventClass;
use crate::command::{
    Access, Acl, Args, Argument, ArgumentKind, Arity, Command, CommandError, Context, Flags, Group,
    Handler, KeySpec, Outcome,
};
use crate::config::Config;
use crate::resp::reply::Reply;
use crate::store::entry::EntryMut;
use crate::types::WrongType;
use crate::types::bitmap::{Bitmap, FieldType, Overflow, Window};

/// The table's slice.
pub const COMMANDS: &[Command] = &[
    Command {
        name: "BITFIELD",
        summary: "Reads, writes and increments integers of any width in a string.",
        since: "3.2.0",
        complexity: "O(1) for each operation",
        arity: Arity::AtLeast(2),
        group: Group::Bitmap,
        flags: Flags::WRITE.with(Flags::DENYOOM),
        acl: Acl::BITMAP,
        keys: &[KeySpec::one(
            1,
            Access::RW.with(Access::ACCESS).with(Access::UPDATE).with(Access::VARIABLE_FLAGS),
        )
        .notes("This command allows both access and modification of the key")],
        key_access: Some(access_of_bitfield),
        arguments: &[
            Argument::key("key", 0),
            Argument::one_of(
                "operation",
                &[
                    Argument::block("get-block", &[ENCODING, OFFSET]).after("GET"),
                    Argument::block(
                        "write",
                        &[
                            Argument::one_of(
                                "overflow-block",
                                &[
                                    Argument::token("wrap", "WRAP"),
                                    Argument::token("sat", "SAT"),
                                    Argument::token("fail", "FAIL"),
                                ],
                            )
                            .after("OVERFLOW")
                            .optional(),
                            Argument::one_of(
                                "write-operation",
                                &[
                                    Argument::block(
                                        "set-block",
                                        &[
                                            ENCODING,
                                            OFFSET,
                                            Argument::new("value", ArgumentKind::Integer),
                                        ],
                                    )
                                    .after("SET"),
                                    Argument::block(
                                        "incrby-block",
                                        &[
                                            ENCODING,
                                            OFFSET,
                                            Argument::new("increment", ArgumentKind::Integer),
                                        ],
                                    )
                                    .after("INCRBY"),
                                ],
                            ),
                        ],
                    ),
                ],
            )
            .optional()
            .multiple(),
        ],
        handler: Handler::Keyed(bitfield),
        ..Command::BASE
    },
    Command {
        name: "BITFIELD_RO",
        summary: "Reads integers of any width in a string.",
        since: "6.0.0",
        complexity: "O(1) for each operation",
        arity: Arity::AtLeast(2),
        group: Group::Bitmap,
        flags: Flags::READONLY.with(Flags::FAST),
        acl: Acl::BITMAP,
        keys: &[KeySpec::one(1, Access::RO.with(Access::ACCESS))],
        arguments: &[
            Argument::key("key", 0),
            Argument::block("get-block", &[ENCODING, OFFSET])
                .after("GET")
                .optional()
                .multiple_token(),
        ],
        handler: Handler::Keyed(bitfield_ro),
        ..Command::BASE
    },
];

const ENCODING: Argument = Argument::new("encoding", ArgumentKind::String);
const OFFSET: Argument = Argument::new("offset", ArgumentKind::Integer);

/// A request of reads alone does not change its key.
fn access_of_bitfield(args: Args<'_>) -> Access {
    let mut index = 2;
    while args.is(index, "GET") {
        index += 3;
    }
    if index >= args.len() {
        Access::RO.with(Access::ACCESS)
    } else {
        Access::RW.with(Access::ACCESS).with(Access::UPDATE)
    }
}

fn bitfield(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let plan = Plan::check(cx.config, args)?;
    match plan.last_written_bit {
        None => read_fields(cx, args, plan, reply),
        Some(last) => write_fields(cx, args, plan, last, reply),
    }
}

fn bitfield_ro(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let plan = Plan::check(cx.config, args)?;
    if plan.last_written_bit.is_some() {
        return Err(CommandError::FieldReadOnly);
    }
    read_fields(cx, args, plan, reply)
}

fn read_fields(cx: &mut Context<'_>, args: Args<'_>, plan: Plan, reply: &mut Reply<'_>) -> Outcome {
    let config = cx.config;
    let key = cx.key(args.get(1));
    let string = cx.read_string(&key)?.unwrap_or(StringRef::Bytes(b""));
    reply.array(plan.operations);
    with_bits(string, |bits| {
        for step in Steps::new(config, args).flatten() {
            reply.integer(step.read(bits));
        }
    });
    Ok(())
}

fn write_fields(
    cx: &mut Context<'_>,
    args: Args<'_>,
    plan: Plan,
    last_bit: u64,
    reply: &mut Reply<'_>,
) -> Outcome {
    let config = cx.config;
    let key = cx.key(args.get(1));
    let last_byte = last_bit / 8;
    // The string reaches to the last bit that is written, even if the write then fails.
    let (made, grown) = match cx.write(&key) {
        None => {
            make(cx, &key, last_byte, 0);
            (true, true)
        }
        Some(mut entry) => {
            let grows = entry.view().str_len()? <= last_byte;
            if grows {
                entry.write_at(last_byte, &[0])?;
            }
            (false, grows)
        }
    };
    reply.array(plan.operations);
    let Some(mut entry) = cx.write(&key) else { return Ok(()) };
    let mut changes = 0;
    for step in Steps::new(config, args).flatten() {
        let old = step.read_entry(&entry)?;
        match step.result(old) {
            Some((new, answer)) => {
                reply.integer(answer);
                if !matches!(step.action, Action::Get) {
                    step.write(&mut entry, new)?;
                    changes += u64::from(grown || new != old);
                }
            }
            None => reply.null(),
        }
    }
    if changes > 0 {
        if made {
            // That it was made is reported already.
            cx.event(EventClass::String, "setbit", &key);
        } else {
            cx.changed(EventClass::String, "setbit", &key);
        }
        cx.effects.changed_many(changes - 1);
    }
    Ok(())
}

/// What a whole request comes to, known before anything is done.
#[derive(Clone, Copy)]
struct Plan {
    operations: usize,
    /// None if all operations read.
    last_written_bit: Option<u64>,
}

impl Plan {
    /// Parses all operations.
    fn check(config: &Config, args: Args<'_>) -> Result<Self, CommandError> {
        let mut plan = Self { operations: 0, last_written_bit: None };
        for step in Steps::new(config, args) {
            let step = step?;
            plan.operations += 1;
            if !matches!(step.action, Action::Get) {
                let last = step.offset + u64::from(step.field.bits) - 1;
                plan.last_written_bit = plan.last_written_bit.max(Some(last));
            }
        }
        Ok(plan)
    }
}

/// One operation.
#[derive(Clone, Copy)]
struct Step {
    action: Action,
    field: FieldType,
    offset: u64,
    overflow: Overflow,
}

#[derive(Clone, Copy)]
enum Action {
    Get,
    Set(i64),
    IncrBy(i64),
}

impl Step {
    fn read(self, bits: Bitmap<'_>) -> i64 {
        self.field.decode(bits.field(self.offset, self.field.bits))
    }

    fn read_entry(self, entry: &EntryMut<'_>) -> Result<i64, WrongType> {
        let string = StringRef::of(entry.view())?;
        Ok(with_bits(string, |bits| self.read(bits)))
    }

    /// The new value and the answer. None if the new value does not fit and may not be made to.
    fn result(self, old: i64) -> Option<(i64, i64)> {
        match self.action {
            Action::Get => Some((old, old)),
            Action::Set(value) => {
                // As in Redis, a negative value is a very large one to an unsigned field.
                let unsigned = i128::from(value as u64);
                let value = if self.field.signed { i128::from(value) } else { unsigned };
                Some((self.field.fit(value, self.overflow)?, old))
            }
            Action::IncrBy(increment) => {
                let sum = i128::from(old) + i128::from(increment);
                let new = self.field.fit(sum, self.overflow)?;
                Some((new, new))
            }
        }
    }

    fn write(self, entry: &mut EntryMut<'_>, value: i64) -> Result<(), WrongType> {
        let string = StringRef::of(entry.view())?;
        let mut window = with_bits(string, |bits| Window::read(bits, self.offset));
        entry.write_at(self.offset / 8, window.set(self.field.bits, value as u64))?;
        Ok(())
    }
}

/// The operations of a request, in their order.
struct Steps<'c, 'q> {
    config: &'c Config,
    args: Args<'q>,
    at: usize,
    overflow: Overflow,
}

impl<'c, 'q> Steps<'c, 'q> {
    fn new(config: &'c Config, args: Args<'q>) -> Self {
        Self { config, args, at: 2, overflow: Overflow::Wrap }
    }

    fn parse(&mut self) -> Result<Step, CommandError> {
        let (args, at) = (self.args, self.at);
        let left = args.len() - at - 1;
        let words = match () {
            () if args.is(at, "GET") && left >= 2 => 3,
            () if (args.is(at, "SET") || args.is(at, "INCRBY")) && left >= 3 => 4,
            () => return Err(CommandError::Syntax),
        };
        let field = field_type(args.get(at + 1))?;
        let offset = bit_offset(self.config, args.get(at + 2), Some(field.bits))?;
        let action = match words {
            3 => Action::Get,
            _ if args.is(at, "SET") => Action::Set(args.integer(at + 3)?),
            _ => Action::IncrBy(args.integer(at + 3)?),
        };
        self.at += words;
        Ok(Step { action, field, offset, overflow: self.overflow })
    }
}

impl Iterator for Steps<'_, '_> {
    type Item = Result<Step, CommandError>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.args.is(self.at, "OVERFLOW") && self.at + 1 < self.args.len() {
            match overflow(self.args, self.at + 1) {
                Ok(overflow) => self.overflow = overflow,
                Err(error) => return Some(Err(error)),
            }
            self.at += 2;
        }
        (self.at < self.args.len()).then(|| self.parse())
    }
}

fn overflow(args: Args<'_>, index: usize) -> Result<Overflow, CommandError> {
    match () {
        () if args.is(index, "WRAP") => Ok(Overflow::Wrap),
        () if args.is(index, "SAT") => Ok(Overflow::Saturate),
        () if args.is(index, "FAIL") => Ok(Overflow::Fail),
        () => Err(CommandError::FieldOverflow),
    }
}

/// `i` or `u` and a width. As in Redis, a zero byte ends the word.
fn field_type(word: &[u8]) -> Result<FieldType, CommandError> {
    let (signed, width) = match word {
        [b'i', width @ ..] => (true, width),
        [b'u', width @ ..] => (false, width),
        _ => return Err(CommandError::FieldType),
    };
    let max = if signed { 64 } else { 63 };
    let bits = number::parse_u64(c_string(width)).filter(|bits| (1..=max).contains(bits));
    Ok(FieldType { signed, bits: bits.ok_or(CommandError::FieldType)? as u32 })
}
