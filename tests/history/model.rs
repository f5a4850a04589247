//! A keyspace of a few strings, as one thread would serve it: what each command of a history does
//! and answers.
//!
//! Invariant: pure; a reply is the exact bytes of RESP2. Source: the command reference of Redis.

use std::collections::BTreeMap;

use ironring::base::rng::Rng;

use super::support::client::encode;

/// The keyspace, and who watches what of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct State {
    /// The keys' values, by number.
    pub(crate) values: Vec<Option<Vec<u8>>>,
    /// By client: the keys that it watches, and whether one of them has changed since.
    watched: BTreeMap<usize, (Vec<usize>, bool)>,
}

impl State {
    /// So many keys, none of which exists.
    pub(crate) fn new(keys: usize) -> State {
        State { values: vec![None; keys], watched: BTreeMap::new() }
    }

    fn write(&mut self, key: usize, value: Option<Vec<u8>>) {
        self.values[key] = value;
        let watchers = self.watched.values_mut().filter(|(keys, _)| keys.contains(&key));
        watchers.for_each(|(_, changed)| *changed = true);
    }

    /// Deletes a key; what it held.
    fn take(&mut self, key: usize) -> Option<Vec<u8>> {
        let value = self.values[key].clone();
        if value.is_some() {
            self.write(key, None);
        }
        value
    }
}

/// One command on keys that are named by their number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Command {
    Get(usize),
    Set(usize, Vec<u8>),
    Mget(Vec<usize>),
    Mset(Vec<(usize, Vec<u8>)>),
    Getdel(usize),
    Del(Vec<usize>),
    Rename(usize, usize),
    Copy(usize, usize),
    Append(usize, Vec<u8>),
    Incr(usize),
    /// A script exchanges the values of two keys, which it is given as keys or, if not declared, as
    /// arguments; its reply is what they were.
    Exchange(usize, usize, bool),
    /// A client begins to watch keys.
    Watch(usize, Vec<usize>),
    /// MULTI, these commands, and EXEC, whose reply is the one that counts; of a client.
    Exec(usize, Vec<Command>),
}

impl Command {
    /// What a client sends next, on `keys` keys, by chance; what it writes is `unique`, so that every
    /// state tells who made it.
    pub(crate) fn random(rng: &mut Rng, keys: usize, client: usize, unique: u64) -> Command {
        match rng.below(10) {
            0 => {
                let one = rng.below(keys as u64) as usize;
                let other = rng.below(keys as u64) as usize;
                Command::Watch(client, vec![one, other])
            }
            1..3 => {
                let count = 1 + rng.below(4);
                let commands = (0..count).map(|_| Command::plain(rng, keys, unique));
                Command::Exec(client, commands.collect())
            }
            _ => Command::plain(rng, keys, unique),
        }
    }

    /// One command on its own.
    pub(crate) fn plain(rng: &mut Rng, keys: usize, unique: u64) -> Command {
        let mut order: Vec<usize> = (0..keys).collect();
        for at in 0..keys {
            order.swap(at, at + rng.below((keys - at) as u64) as usize);
        }
        let (one, other) = (order[0], order[1]);
        let several = order[..2 + rng.below(keys as u64 - 1) as usize].to_vec();
        let value = unique.to_string().into_bytes();
        match rng.below(22) {
            0..3 => Command::Get(one),
            3..7 => Command::Set(one, value),
            7..11 => Command::Mget(several),
            11..14 => Command::Mset(several.into_iter().map(|key| (key, value.clone())).collect()),
            14 => Command::Getdel(one),
            15 => Command::Del(several),
            16 => Command::Rename(one, other),
            17 => Command::Copy(one, other),
            18 => Command::Append(one, value),
            19..21 => Command::Exchange(one, other, rng.below(2) == 0),
            _ => Command::Incr(one),
        }
    }

    /// The requests to send, each of which has a reply: the last one is the command's. `names` are
    /// those of the keys.
    pub(crate) fn requests(&self, names: &[Vec<u8>]) -> Vec<Vec<u8>> {
        let Command::Exec(_, commands) = self else { return vec![encode(&self.words(names))] };
        let queued = commands.iter().map(|one| encode(&one.words(names)));
        std::iter::once(encode(&["MULTI"])).chain(queued).chain([encode(&["EXEC"])]).collect()
    }

    /// The words of a plain command.
    pub(crate) fn words(&self, names: &[Vec<u8>]) -> Vec<Vec<u8>> {
        let name = |key: &usize| names[*key].clone();
        let (command, rest): (&str, Vec<Vec<u8>>) = match self {
            Command::Get(key) => ("GET", vec![name(key)]),
            Command::Set(key, value) => ("SET", vec![name(key), value.clone()]),
            Command::Mget(keys) => ("MGET", keys.iter().map(name).collect()),
            Command::Mset(pairs) => {
                ("MSET", pairs.iter().flat_map(|(key, value)| [name(key), value.clone()]).collect())
            }
            Command::Getdel(key) => ("GETDEL", vec![name(key)]),
            Command::Del(keys) => ("DEL", keys.iter().map(name).collect()),
            Command::Rename(source, target) => ("RENAME", vec![name(source), name(target)]),
            Command::Copy(source, target) => ("COPY", vec![name(source), name(target)]),
            Command::Append(key, value) => ("APPEND", vec![name(key), value.clone()]),
            Command::Incr(key) => ("INCR", vec![name(key)]),
            Command::Exchange(one, other, true) => {
                ("EVAL", vec![exchange("KEYS"), b"2".to_vec(), name(one), name(other)])
            }
            Command::Exchange(one, other, false) => {
                ("EVAL", vec![exchange("ARGV"), b"0".to_vec(), name(one), name(other)])
            }
            Command::Watch(_, keys) => ("WATCH", keys.iter().map(name).collect()),
            Command::Exec(..) => unreachable!("a transaction is several requests"),
        };
        std::iter::once(command.as_bytes().to_vec()).chain(rest).collect()
    }

    /// Runs on `state`; the reply.
    pub(crate) fn apply(&self, state: &mut State) -> Vec<u8> {
        match self {
            Command::Get(key) => bulk(&state.values[*key]),
            Command::Set(key, value) => {
                state.write(*key, Some(value.clone()));
                b"+OK\r\n".to_vec()
            }
            Command::Mget(keys) => {
                let mut reply = format!("*{}\r\n", keys.len()).into_bytes();
                keys.iter().for_each(|key| reply.extend(bulk(&state.values[*key])));
                reply
            }
            Command::Mset(pairs) => {
                for (key, value) in pairs {
                    state.write(*key, Some(value.clone()));
                }
                b"+OK\r\n".to_vec()
            }
            Command::Getdel(key) => bulk(&state.take(*key)),
            Command::Del(keys) => {
                let count = keys.iter().filter(|key| state.take(**key).is_some()).count();
                integer(count as i64)
            }
            Command::Rename(source, target) => match state.take(*source) {
                None => b"-ERR no such key\r\n".to_vec(),
                value => {
                    state.write(*target, value);
                    b"+OK\r\n".to_vec()
                }
            },
            Command::Copy(source, target) => {
                let copies = state.values[*source].is_some() && state.values[*target].is_none();
                if copies {
                    state.write(*target, state.values[*source].clone());
                }
                integer(copies.into())
            }
            Command::Append(key, value) => {
                let mut string = state.values[*key].clone().unwrap_or_default();
                string.extend_from_slice(value);
                let len = string.len();
                state.write(*key, Some(string));
                integer(len as i64)
            }
            Command::Incr(key) => {
                let old = state.values[*key].as_deref().unwrap_or(b"0");
                let number =
                    std::str::from_utf8(old).ok().and_then(|text| text.parse::<i64>().ok());
                match number.and_then(|number| number.checked_add(1)) {
                    None if number.is_some() => {
                        b"-ERR increment or decrement would overflow\r\n".to_vec()
                    }
                    None => b"-ERR value is not an integer or out of range\r\n".to_vec(),
                    Some(next) => {
                        state.write(*key, Some(next.to_string().into_bytes()));
                        integer(next)
                    }
                }
            }
            Command::Exchange(one, other, _) => {
                let (first, second) = (state.values[*one].clone(), state.values[*other].clone());
                for (key, value) in [(*one, &second), (*other, &first)] {
                    if value.is_some() {
                        state.write(key, value.clone());
                    } else {
                        state.take(key);
                    }
                }
                [b"*2\r\n".to_vec(), bulk(&first), bulk(&second)].concat()
            }
            Command::Watch(client, keys) => {
                let (watched, _) = state.watched.entry(*client).or_default();
                watched.extend(keys);
                b"+OK\r\n".to_vec()
            }
            Command::Exec(client, commands) => {
                if state.watched.remove(client).is_some_and(|(_, changed)| changed) {
                    return b"*-1\r\n".to_vec();
                }
                let mut reply = format!("*{}\r\n", commands.len()).into_bytes();
                commands.iter().for_each(|one| reply.extend(one.apply(state)));
                reply
            }
        }
    }
}

/// A script that exchanges the values of the first two words of `list`.
fn exchange(list: &str) -> Vec<u8> {
    let script = "local one, other = redis.call('GET', LIST[1]), redis.call('GET', LIST[2])
        if other then redis.call('SET', LIST[1], other) else redis.call('DEL', LIST[1]) end
        if one then redis.call('SET', LIST[2], one) else redis.call('DEL', LIST[2]) end
        return {one, other}";
    script.replace("LIST", list).into_bytes()
}

fn bulk(value: &Option<Vec<u8>>) -> Vec<u8> {
    match value {
        None => b"$-1\r\n".to_vec(),
        Some(value) => [format!("${}\r\n", value.len()).as_bytes(), value, b"\r\n"].concat(),
    }
}

fn integer(value: i64) -> Vec<u8> {
    format!(":{value}\r\n").into_bytes()
}
