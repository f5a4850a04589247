//! A keyspace of a few strings, as one thread would serve it: what each command of a history does
//! and answers.
//!
//! Invariant: pure; a reply is the exact bytes of RESP2. Source: the command reference of Redis.

use ironring::base::rng::Rng;

/// The keys' values, by number.
pub(crate) type State = Vec<Option<Vec<u8>>>;

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
}

impl Command {
    /// A command on `keys` keys by chance; what it writes is `unique`, so that every state tells who
    /// made it.
    pub(crate) fn random(rng: &mut Rng, keys: usize, unique: u64) -> Command {
        let mut order: Vec<usize> = (0..keys).collect();
        for at in 0..keys {
            order.swap(at, at + rng.below((keys - at) as u64) as usize);
        }
        let (one, other) = (order[0], order[1]);
        let several = order[..2 + rng.below(keys as u64 - 1) as usize].to_vec();
        let value = unique.to_string().into_bytes();
        match rng.below(20) {
            0..3 => Command::Get(one),
            3..7 => Command::Set(one, value),
            7..11 => Command::Mget(several),
            11..14 => Command::Mset(several.into_iter().map(|key| (key, value.clone())).collect()),
            14 => Command::Getdel(one),
            15 => Command::Del(several),
            16 => Command::Rename(one, other),
            17 => Command::Copy(one, other),
            18 => Command::Append(one, value),
            _ => Command::Incr(one),
        }
    }

    /// The words to send; `names` are those of the keys.
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
        };
        std::iter::once(command.as_bytes().to_vec()).chain(rest).collect()
    }

    /// Runs on `state`; the reply.
    pub(crate) fn apply(&self, state: &mut State) -> Vec<u8> {
        match self {
            Command::Get(key) => bulk(&state[*key]),
            Command::Set(key, value) => {
                state[*key] = Some(value.clone());
                b"+OK\r\n".to_vec()
            }
            Command::Mget(keys) => {
                let mut reply = format!("*{}\r\n", keys.len()).into_bytes();
                keys.iter().for_each(|key| reply.extend(bulk(&state[*key])));
                reply
            }
            Command::Mset(pairs) => {
                for (key, value) in pairs {
                    state[*key] = Some(value.clone());
                }
                b"+OK\r\n".to_vec()
            }
            Command::Getdel(key) => bulk(&state[*key].take()),
            Command::Del(keys) => {
                let count = keys.iter().filter(|key| state[**key].take().is_some()).count();
                integer(count as i64)
            }
            Command::Rename(source, target) => match state[*source].take() {
                None => b"-ERR no such key\r\n".to_vec(),
                value => {
                    state[*target] = value;
                    b"+OK\r\n".to_vec()
                }
            },
            Command::Copy(source, target) => {
                let copies = state[*source].is_some() && state[*target].is_none();
                if copies {
                    state[*target] = state[*source].clone();
                }
                integer(copies.into())
            }
            Command::Append(key, value) => {
                let string = state[*key].get_or_insert_default();
                string.extend_from_slice(value);
                integer(string.len() as i64)
            }
            Command::Incr(key) => {
                let old = state[*key].as_deref().unwrap_or(b"0");
                let number =
                    std::str::from_utf8(old).ok().and_then(|text| text.parse::<i64>().ok());
                match number.and_then(|number| number.checked_add(1)) {
                    None if number.is_some() => {
                        b"-ERR increment or decrement would overflow\r\n".to_vec()
                    }
                    None => b"-ERR value is not an integer or out of range\r\n".to_vec(),
                    Some(next) => {
                        state[*key] = Some(next.to_string().into_bytes());
                        integer(next)
                    }
                }
            }
        }
    }
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
