//! What the generator sends: command mixes composed once into batches, whose key digits are patched
//! before every send. Invariant: patching never changes a batch's length or its argument count.
//! A key is a prefix and 12 digits (`key:000000000042`). A value ends in the last digits of its key
//! after at least one `x`, so every reply can be checked, and no server stores it as an integer.

use crate::Result;
use crate::resp::{self, Reply};

/// Digits of a key's number.
const DIGITS: usize = 12;
/// Batches composed for a mix of several commands: enough that the mix is met closely.
const MIXED_BATCHES: usize = 64;
/// Keys drawn ahead for a Zipf distribution: drawing costs more than a server's operation.
const ZIPF_DRAWS: usize = 1 << 20;

/// One command of a mix.
#[derive(Debug, Clone, PartialEq)]
enum Command {
    Ping,
    Set,
    Get,
    Incr,
    Mget(usize),
    Mset(usize),
    /// Words, in which `__key__` and `__value__` stand for a key's digits and its value.
    Template(String),
}

/// Commands with their weights.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Mix(Vec<(Command, usize)>);

impl Mix {
    /// Parses `get`, `mget:10`, `get=9,set=1`, or `template:ZADD z 1 m__key__`.
    pub(crate) fn parse(text: &str) -> Result<Mix> {
        if let Some(words) = text.strip_prefix("template:") {
            if words.trim().is_empty() {
                return Err("a template needs a command".into());
            }
            return Ok(Mix(vec![(Command::Template(words.to_owned()), 1)]));
        }
        let mut commands = Vec::new();
        for item in text.split(',') {
            let (command, weight) = match item.split_once('=') {
                Some((command, weight)) => (command, weight.parse()?),
                None => (item, 1),
            };
            commands.push((Command::parse(command)?, weight));
        }
        if commands.iter().all(|(_, weight)| *weight == 0) {
            return Err(format!("mix {text:?} has no weight").into());
        }
        Ok(Mix(commands))
    }
}

impl Command {
    fn parse(text: &str) -> Result<Command> {
        let (name, count) = match text.split_once(':') {
            Some((name, count)) => (name, Some(count.parse::<usize>()?)),
            None => (text, None),
        };
        match (name, count) {
            ("ping", None) => Ok(Command::Ping),
            ("set", None) => Ok(Command::Set),
            ("get", None) => Ok(Command::Get),
            ("incr", None) => Ok(Command::Incr),
            ("mget", Some(n @ 1..)) => Ok(Command::Mget(n)),
            ("mset", Some(n @ 1..)) => Ok(Command::Mset(n)),
            _ => Err(format!("unknown command {text:?} in a mix").into()),
        }
    }

    fn append(&self, batch: &mut Batch, value_bytes: usize) {
        let key = || Arg::key(b"key:");
        let value = || Arg::value(value_bytes);
        let (argv, expect) = match self {
            Command::Ping => (vec![Arg::word("PING")], Expect::Pong),
            Command::Set => (vec![Arg::word("SET"), key(), value()], Expect::Ok),
            Command::Get => (vec![Arg::word("GET"), key()], Expect::Value),
            Command::Incr => (vec![Arg::word("INCR"), Arg::key(b"ctr:")], Expect::Integer),
            Command::Mget(n) => {
                let mut argv = vec![Arg::word("MGET")];
                argv.extend((0..*n).map(|_| key()));
                (argv, Expect::Values(*n))
            }
            Command::Mset(n) => {
                let mut argv = vec![Arg::word("MSET")];
                argv.extend((0..*n).flat_map(|_| [key(), value()]));
                (argv, Expect::Ok)
            }
            Command::Template(words) => {
                let argv: Vec<Arg> =
                    words.split_whitespace().map(|word| Arg::template(word, value_bytes)).collect();
                let keys = argv.iter().filter(|arg| arg.key_at.is_some()).count();
                (argv, Expect::Anything(keys))
            }
        };
        batch.push(&argv, expect, value_bytes);
    }
}

/// One argument, and where in it the digits of a key or a value have their place.
struct Arg {
    bytes: Vec<u8>,
    key_at: Option<usize>,
    is_value: bool,
}

impl Arg {
    fn word(text: &str) -> Arg {
        Arg { bytes: text.as_bytes().to_vec(), key_at: None, is_value: false }
    }

    fn key(prefix: &[u8]) -> Arg {
        let mut bytes = prefix.to_vec();
        bytes.extend_from_slice(&[b'0'; DIGITS]);
        Arg { bytes, key_at: Some(prefix.len()), is_value: false }
    }

    fn value(len: usize) -> Arg {
        Arg { bytes: vec![b'x'; len], key_at: None, is_value: true }
    }

    fn template(word: &str, value_bytes: usize) -> Arg {
        if word == "__value__" {
            return Arg::value(value_bytes);
        }
        let key_at = word.find("__key__");
        let bytes = word.replacen("__key__", "000000000000", 1).into_bytes();
        Arg { bytes, key_at, is_value: false }
    }
}

/// The reply that a command must get.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Expect {
    Pong,
    Ok,
    Integer,
    /// The value of the command's key.
    Value,
    /// The values of as many keys.
    Values(usize),
    /// Any reply but an error; the command had this many keys.
    Anything(usize),
}

/// Where a key's digits go, and where in the value that follows it they go again.
#[derive(Debug, Clone, Copy)]
struct Patch {
    key_at: usize,
    value_at: Option<usize>,
}

/// One pipeline of requests, sent as a whole.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    bytes: Vec<u8>,
    patches: Vec<Patch>,
    expects: Vec<(Expect, usize)>,
}

impl Batch {
    fn push(&mut self, argv: &[Arg], expect: Expect, value_bytes: usize) {
        let first = self.patches.len();
        let plain: Vec<&[u8]> = argv.iter().map(|arg| arg.bytes.as_slice()).collect();
        resp::write_command(&mut self.bytes, &plain);
        // Walk back over what was written: each argument ends with its own line end.
        let mut end = self.bytes.len();
        let mut value_at = None;
        for arg in argv.iter().rev() {
            let start = end - 2 - arg.bytes.len();
            if arg.is_value {
                value_at = Some(end - 2 - value_digits(value_bytes));
            }
            if let Some(at) = arg.key_at {
                self.patches.push(Patch { key_at: start + at, value_at: value_at.take() });
            }
            end = start - format!("${}\r\n", arg.bytes.len()).len();
        }
        self.patches[first..].reverse();
        self.expects.push((expect, self.patches.len() - first));
    }

    /// How many replies the batch gets.
    pub(crate) fn replies(&self) -> u64 {
        self.expects.len() as u64
    }

    /// Writes new keys into the requests, and gives the bytes to send.
    pub(crate) fn patch(&mut self, value_bytes: usize, mut key: impl FnMut() -> u64) -> &[u8] {
        let width = value_digits(value_bytes);
        let mut digits = [b'0'; DIGITS];
        for patch in &self.patches {
            write_digits(&mut digits, key());
            self.bytes[patch.key_at..patch.key_at + DIGITS].copy_from_slice(&digits);
            if let Some(at) = patch.value_at {
                self.bytes[at..at + width].copy_from_slice(&digits[DIGITS - width..]);
            }
        }
        &self.bytes
    }

    /// Checks a batch's replies, whole and in order, against the keys that were patched in.
    pub(crate) fn verify(&self, value_bytes: usize, keys: &[u64], received: &[u8]) -> Result<()> {
        let (mut at, mut keys) = (0, keys.iter().copied());
        for &(expect, key_count) in &self.expects {
            let Some((reply, used)) = resp::parse(&received[at..])? else {
                return Err("a reply is missing".into());
            };
            at += used;
            let asked: Vec<u64> = keys.by_ref().take(key_count).collect();
            let right = match expect {
                Expect::Pong => reply == Reply::Status(b"PONG".to_vec()),
                Expect::Ok => reply == Reply::Status(b"OK".to_vec()),
                Expect::Integer => matches!(reply, Reply::Integer(_)),
                Expect::Value => reply == value_reply(value_bytes, asked[0]),
                Expect::Values(_) => {
                    let values = asked.iter().map(|&key| value_reply(value_bytes, key));
                    reply == Reply::Array(Some(values.collect()))
                }
                Expect::Anything(_) => !matches!(reply, Reply::Error(_)),
            };
            if !right {
                return Err(format!("{expect:?} of keys {asked:?} was answered {reply:?}").into());
            }
        }
        if at == received.len() { Ok(()) } else { Err("more bytes came than replies".into()) }
    }
}

/// The batches of one point of a scenario, with the source of their keys.
pub(crate) struct Workload {
    batches: Vec<Batch>,
    next: usize,
    keys: Keys,
    value_bytes: usize,
}

impl Workload {
    /// Composes batches of `pipeline` requests each.
    pub(crate) fn new(mix: &Mix, pipeline: usize, value_bytes: usize, keys: Keys) -> Workload {
        let total: usize = mix.0.iter().map(|(_, weight)| weight).sum();
        let mut chance = Random::new(total as u64);
        let count = if mix.0.len() == 1 { 1 } else { MIXED_BATCHES };
        let mut batches = Vec::with_capacity(count);
        for _ in 0..count {
            let mut batch = Batch::default();
            for _ in 0..pipeline {
                let mut draw = chance.below(total as u64) as usize;
                let chosen = mix.0.iter().find(|(_, weight)| {
                    let hit = draw < *weight;
                    draw = draw.wrapping_sub(*weight);
                    hit
                });
                let (command, _) = chosen.expect("the weights add up to the total");
                command.append(&mut batch, value_bytes);
            }
            batches.push(batch);
        }
        Workload { batches, next: 0, keys, value_bytes }
    }

    /// The next batch to send: its index, its bytes with fresh keys, and how many replies it gets.
    /// The keys are also put into `used` if the replies are to be verified.
    pub(crate) fn next(&mut self, used: Option<&mut Vec<u64>>) -> (usize, &[u8], u64) {
        let index = self.next;
        self.next = if index + 1 == self.batches.len() { 0 } else { index + 1 };
        let batch = &mut self.batches[index];
        let replies = batch.replies();
        let keys = &mut self.keys;
        let bytes = match used {
            None => batch.patch(self.value_bytes, || keys.draw()),
            Some(used) => {
                used.clear();
                batch.patch(self.value_bytes, || {
                    let key = keys.draw();
                    used.push(key);
                    key
                })
            }
        };
        (index, bytes, replies)
    }

    /// Checks the replies to batch `index`, sent with these keys.
    pub(crate) fn verify(&self, index: usize, keys: &[u64], received: &[u8]) -> Result<()> {
        self.batches[index].verify(self.value_bytes, keys, received)
    }

    /// Replaces the source of keys.
    pub(crate) fn set_keys(&mut self, keys: Keys) {
        self.keys = keys;
    }
}

/// Where key numbers come from.
pub(crate) enum Keys {
    /// Every key equally likely.
    Uniform { below: u64, random: Random },
    /// Drawn ahead, walked in a circle.
    Drawn { draws: Vec<u32>, at: usize },
    /// One after the other, the last one again and again.
    Sequence { next: u64, last: u64 },
}

impl Keys {
    /// Parses `uniform` or `zipf:THETA`, THETA between 0 and 1.
    pub(crate) fn parse(distribution: &str, below: u64, seed: u64) -> Result<Keys> {
        if below == 0 || below > u64::from(u32::MAX) {
            return Err(format!("{below} keys: 1 to {} can be drawn", u32::MAX).into());
        }
        if distribution == "uniform" {
            return Ok(Keys::Uniform { below, random: Random::new(seed) });
        }
        match distribution.strip_prefix("zipf:").map(str::parse::<f64>) {
            Some(Ok(theta)) if theta > 0.0 && theta < 1.0 => Ok(Keys::zipf(theta, below, seed)),
            _ => Err(format!("unknown distribution {distribution:?}").into()),
        }
    }

    /// Keys `start` to `end - 1` in order.
    pub(crate) fn sequence(start: u64, end: u64) -> Keys {
        Keys::Sequence { next: start, last: end.saturating_sub(1) }
    }

    /// Gray et al., "Quickly generating billion-record synthetic databases", SIGMOD 1994.
    fn zipf(theta: f64, below: u64, seed: u64) -> Keys {
        let zeta = |n: u64| (1..=n).map(|i| (i as f64).powf(-theta)).sum::<f64>();
        let (n, zeta_n) = (below as f64, zeta(below));
        let alpha = 1.0 / (1.0 - theta);
        let eta = (1.0 - (2.0 / n).powf(1.0 - theta)) / (1.0 - zeta(2) / zeta_n);
        let mut random = Random::new(seed);
        let draw = |_| {
            let u = random.unit();
            let rank = if u * zeta_n < 1.0 {
                0
            } else if u * zeta_n < 1.0 + 0.5f64.powf(theta) {
                1
            } else {
                (n * (eta * u - eta + 1.0).powf(alpha)) as u64
            };
            // The popular keys are spread over the keyspace, as they are in life.
            (rank.min(below - 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) % below) as u32
        };
        Keys::Drawn { draws: (0..ZIPF_DRAWS).map(draw).collect(), at: 0 }
    }

    #[inline]
    /// The number of the next key.
    pub(crate) fn draw(&mut self) -> u64 {
        match self {
            Keys::Uniform { below, random } => random.below(*below),
            Keys::Drawn { draws, at } => {
                *at = if *at + 1 == draws.len() { 0 } else { *at + 1 };
                u64::from(draws[*at])
            }
            Keys::Sequence { next, last } => {
                let key = *next;
                *next = (key + 1).min(*last);
                key
            }
        }
    }
}

/// xorshift64* (Vigna 2016): cheap, and the same from run to run.
pub(crate) struct Random(u64);

impl Random {
    /// A generator that depends on `seed` only.
    pub(crate) fn new(seed: u64) -> Random {
        Random((seed ^ 0x9e37_79b9_7f4a_7c15).max(1))
    }

    #[inline]
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `limit`, which is at most 2^32.
    #[inline]
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        ((self.next() >> 32) * limit) >> 32
    }

    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// The key of this number.
pub(crate) fn key_of(key: u64) -> String {
    format!("key:{key:012}")
}

/// The value that a key has after a fill or a SET of the generator.
pub(crate) fn value_of(key: u64, value_bytes: usize) -> Vec<u8> {
    let mut digits = [b'0'; DIGITS];
    write_digits(&mut digits, key);
    let width = value_digits(value_bytes);
    let mut value = vec![b'x'; value_bytes];
    value[value_bytes - width..].copy_from_slice(&digits[DIGITS - width..]);
    value
}

fn value_reply(value_bytes: usize, key: u64) -> Reply {
    Reply::Bulk(Some(value_of(key, value_bytes)))
}

/// How many digits of its key a value of this size ends in.
fn value_digits(value_bytes: usize) -> usize {
    value_bytes.saturating_sub(1).min(DIGITS)
}

/// Two digits a step, and none for leading zeroes: most keys are short.
#[inline]
fn write_digits(digits: &mut [u8; DIGITS], mut number: u64) {
    *digits = [b'0'; DIGITS];
    for pair in digits.chunks_exact_mut(2).rev() {
        if number == 0 {
            return;
        }
        let low = (number % 100) as u8;
        number /= 100;
        pair[0] = b'0' + low / 10;
        pair[1] = b'0' + low % 10;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patched(mix: &str, pipeline: usize, value_bytes: usize, start: u64) -> String {
        let mix = Mix::parse(mix).unwrap();
        let keys = Keys::sequence(start, start + 100);
        let mut workload = Workload::new(&mix, pipeline, value_bytes, keys);
        String::from_utf8(workload.next(None).1.to_vec()).unwrap()
    }

    #[test]
    fn requests_carry_their_keys_and_values() {
        assert_eq!(
            patched("set", 2, 3, 41),
            "*3\r\n$3\r\nSET\r\n$16\r\nkey:000000000041\r\n$3\r\nx41\r\n\
             *3\r\n$3\r\nSET\r\n$16\r\nkey:000000000042\r\n$3\r\nx42\r\n"
        );
        assert_eq!(
            patched("mset:2", 1, 14, 7),
            "*5\r\n$4\r\nMSET\r\n$16\r\nkey:000000000007\r\n$14\r\nxx000000000007\r\n\
             $16\r\nkey:000000000008\r\n$14\r\nxx000000000008\r\n"
        );
        assert_eq!(
            patched("template:ZADD z 1 m__key__", 1, 3, 5),
            "*4\r\n$4\r\nZADD\r\n$1\r\nz\r\n$1\r\n1\r\n$13\r\nm000000000005\r\n"
        );
    }

    #[test]
    fn wrong_replies_are_found() {
        let mix = Mix::parse("get").unwrap();
        let mut workload = Workload::new(&mix, 2, 3, Keys::sequence(1, 9));
        let mut keys = Vec::new();
        let index = workload.next(Some(&mut keys)).0;
        let check = |received: &[u8]| workload.verify(index, &keys, received).is_ok();
        assert!(check(b"$3\r\nx01\r\n$3\r\nx02\r\n"));
        assert!(!check(b"$3\r\nx02\r\n$3\r\nx01\r\n"), "order");
        assert!(!check(b"$3\r\nx01\r\n$-1\r\n"), "missing key");
        assert!(!check(b"$3\r\nx01\r\n"), "missing reply");
        assert!(!check(b"$3\r\nx01\r\n$3\r\nx02\r\n+OK\r\n"), "reply too many");
    }

    #[test]
    fn mixes_keep_their_weights() {
        let mix = Mix::parse("get=9,set=1").unwrap();
        let workload = Workload::new(&mix, 100, 3, Keys::sequence(0, 1));
        let all = workload.batches.iter().flat_map(|batch| &batch.expects);
        let gets = all.filter(|(expect, _)| *expect == Expect::Value).count();
        assert!((5500..6000).contains(&gets), "{gets} of 6400");
    }

    #[test]
    fn mixes_that_mean_nothing_are_refused() {
        for text in ["", "got", "mget", "mget:0", "get=0", "get=x", "template: "] {
            assert!(Mix::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn keys_stay_in_their_space() {
        for distribution in ["uniform", "zipf:0.99"] {
            let mut keys = Keys::parse(distribution, 1000, 1).unwrap();
            let mut seen = vec![0u32; 1000];
            for _ in 0..100_000 {
                seen[keys.draw() as usize] += 1;
            }
            let most = *seen.iter().max().unwrap();
            assert_eq!(most > 5000, distribution != "uniform", "{distribution}: {most}");
        }
        assert!(Keys::parse("zipf:2", 10, 1).is_err());
        assert!(Keys::parse("uniform", 0, 1).is_err());
    }
}
