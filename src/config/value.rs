//! The value of one directive, and how CONFIG GET and CONFIG REWRITE write it. Invariant: a value
//! was accepted by its [`Kind`](super::kind::Kind), so writing never fails.
//! Source: replies of Redis 8.0.6 to CONFIG GET.

use super::choices::Choice;
use crate::base::words::{push_quoted, push_word};

/// The value of one directive.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// `yes` or `no`.
    Bool(bool),
    /// A number without a unit.
    Int(i64),
    /// Bytes.
    Memory(u64),
    /// Percent, of `maxmemory` as a rule.
    Percent(u64),
    /// A file mode, read and written in octal.
    Octal(u32),
    /// One word of a list.
    Choice(&'static [Choice], u32),
    /// Several words of a list, as bits.
    Flags(&'static [Choice], u32),
    /// Any bytes.
    Text(Vec<u8>),
    /// Several words, such as addresses.
    List(Vec<Vec<u8>>),
    /// `save`
    Save(Vec<SavePoint>),
    /// `client-output-buffer-limit`, by [`ClientClass`].
    BufferLimits([BufferLimit; 3]),
    /// `oom-score-adj-values`: primary, replica, background work.
    OomScores([i32; 3]),
    /// `notify-keyspace-events`
    Notify(NotifyFlags),
    /// `latency-tracking-info-percentiles`
    Percentiles(Vec<f64>),
    /// `replicaof`
    ReplicaOf(Option<Endpoint>),
}

/// Save when `changes` keys have changed within `seconds`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SavePoint {
    /// At least 1.
    pub seconds: i64,
    /// At least 0.
    pub changes: i64,
}

/// The classes of clients that `client-output-buffer-limit` knows; indexes its array.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientClass {
    /// Ordinary clients, MONITOR included.
    Normal,
    /// Replicas.
    Replica,
    /// Clients in the pub/sub context.
    Pubsub,
}

/// When a client that does not read its replies is disconnected; 0 = never.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BufferLimit {
    /// Bytes of output at which it goes at once.
    pub hard_bytes: u64,
    /// Bytes of output which it may exceed for `soft_seconds`.
    pub soft_bytes: u64,
    /// See `soft_bytes`.
    pub soft_seconds: i64,
}

/// What all clients may hold together; 0 is no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientMemory {
    /// So many bytes.
    Bytes(u64),
    /// So much of `maxmemory`, in percent.
    Percent(u64),
}

/// A host and its port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Name or address.
    pub host: Vec<u8>,
    /// TCP port.
    pub port: u16,
}

impl Endpoint {
    /// True if it is written like the other one, in any case.
    pub fn is(&self, other: &Endpoint) -> bool {
        self.port == other.port && self.host.eq_ignore_ascii_case(&other.host)
    }
}

/// Which keyspace events are published. Each constant is one letter of the directive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NotifyFlags(u16);

impl NotifyFlags {
    /// `K`: to `__keyspace@<db>__:<key>`.
    pub const KEYSPACE: NotifyFlags = NotifyFlags(1);
    /// `E`: to `__keyevent@<db>__:<event>`.
    pub const KEYEVENT: NotifyFlags = NotifyFlags(1 << 1);
    /// `g`: commands of no type, such as DEL.
    pub const GENERIC: NotifyFlags = NotifyFlags(1 << 2);
    /// `$`: string commands.
    pub const STRING: NotifyFlags = NotifyFlags(1 << 3);
    /// `l`: list commands.
    pub const LIST: NotifyFlags = NotifyFlags(1 << 4);
    /// `s`: set commands.
    pub const SET: NotifyFlags = NotifyFlags(1 << 5);
    /// `h`: hash commands.
    pub const HASH: NotifyFlags = NotifyFlags(1 << 6);
    /// `z`: sorted set commands.
    pub const ZSET: NotifyFlags = NotifyFlags(1 << 7);
    /// `x`: a key expired.
    pub const EXPIRED: NotifyFlags = NotifyFlags(1 << 8);
    /// `e`: a key was evicted.
    pub const EVICTED: NotifyFlags = NotifyFlags(1 << 9);
    /// `t`: stream commands.
    pub const STREAM: NotifyFlags = NotifyFlags(1 << 10);
    /// `m`: a key was looked up and missed; not part of `A`.
    pub const KEY_MISS: NotifyFlags = NotifyFlags(1 << 11);
    /// `d`: module types.
    pub const MODULE: NotifyFlags = NotifyFlags(1 << 12);
    /// `n`: a key was created; not part of `A`.
    pub const NEW: NotifyFlags = NotifyFlags(1 << 13);
    /// `A`: every class of event but `m` and `n`.
    pub const ALL: NotifyFlags = NotifyFlags(0b1_0111_1111_1100);

    /// Letters of the classes, in the order in which CONFIG GET writes them.
    const LETTERS: &'static [(u8, NotifyFlags)] = &[
        (b'g', Self::GENERIC),
        (b'$', Self::STRING),
        (b'l', Self::LIST),
        (b's', Self::SET),
        (b'h', Self::HASH),
        (b'z', Self::ZSET),
        (b'x', Self::EXPIRED),
        (b'e', Self::EVICTED),
        (b't', Self::STREAM),
        (b'd', Self::MODULE),
        (b'n', Self::NEW),
    ];

    /// Letters that are written after the classes.
    const LAST_LETTERS: &'static [(u8, NotifyFlags)] =
        &[(b'K', Self::KEYSPACE), (b'E', Self::KEYEVENT), (b'm', Self::KEY_MISS)];

    /// The flags of both.
    #[must_use]
    pub fn with(self, other: NotifyFlags) -> NotifyFlags {
        NotifyFlags(self.0 | other.0)
    }

    /// Whether any flag of `other` is set.
    pub fn intersects(self, other: NotifyFlags) -> bool {
        self.0 & other.0 != 0
    }

    /// Whether every flag of `other` is set.
    pub fn contains(self, other: NotifyFlags) -> bool {
        self.0 & other.0 == other.0
    }

    /// Reads the letters; None at the first unknown one.
    pub fn parse(letters: &[u8]) -> Option<NotifyFlags> {
        let mut flags = 0;
        for &letter in letters {
            flags |= if letter == b'A' {
                Self::ALL.0
            } else {
                let mut known = Self::LETTERS.iter().chain(Self::LAST_LETTERS);
                known.find(|(known, _)| *known == letter)?.1.0
            };
        }
        Some(NotifyFlags(flags))
    }

    /// The letters, all classes together as `A`; `n` is then not written, as in Redis.
    pub fn letters(self) -> String {
        let mut letters = String::new();
        let mut push = |known: &[(u8, NotifyFlags)]| {
            for (letter, flag) in known {
                if self.contains(*flag) {
                    letters.push(char::from(*letter));
                }
            }
        };
        push(if self.contains(Self::ALL) { &[(b'A', Self::ALL)] } else { Self::LETTERS });
        push(Self::LAST_LETTERS);
        letters
    }
}

impl Value {
    /// The value as CONFIG GET answers it.
    pub fn render(&self) -> Vec<u8> {
        match self {
            Value::Bool(yes) => if *yes { "yes" } else { "no" }.into(),
            Value::Int(number) => number.to_string().into(),
            Value::Memory(bytes) => bytes.to_string().into(),
            Value::Percent(percent) => format!("{percent}%").into(),
            Value::Octal(mode) => format!("{mode:o}").into(),
            Value::Choice(words, value) => word_of(words, *value).into(),
            Value::Flags(words, bits) => words_of(words, *bits).into(),
            Value::Text(text) => text.clone(),
            Value::List(words) => words.join(&b' '),
            Value::Save(points) => join(points.iter().map(SavePoint::render)),
            Value::BufferLimits(limits) => join(CLASSES.iter().zip(limits).map(
                |((class, _), BufferLimit { hard_bytes, soft_bytes, soft_seconds })| {
                    format!("{class} {hard_bytes} {soft_bytes} {soft_seconds}")
                },
            )),
            Value::OomScores(scores) => join(scores.iter().map(ToString::to_string)),
            Value::Notify(flags) => flags.letters().into(),
            Value::Percentiles(percentiles) => join(percentiles.iter().copied().map(trimmed)),
            Value::ReplicaOf(None) => Vec::new(),
            Value::ReplicaOf(Some(Endpoint { host, port })) => {
                [host, format!(" {port}").as_bytes()].concat()
            }
        }
    }

    /// What follows the directive's name in a configuration file: one text for each line.
    pub(super) fn lines(&self) -> Vec<Vec<u8>> {
        match self {
            Value::Memory(bytes) => vec![memory_with_unit(*bytes).into()],
            Value::Text(text) => vec![quoted(text)],
            Value::Notify(flags) => vec![quoted(flags.letters().as_bytes())],
            Value::Save(points) if !points.is_empty() => {
                points.iter().map(|point| point.render().into()).collect()
            }
            Value::BufferLimits(limits) => CLASSES
                .iter()
                .zip(limits)
                .map(|((_, class), limit)| {
                    let hard = memory_with_unit(limit.hard_bytes);
                    let soft = memory_with_unit(limit.soft_bytes);
                    format!("{class} {hard} {soft} {}", limit.soft_seconds).into()
                })
                .collect(),
            Value::List(words) if !words.is_empty() => {
                let mut line = Vec::new();
                for word in words {
                    if !line.is_empty() {
                        line.push(b' ');
                    }
                    // Redis never quotes a list; a line break in an address would then become a
                    // line of the file.
                    push_word(&mut line, word);
                }
                vec![line]
            }
            Value::Save(_) | Value::List(_) => vec![quoted(b"")],
            Value::Percentiles(percentiles) if percentiles.is_empty() => vec![quoted(b"")],
            Value::Bool(_)
            | Value::Int(_)
            | Value::Percent(_)
            | Value::Octal(_)
            | Value::Choice(..)
            | Value::Flags(..)
            | Value::OomScores(_)
            | Value::Percentiles(_)
            | Value::ReplicaOf(_) => vec![self.render()],
        }
    }
}

impl SavePoint {
    fn render(&self) -> String {
        format!("{} {}", self.seconds, self.changes)
    }
}

/// Names of the client classes: for CONFIG GET, for CONFIG REWRITE.
const CLASSES: [(&str, &str); 3] =
    [("normal", "normal"), ("slave", "replica"), ("pubsub", "pubsub")];

fn word_of(words: &[Choice], value: u32) -> &'static str {
    words.iter().find(|(_, known)| *known == value).map_or("unknown", |(word, _)| word)
}

/// The words of the bits; the word of the whole value wins, so that 0 has one, too.
fn words_of(words: &[Choice], bits: u32) -> String {
    if let Some((word, _)) = words.iter().find(|(_, known)| *known == bits) {
        return (*word).to_owned();
    }
    let set = words.iter().filter(|(_, bit)| *bit != 0 && bits & bit == *bit);
    set.map(|(word, _)| *word).collect::<Vec<_>>().join(" ")
}

fn join(words: impl Iterator<Item = String>) -> Vec<u8> {
    words.collect::<Vec<_>>().join(" ").into()
}

/// Six decimals as `%f`, without the zeros at the end.
fn trimmed(number: f64) -> String {
    let text = format!("{number:.6}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// The largest unit that leaves no rest: `3gb`, `1536mb`, `1000`.
fn memory_with_unit(bytes: u64) -> String {
    const UNITS: [(u64, &str); 3] = [(1 << 30, "gb"), (1 << 20, "mb"), (1 << 10, "kb")];
    match UNITS.iter().find(|(unit, _)| bytes != 0 && bytes.is_multiple_of(*unit)) {
        Some((unit, name)) => format!("{}{name}", bytes / unit),
        None => bytes.to_string(),
    }
}

fn quoted(text: &[u8]) -> Vec<u8> {
    let mut line = Vec::with_capacity(text.len() + 2);
    push_quoted(&mut line, text);
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notify_flags_are_normalised() {
        // Recorded with CONFIG SET and CONFIG GET against Redis 8.0.6.
        let cases: &[(&str, &str)] = &[
            ("", ""),
            ("KEA", "AKE"),
            ("g$lshzxetdK", "AK"),
            ("xeE", "xeE"),
            ("nAE", "AE"),
            ("EKnmg", "gnKEm"),
        ];
        for (letters, expected) in cases {
            let flags = NotifyFlags::parse(letters.as_bytes()).expect("letters are known");
            assert_eq!(flags.letters(), *expected, "{letters}");
        }
        assert_eq!(NotifyFlags::parse(b"KEq"), None);
    }

    #[test]
    fn memory_is_written_with_the_largest_unit() {
        let cases = [
            (0, "0"),
            (1, "1"),
            (1024, "1kb"),
            (1536 << 20, "1536mb"),
            (3 << 30, "3gb"),
            (1000, "1000"),
            (u64::MAX, "18446744073709551615"),
        ];
        for (bytes, expected) in cases {
            assert_eq!(memory_with_unit(bytes), expected);
        }
    }

    #[test]
    fn percentiles_lose_their_zeros() {
        assert_eq!(
            Value::Percentiles(vec![0.0, 50.0, 99.9, 99.9999999]).render(),
            b"0 50 99.9 100"
        );
    }
}
