//! CONFIG SET: all pairs or none. Invariant: the reply is Redis' to the byte, and the first thing
//! that is wrong decides it. Source: replies of Redis 8.0.6.

use std::sync::Arc;

use super::directives::{self, Directive, Found};
use super::kind::{Kind, Reason};
use super::settings::{Config, Values};
use super::value::Value;
use crate::base::words::c_string;

/// What CONFIG SET needs to know beside its arguments.
#[derive(Clone, Copy, Debug, Default)]
pub struct SetContext {
    /// The client came over a local connection.
    pub local: bool,
    /// The dataset is being loaded.
    pub loading: bool,
}

/// Why CONFIG SET changed nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConfigError {
    /// No directive has this name; as the client spelled it.
    Unknown(Vec<u8>),
    /// The value cannot be set.
    Failed {
        /// The directive, as the client spelled it or as its entry does.
        name: Vec<u8>,
        /// Why.
        reason: Reason,
    },
    /// Not while the dataset is loading.
    Loading,
}

impl ConfigError {
    /// For a value that could not be put into effect, such as a port that is taken.
    pub fn failed(name: &[u8], reason: impl Into<Reason>) -> ConfigError {
        ConfigError::Failed { name: name.into(), reason: reason.into() }
    }

    /// The error reply, without the leading `-` and the line end; holds no line break.
    pub fn reply(&self) -> Vec<u8> {
        let (before, name, after) = match self {
            ConfigError::Unknown(name) => {
                let before = "ERR Unknown option or number of arguments for CONFIG SET - '";
                (before, name, "'".to_owned())
            }
            ConfigError::Failed { name, reason } => {
                let before = "ERR CONFIG SET failed (possibly related to argument '";
                (before, name, format!("') - {reason}"))
            }
            ConfigError::Loading => {
                return b"LOADING Redis is loading the dataset in memory".to_vec();
            }
        };
        // A name ends at its first NUL, and a line break would end the reply, as in Redis.
        let name = c_string(name);
        let mut reply = [before.as_bytes(), name, after.as_bytes()].concat();
        for byte in &mut reply {
            if matches!(byte, b'\r' | b'\n') {
                *byte = b' ';
            }
        }
        reply
    }
}

impl Config {
    /// The configuration after `CONFIG SET name value ...`, or why nothing was changed.
    ///
    /// What must be put into effect (ports, addresses, `dir`) is the caller's to do, before the new
    /// configuration takes the old one's place.
    pub fn set(
        &self,
        pairs: &[(&[u8], &[u8])],
        context: SetContext,
    ) -> Result<Config, ConfigError> {
        let mut targets: Vec<Found> = Vec::with_capacity(pairs.len());
        for (name, _) in pairs {
            targets.push(self.settable(name, &targets, context)?);
        }
        let mut values: Values = self.values().into();
        for (target, (_, text)) in targets.iter().zip(pairs) {
            let name = target.name.as_bytes();
            let value = parse_replacement(target.directive(), text, &values[target.index])
                .map_err(|reason| ConfigError::failed(name, reason))?;
            if target.directive().immutable && value != *values[target.index] {
                return Err(ConfigError::failed(name, IMMUTABLE));
            }
            values[target.index] = Arc::new(value);
        }
        Ok(Config::from_values(values))
    }

    /// The directives that have another value than `before`, with the value of now: what is to be
    /// put into effect.
    pub fn changes<'a>(
        &'a self,
        before: &'a Config,
    ) -> impl Iterator<Item = (&'static Directive, &'a Value)> {
        let values = self.values().iter().zip(before.values());
        let changed = directives::all().iter().zip(values).filter(|(_, (now, was))| now != was);
        changed.map(|(directive, (now, _))| (*directive, &**now))
    }

    /// For the log: those of the [`changes`](Config::changes) that will not do what they say.
    pub fn notices(&self, before: &Config) -> Vec<String> {
        self.changes(before).filter_map(|(directive, value)| directive.notice(value)).collect()
    }

    /// Finds the directive that a client may set under `name`, unless it is among `taken`. An
    /// alias and its directive may both be set, as in Redis; the last one counts.
    fn settable(
        &self,
        name: &[u8],
        taken: &[Found],
        context: SetContext,
    ) -> Result<Found, ConfigError> {
        let found = directives::find(name).ok_or_else(|| ConfigError::Unknown(name.into()))?;
        let directive = found.directive();
        if directive.immutable && !directive.restates {
            return Err(ConfigError::failed(name, IMMUTABLE));
        }
        if directive.protected && !self.enable_protected_configs.allows(context.local) {
            return Err(ConfigError::failed(name, "can't set protected config"));
        }
        if directive.denied_when_loading && context.loading {
            return Err(ConfigError::Loading);
        }
        if taken.contains(&found) {
            return Err(ConfigError::failed(name, "duplicate parameter"));
        }
        Ok(found)
    }
}

/// Reads the one text that CONFIG SET gives to a directive. Blanks separate words strictly: two of
/// them have an empty word between, as in Redis.
fn parse_replacement(directive: &Directive, text: &[u8], current: &Value) -> Result<Value, Reason> {
    let words: Vec<&[u8]> = match directive.kind.takes_many() {
        true if text.is_empty() => Vec::new(),
        true => text.split(|byte| *byte == b' ').collect(),
        false => vec![text],
    };
    // In a file save points add up; here they replace the old ones.
    let value = if matches!(directive.kind, Kind::Save) {
        directive.parse(&words, &directive.kind.empty())?
    } else {
        directive.parse(&words, current)?
    };
    match directive.refusal(&value) {
        Some(reason) => Err(reason),
        None => Ok(value),
    }
}

const IMMUTABLE: &str = "can't set immutable config";

#[cfg(test)]
mod tests;
