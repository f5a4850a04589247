//! Sets: members by chance.

use super::{limits, lost, natural, write};
use crate::base::rng::Rng;
use crate::command::{
    Access, Acl, Args, Argument, ArgumentKind, Arity, Command, CommandError, Context, Flags, Group,
    Handler, KeySpec, Outcome,
};
use crate::encoding::listpack::Element;
use crate::resp::reply::Reply;
use crate::store::key::Key;
use crate::types::set::{SetMut, SetRef};

/// The table's slice.
pub const COMMANDS: &[Command] = &[
    Command {
        name: "SPOP",
        summary: "Removes members from a set by chance and gives them.",
        since: "1.0.0",
        complexity: "O(1) for each member",
        arity: Arity::AtLeast(2),
        group: Group::Set,
        flags: Flags::WRITE.with(Flags::FAST),
        acl: Acl::SET,
        keys: &[KeySpec::one(1, Access::RW.with(Access::ACCESS).with(Access::DELETE))],
        tips: &["nondeterministic_output"],
        arguments: &[
            Argument::key("key", 0),
            Argument::new("count", ArgumentKind::Integer).since("3.2.0").optional(),
        ],
        handler: Handler::Keyed(spop),
        ..Command::BASE
    },
    Command {
        name: "SRANDMEMBER",
        summary: "Gives members of a set by chance.",
        since: "1.0.0",
        complexity: "O(1) for each member",
        arity: Arity::AtLeast(2),
        group: Group::Set,
        flags: Flags::READONLY,
        acl: Acl::SET,
        keys: &[KeySpec::one(1, Access::RO.with(Access::ACCESS))],
        tips: &["nondeterministic_output"],
        arguments: &[
            Argument::key("key", 0),
            Argument::new("count", ArgumentKind::Integer).since("2.6.0").optional(),
        ],
        handler: Handler::Keyed(srandmember),
        ..Command::BASE
    },
];

fn spop(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let key = cx.key(args.get(1));
    match args.len() {
        2 => pop_one(cx, &key, reply),
        3 => {
            let count = natural(args.get(2)).ok_or(CommandError::NotPositive)?;
            pop_count(cx, &key, count, reply)
        }
        _ => Err(CommandError::Syntax),
    }
}

fn pop_one(cx: &mut Context<'_>, key: &Key<'_>, reply: &mut Reply<'_>) -> Outcome {
    let (db, wanted, mut rng) = (cx.db_index(), cx.effects.wants_lines(), cx.rng.fork());
    let Some(mut entry) = cx.write(key) else {
        reply.null();
        return Ok(());
    };
    let mut set = SetMut::of(&mut entry)?;
    let mut popped = Vec::new();
    set.pop(&mut rng, |member| {
        write(reply, member);
        if wanted {
            popped = member.to_vec();
        }
    });
    let is_empty = set.view().is_empty();
    lost(cx, key, "spop", 1, is_empty);
    cx.effects.propagate(db, &[b"SREM", key.bytes, &popped]);
    Ok(())
}

fn pop_count(cx: &mut Context<'_>, key: &Key<'_>, count: u64, reply: &mut Reply<'_>) -> Outcome {
    let (limits, wanted, mut rng) = (limits(cx), cx.effects.wants_lines(), cx.rng.fork());
    let Some(mut entry) = cx.write(key) else {
        reply.set(0);
        return Ok(());
    };
    let mut set = SetMut::of(&mut entry)?;
    let len = set.view().len();
    if count == 0 {
        reply.set(0);
        return Ok(());
    }
    if count >= len as u64 {
        reply.set(len);
        set.view().for_each(|member| write(reply, member));
        lost(cx, key, "spop", len as u64, true);
        let word: &[u8] = if cx.config.lazyfree_lazy_server_del { b"UNLINK" } else { b"DEL" };
        cx.effects.propagate(cx.session.db, &[word, key.bytes]);
        return Ok(());
    }
    reply.set(count as usize);
    let mut popped = Vec::new();
    let table = set.pop_many(count as usize, &limits, &mut rng, |member| {
        write(reply, member);
        if wanted {
            popped.push(member.to_vec());
        }
    });
    cx.replaced.extend(table);
    lost(cx, key, "spop", count, false);
    cx.effects.propagate_nothing();
    for some in popped.chunks(LINE_MEMBERS_MAX) {
        let members = some.iter().map(Vec::as_slice);
        let line: Vec<&[u8]> = [&b"SREM"[..], key.bytes].into_iter().chain(members).collect();
        cx.effects.propagate(cx.session.db, &line);
    }
    Ok(())
}

fn srandmember(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let key = cx.key(args.get(1));
    let count = match args.len() {
        2 => None,
        3 => Some(args.integer(2)?),
        _ => return Err(CommandError::Syntax),
    };
    if count.is_some_and(|count| count < -REPEATED_MAX) {
        reply.error(format!(
            "ERR value is out of range, value must between {} and {}",
            if count == Some(i64::MIN) { -i64::MAX } else { -REPEATED_MAX },
            i64::MAX
        ));
        return Err(CommandError::Written);
    }
    let mut rng = cx.rng.fork();
    let set = cx.read(&key).map(|entry| SetRef::of(entry.value())).transpose()?;
    match (set, count) {
        (None, None) => reply.null(),
        (None, Some(_)) | (Some(_), Some(0)) => reply.array(0),
        (Some(set), None) => {
            if let Some(member) = set.random(&mut rng) {
                write(reply, member);
            }
        }
        (Some(set), Some(count @ 1..)) => {
            let count = usize::try_from(count).unwrap_or(usize::MAX).min(set.len());
            reply.array(count);
            set.sample(count, &mut rng, |member| write(reply, member));
        }
        (Some(set), Some(count)) => repeat(set, count.unsigned_abs() as usize, &mut rng, reply),
    }
    Ok(())
}

/// Writes `count` members by chance, each drawn from all.
fn repeat(set: SetRef<'_>, count: usize, rng: &mut Rng, reply: &mut Reply<'_>) {
    reply.array(count);
    if let SetRef::Pack(pack) = set
        && count > 1
    {
        // To find one member of a listpack is to walk there.
        let members: Vec<Element<'_>> = pack.iter().collect();
        for _ in 0..count {
            write(reply, members[rng.below(members.len() as u64) as usize]);
        }
        return;
    }
    for _ in 0..count {
        if let Some(member) = set.random(rng) {
            write(reply, member);
        }
    }
}

/// Members in one SREM of the journal. Source: stock servers.
const LINE_MEMBERS_MAX: usize = 1024;
/// The most members that one SRANDMEMBER repeats: a stock server accepts counts that it could never
/// finish to answer. A reply of so many needs gigabytes.
const REPEATED_MAX: i64 = 1 << 27;
