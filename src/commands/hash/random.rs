//! HRANDFIELD: fields by chance.

use super::{READS, bulk, drop_key, open};
use crate::base::number;
use crate::base::rng::Rng;
use crate::command::{
    Args, Argument, ArgumentKind, Arity, Command, CommandError, Context, Flags, Handler, Outcome,
};
use crate::resp::Proto;
use crate::resp::reply::Reply;
use crate::store::key::Key;
use crate::types::hash::{HashMut, HashRef, Pair};

/// The table's slice.
pub const COMMANDS: &[Command] = &[Command {
    name: "HRANDFIELD",
    summary: "Gives fields of a hash by chance.",
    since: "6.2.0",
    complexity: "O(N) in the number of fields that are given.",
    arity: Arity::AtLeast(2),
    flags: Flags::READONLY,
    tips: &["nondeterministic_output"],
    arguments: &[
        Argument::key("key", 0),
        Argument::block(
            "options",
            &[
                Argument::new("count", ArgumentKind::Integer),
                Argument::token("withvalues", "WITHVALUES").optional(),
            ],
        )
        .optional(),
    ],
    handler: Handler::Keyed(hrandfield),
    ..READS
}];

fn hrandfield(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let wanted = Wanted::parse(args, reply)?;
    let key = cx.key(args.get(1));
    let mut rng = cx.rng.fork();
    let now = cx.expiry_now().0;
    let deletes = cx.deletes_expired();
    let has_expired = open(cx, &key)?.is_some_and(|hash| hash.may_have_expired(now));
    if has_expired && deletes {
        expire_fields(cx, &key);
    }
    let db = cx.db_index();
    let entry = cx.db(db, &key).peek(&key);
    let hash = entry.map(|entry| HashRef::of(entry.value())).transpose()?;
    // Where expired ones are kept chance is left the others alone.
    let live = hash
        .filter(|_| has_expired && !deletes)
        .map(|hash| hash.iter().filter(|pair| !pair.is_expired(now)).collect::<Vec<_>>());
    match (hash.filter(|_| live.as_ref().is_none_or(|live| !live.is_empty())), wanted) {
        (None, None) => reply.null(),
        (None, Some(_)) | (Some(_), Some(Wanted { count: 0, .. })) => reply.array(0),
        (Some(hash), None) => {
            let pair = match &live {
                Some(live) => Some(live[rng.below(live.len() as u64) as usize]),
                None => hash.random(&mut rng),
            };
            if let Some(pair) = pair {
                bulk(reply, pair.field);
            }
        }
        (Some(hash), Some(wanted)) => give(hash, live, &wanted, &mut rng, reply),
    }
    Ok(())
}

/// What is asked for behind the key.
struct Wanted {
    /// How many different fields, or if negative how many of which any may repeat.
    count: i64,
    values: bool,
}

impl Wanted {
    fn parse(args: Args<'_>, reply: &mut Reply<'_>) -> Result<Option<Self>, CommandError> {
        let Some(count) = args.opt(2) else { return Ok(None) };
        let count = number::parse_i64(count).ok_or(CommandError::NotAnInteger)?;
        if count == i64::MIN {
            return Err(out_of_range(reply, -i64::MAX));
        }
        let values = args.len() == 4 && args.is(3, "WITHVALUES");
        if args.len() > 3 && !values {
            return Err(CommandError::Syntax);
        }
        if values && count.unsigned_abs() > i64::MAX as u64 / 2 {
            return Err(CommandError::ValueOutOfRange);
        }
        if count < -REPEATED_MAX {
            return Err(out_of_range(reply, -REPEATED_MAX));
        }
        Ok(Some(Self { count, values }))
    }
}

fn out_of_range(reply: &mut Reply<'_>, least: i64) -> CommandError {
    let most = i64::MAX;
    reply.error(format!("ERR value is out of range, value must between {least} and {most}"));
    CommandError::Written
}

/// Answers with the fields that are wanted, in pairs with their values if those are, too. With `live`
/// only of these.
fn give(
    hash: HashRef<'_>,
    live: Option<Vec<Pair<'_>>>,
    wanted: &Wanted,
    rng: &mut Rng,
    reply: &mut Reply<'_>,
) {
    let count = usize::try_from(wanted.count.unsigned_abs()).unwrap_or(usize::MAX);
    if wanted.count > 0 {
        let len = live.as_ref().map_or(hash.len(), Vec::len);
        let count = count.min(len);
        begin(count, wanted.values, reply);
        let sample = match live {
            Some(mut live) => {
                for at in 0..count {
                    live.swap(at, at + rng.below((len - at) as u64) as usize);
                }
                live.truncate(count);
                live
            }
            None if count == len => {
                return hash.iter().for_each(|pair| give_pair(pair, wanted.values, reply));
            }
            None => hash.sample(count, rng),
        };
        return sample.into_iter().for_each(|pair| give_pair(pair, wanted.values, reply));
    }
    begin(count, wanted.values, reply);
    // To find one field of a listpack is to walk there.
    let packed = count > 1 && !matches!(hash, HashRef::Dict(_));
    let pairs = live.or_else(|| packed.then(|| hash.iter().collect()));
    for _ in 0..count {
        let pair = match &pairs {
            Some(pairs) => Some(pairs[rng.below(pairs.len() as u64) as usize]),
            None => hash.random(rng),
        };
        pair.into_iter().for_each(|pair| give_pair(pair, wanted.values, reply));
    }
}

fn begin(count: usize, values: bool, reply: &mut Reply<'_>) {
    let flat = values && reply.proto() == Proto::Resp2;
    reply.array(if flat { count * 2 } else { count });
}

fn give_pair(pair: Pair<'_>, values: bool, reply: &mut Reply<'_>) {
    if values && reply.proto() == Proto::Resp3 {
        reply.array(2);
    }
    bulk(reply, pair.field);
    if values {
        bulk(reply, pair.value);
    }
}

/// Deletes all fields that have expired: chance must not meet one.
fn expire_fields(cx: &mut Context<'_>, key: &Key<'_>) {
    let (db, now) = (cx.db_index(), cx.expiry_now().0);
    let mut expired: Vec<Vec<u8>> = Vec::new();
    let mut emptied = false;
    if let Some(mut entry) = cx.db(db, key).entry(key) {
        if let Ok(mut hash) = HashMut::of(&mut entry) {
            hash.expire(now, usize::MAX, |field| expired.push(field.to_vec()));
            emptied = hash.view().is_empty();
        }
        entry.note_fields();
    }
    if expired.is_empty() {
        return;
    }
    cx.stats.totals.expired_subkeys.add(expired.len() as u64);
    for field in &expired {
        cx.effects.field_expired(db, key.bytes, field);
    }
    cx.effects.fields_expired(db, key.bytes, emptied);
    if emptied {
        drop_key(cx, key);
    }
}

/// The most fields that one HRANDFIELD repeats: a stock server accepts counts that it could never
/// finish to answer. A reply of so many needs gigabytes.
const REPEATED_MAX: i64 = 1 << 27;
