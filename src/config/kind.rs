//! What values a directive takes: from words to a [`Value`], or the reason why not. Invariant: the
//! reasons are Redis' own, to the byte, since they end in error replies.
//! Source: replies of Redis 8.0.6 to CONFIG SET.

use std::borrow::Cow;

use crate::base::number::{parse_f64, parse_i64, parse_memory};

use super::choices::{Choice, ShutdownFlags};
use super::value::{BufferLimit, ClientClass, Endpoint, NotifyFlags, SavePoint, Value};
use crate::base::words::c_integer;

/// What values a directive takes.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// `yes` or `no`, in any case.
    Bool,
    /// A number without a unit, bounds included.
    Int {
        /// Least value.
        min: i64,
        /// Greatest value.
        max: i64,
    },
    /// As [`Kind::Int`] from 0, and the empty string is 0.
    IntOrEmpty {
        /// Greatest value.
        max: i64,
    },
    /// Bytes with an optional unit (`1gb`), bounds included.
    Memory {
        /// Least value.
        min: u64,
        /// Greatest value.
        max: u64,
    },
    /// As [`Kind::Memory`], or -1 for no limit.
    MemoryOrUnlimited,
    /// Bytes with an optional unit, or up to `100%`.
    MemoryOrPercent,
    /// A file mode in octal, at most `777`.
    FileMode,
    /// One word of a list.
    Choice(&'static [Choice]),
    /// Several words of a list, as bits.
    Flags(&'static [Choice]),
    /// Any bytes. Not written to a file when empty.
    OptionalText,
    /// Any bytes; the empty string is a value like any other.
    Text,
    /// Up to [`ADDRESSES_MAX`] addresses.
    Addresses,
    /// A directory; it is entered when it is set.
    Directory,
    /// `save`: pairs of seconds and changes.
    Save,
    /// `client-output-buffer-limit`: class, hard limit, soft limit, seconds; any number of times.
    BufferLimits,
    /// `oom-score-adj-values`: three numbers.
    OomScores,
    /// `notify-keyspace-events`: letters.
    Notify,
    /// `latency-tracking-info-percentiles`: numbers from 0 to 100.
    Percentiles,
    /// `replicaof`: host and port, or `no one`.
    ReplicaOf,
}

/// Why a value was refused; follows `... - ` in the reply to CONFIG SET.
pub type Reason = Cow<'static, str>;

/// As many as Redis takes for `bind`.
pub const ADDRESSES_MAX: usize = 16;

impl Kind {
    /// Whether one directive may have any number of words. The others have exactly one.
    pub fn takes_many(self) -> bool {
        match self {
            Kind::Flags(_)
            | Kind::Addresses
            | Kind::Save
            | Kind::BufferLimits
            | Kind::OomScores
            | Kind::Percentiles
            | Kind::ReplicaOf => true,
            Kind::Bool
            | Kind::Int { .. }
            | Kind::IntOrEmpty { .. }
            | Kind::Memory { .. }
            | Kind::MemoryOrUnlimited
            | Kind::MemoryOrPercent
            | Kind::FileMode
            | Kind::Choice(_)
            | Kind::OptionalText
            | Kind::Text
            | Kind::Directory
            | Kind::Notify => false,
        }
    }

    /// What the kinds whose words add to a value start from; the others do not look at it.
    pub(super) fn empty(self) -> Value {
        if matches!(self, Kind::BufferLimits) {
            Value::BufferLimits([BufferLimit::default(); 3])
        } else {
            Value::Save(Vec::new())
        }
    }

    /// Reads the words of a directive. `current` is the value so far, for the kinds whose words
    /// add to it. A kind that takes one word must be given one.
    pub fn parse(self, words: &[&[u8]], current: &Value) -> Result<Value, Reason> {
        if !self.takes_many() && words.len() != 1 {
            return Err(WRONG_NUMBER.into());
        }
        match self {
            Kind::Bool => parse_bool(words[0]),
            Kind::Int { min, max } => parse_int(words[0], min, max),
            Kind::IntOrEmpty { .. } if words[0].is_empty() => Ok(Value::Int(0)),
            Kind::IntOrEmpty { max } => parse_int(words[0], 0, max),
            Kind::Memory { min, max } => {
                let bytes = parse_memory(words[0]).ok_or("argument must be a memory value")?;
                within(bytes, min, max).map(Value::Memory)
            }
            Kind::MemoryOrUnlimited => parse_memory_or_unlimited(words[0]),
            Kind::MemoryOrPercent => parse_memory_or_percent(words[0]),
            Kind::FileMode => parse_file_mode(words[0]),
            Kind::Choice(choices) => {
                Ok(Value::Choice(choices, value_of(choices, words[0]).ok_or(not_one_of(choices))?))
            }
            Kind::Flags(choices) => parse_flags(words, choices),
            Kind::OptionalText | Kind::Text | Kind::Directory => Ok(Value::Text(words[0].into())),
            Kind::Addresses => parse_addresses(words),
            Kind::Save => parse_save(words, current),
            Kind::BufferLimits => parse_buffer_limits(words, current),
            Kind::OomScores => parse_oom_scores(words),
            Kind::Notify => match NotifyFlags::parse(words[0]) {
                Some(flags) => Ok(Value::Notify(flags)),
                None => Err("Invalid event class character. Use 'Ag$lshzxeKEtmdn'.".into()),
            },
            Kind::Percentiles => parse_percentiles(words),
            Kind::ReplicaOf => parse_replicaof(words),
        }
    }
}

const WRONG_NUMBER: &str = "wrong number of arguments";

fn parse_bool(word: &[u8]) -> Result<Value, Reason> {
    if word.eq_ignore_ascii_case(b"yes") {
        Ok(Value::Bool(true))
    } else if word.eq_ignore_ascii_case(b"no") {
        Ok(Value::Bool(false))
    } else {
        Err("argument must be 'yes' or 'no'".into())
    }
}

fn parse_int(word: &[u8], min: i64, max: i64) -> Result<Value, Reason> {
    let number = parse_i64(word).ok_or("argument couldn't be parsed into an integer")?;
    within(number, min, max).map(Value::Int)
}

fn within<T: PartialOrd + std::fmt::Display>(number: T, min: T, max: T) -> Result<T, Reason> {
    if min <= number && number <= max {
        Ok(number)
    } else {
        Err(format!("argument must be between {min} and {max} inclusive").into())
    }
}

fn parse_memory_or_unlimited(word: &[u8]) -> Result<Value, Reason> {
    if word == b"-1" {
        return Ok(Value::Int(-1));
    }
    let bytes = parse_memory(word).ok_or("argument must be a memory value")?;
    match i64::try_from(bytes) {
        Ok(_) => Ok(Value::Memory(bytes)),
        Err(_) => Err(format!("argument must be between -1 and {} inclusive", i64::MAX).into()),
    }
}

fn parse_memory_or_percent(word: &[u8]) -> Result<Value, Reason> {
    if let Some(bytes) = parse_memory(word) {
        return within(bytes, 0, i64::MAX as u64).map(Value::Memory);
    }
    let percent = word.strip_suffix(b"%").and_then(parse_i64);
    match percent.and_then(|percent| u64::try_from(percent).ok()) {
        Some(percent @ 0..=100) => Ok(Value::Percent(percent)),
        Some(_) => Err("percentage argument must be less or equal to 100".into()),
        None => Err("argument must be a memory or percent value".into()),
    }
}

fn parse_file_mode(word: &[u8]) -> Result<Value, Reason> {
    let digits = std::str::from_utf8(if word.is_empty() { b"0" } else { word }).ok();
    let mode = digits.and_then(|digits| i64::from_str_radix(digits, 8).ok());
    let mode = mode.ok_or("argument couldn't be parsed as an octal number")?;
    match u32::try_from(mode) {
        Ok(mode @ 0..=0o777) => Ok(Value::Octal(mode)),
        _ => Err("argument must be between 0 and 777 inclusive".into()),
    }
}

fn value_of(choices: &[Choice], word: &[u8]) -> Option<u32> {
    let matches = |(known, _): &&Choice| known.as_bytes().eq_ignore_ascii_case(word);
    choices.iter().find(matches).map(|(_, value)| *value)
}

fn not_one_of(choices: &[Choice]) -> Reason {
    let words: Vec<_> = choices.iter().map(|(word, _)| *word).collect();
    format!("argument(s) must be one of the following: {}", words.join(", ")).into()
}

fn parse_flags(words: &[&[u8]], choices: &'static [Choice]) -> Result<Value, Reason> {
    if words.is_empty() {
        return Err(not_one_of(choices));
    }
    let mut bits = 0;
    for word in words {
        bits |= value_of(choices, word).ok_or_else(|| not_one_of(choices))?;
    }
    let flags = ShutdownFlags(bits);
    if flags.has(ShutdownFlags::SAVE) && flags.has(ShutdownFlags::NOSAVE) {
        return Err("shutdown options SAVE and NOSAVE can't be used simultaneously".into());
    }
    Ok(Value::Flags(choices, bits))
}

fn parse_addresses(words: &[&[u8]]) -> Result<Value, Reason> {
    match words {
        [b""] => Ok(Value::List(Vec::new())),
        words if words.len() > ADDRESSES_MAX => Err("Too many bind addresses specified.".into()),
        words => Ok(Value::List(words.iter().map(|word| word.to_vec()).collect())),
    }
}

/// Adds save points to those that `current` holds; a single empty word removes them all.
fn parse_save(words: &[&[u8]], current: &Value) -> Result<Value, Reason> {
    const INVALID: &str = "Invalid save parameters";
    if let [b""] = words {
        return Ok(Value::Save(Vec::new()));
    }
    let Value::Save(points) = current else { unreachable!("save holds save points") };
    let mut points = points.clone();
    let pairs = words.chunks_exact(2);
    if !pairs.remainder().is_empty() {
        return Err(INVALID.into());
    }
    for pair in pairs {
        match (c_integer(pair[0]), c_integer(pair[1])) {
            (Some(seconds @ 1..), Some(changes @ 0..)) => {
                points.push(SavePoint { seconds, changes });
            }
            _ => return Err(INVALID.into()),
        }
    }
    Ok(Value::Save(points))
}

/// Sets the limits of the classes that are named, and leaves the others.
fn parse_buffer_limits(words: &[&[u8]], current: &Value) -> Result<Value, Reason> {
    let Value::BufferLimits(mut limits) = *current else {
        unreachable!("client-output-buffer-limit holds limits")
    };
    let entries = words.chunks_exact(4);
    if !entries.remainder().is_empty() {
        return Err("Wrong number of arguments in buffer limit configuration.".into());
    }
    for entry in entries {
        let class = client_class(entry[0])
            .ok_or("Invalid client class specified in buffer limit configuration.")?;
        let limit = match (parse_memory(entry[1]), parse_memory(entry[2]), c_integer(entry[3])) {
            (Some(hard_bytes), Some(soft_bytes), Some(soft_seconds @ 0..)) => {
                BufferLimit { hard_bytes, soft_bytes, soft_seconds }
            }
            _ => {
                return Err("Error in hard, soft or soft_seconds setting in buffer limit \
                            configuration."
                    .into());
            }
        };
        limits[class as usize] = limit;
    }
    Ok(Value::BufferLimits(limits))
}

fn client_class(word: &[u8]) -> Option<ClientClass> {
    match word.to_ascii_lowercase().as_slice() {
        b"normal" => Some(ClientClass::Normal),
        b"slave" | b"replica" => Some(ClientClass::Replica),
        b"pubsub" => Some(ClientClass::Pubsub),
        _ => None,
    }
}

fn parse_oom_scores(words: &[&[u8]]) -> Result<Value, Reason> {
    let Ok::<[&[u8]; 3], _>(words) = words.try_into() else { return Err(WRONG_NUMBER.into()) };
    let mut scores = [0; 3];
    for (score, word) in scores.iter_mut().zip(words) {
        *score = match c_integer(word) {
            Some(value @ -2000..=2000) => value as i32,
            _ => {
                return Err("Invalid oom-score-adj-values, elements must be between -2000 and \
                            2000."
                    .into());
            }
        };
    }
    Ok(Value::OomScores(scores))
}

fn parse_percentiles(words: &[&[u8]]) -> Result<Value, Reason> {
    if let [b""] = words {
        return Ok(Value::Percentiles(Vec::new()));
    }
    let mut percentiles = Vec::with_capacity(words.len());
    for word in words {
        let number =
            parse_f64(word).ok_or("Invalid latency-tracking-info-percentiles parameters")?;
        if !(0.0..=100.0).contains(&number) {
            return Err("latency-tracking-info-percentiles parameters should sit between \
                        [0.0,100.0]"
                .into());
        }
        percentiles.push(number);
    }
    Ok(Value::Percentiles(percentiles))
}

fn parse_replicaof(words: &[&[u8]]) -> Result<Value, Reason> {
    let [host, port] = *words else { return Err(WRONG_NUMBER.into()) };
    if host.eq_ignore_ascii_case(b"no") && port.eq_ignore_ascii_case(b"one") {
        return Ok(Value::ReplicaOf(None));
    }
    match c_integer(port).and_then(|port| u16::try_from(port).ok()) {
        Some(port) => Ok(Value::ReplicaOf(Some(Endpoint { host: host.into(), port }))),
        None => Err("Invalid master port".into()),
    }
}
