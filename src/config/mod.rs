//! The configuration: directives, redis.conf, the command line, CONFIG GET, SET and REWRITE.
//! Knows no client and opens no file: who loads a configuration brings the files as a [`Host`].
//! Invariant: a [`Config`] is complete, valid and never changes; CONFIG SET makes a new one that
//! takes its place whole.
//!
//! Way in: `directives` (what there is), `kind` and `value` (what a value may be, how it is
//! written), `settings` (the typed fields that the server reads), `load` and `args` (start),
//! `set` and `rewrite` (CONFIG). Source: Redis 8.0.6, as documented in its redis.conf and observed.

pub mod args;
pub mod choices;
pub mod directives;
pub mod kind;
pub mod load;
pub mod proc_title;
pub mod rewrite;
pub mod set;
mod settings;
pub mod value;

use std::net::IpAddr;

pub use crate::base::words::split_args;
pub use args::{Startup, parse_args};
pub use load::{Host, LoadError, Loaded, load};
pub use proc_title::proc_title;
pub use rewrite::rewrite;
pub use set::{ConfigError, SetContext};
pub use settings::Config;

use crate::base::glob::stringmatch;
use crate::base::listening::{Name, SocketOptions};

use directives::Found;

/// The version of Redis whose configuration this is.
pub const REDIS_VERSION: &str = "8.0.6";

impl Config {
    /// The names to listen on; `resolve` looks up those of hosts.
    pub fn listening_names(&self, resolve: impl Fn(&str) -> Option<IpAddr>) -> Vec<Name> {
        let ports = [self.port, self.tls_port].into_iter().filter(|port| *port != 0);
        ports.flat_map(|port| self.names_at(port, &resolve)).collect()
    }

    fn names_at(&self, port: u16, resolve: impl Fn(&str) -> Option<IpAddr>) -> Vec<Name> {
        Name::all(self.bind.iter().map(|name| &name[..]), port, resolve)
    }

    /// The same for the metrics.
    pub fn metrics_names(&self, resolve: impl Fn(&str) -> Option<IpAddr>) -> Vec<Name> {
        match self.metrics_port {
            0 => Vec::new(),
            port => Name::all(self.metrics_bind.iter().map(|name| &name[..]), port, resolve),
        }
    }

    /// What the sockets that listen have in common.
    pub fn socket_options(&self) -> SocketOptions {
        SocketOptions {
            backlog: self.tcp_backlog,
            mark: self.socket_mark_id,
            multipath: self.mptcp,
        }
    }

    /// True for a primary into which data are imported. Source: import-mode.
    pub fn is_importing(&self) -> bool {
        self.import_mode && self.replicaof.is_none()
    }

    /// False if somebody else says what has expired: the primary, or the source of an import.
    pub fn expires_by_itself(&self) -> bool {
        self.replicaof.is_none() && !self.import_mode
    }

    /// What CONFIG GET answers: each name once, with its value, in no order that means anything.
    ///
    /// A pattern without `*`, `?` and `[` is a name, and is answered as the client spelled it. The
    /// others match names and aliases in any case, but not those of hidden directives.
    pub fn get_matching<'a>(&self, patterns: &[&'a [u8]]) -> Vec<(&'a [u8], Vec<u8>)> {
        let mut answers: Vec<(&'a [u8], Vec<u8>)> = Vec::new();
        let mut answer = |name: &'a [u8], found: Found| {
            if !answers.iter().any(|(known, _)| known.eq_ignore_ascii_case(name)) {
                answers.push((name, self.value(found.index).render()));
            }
        };
        for &pattern in patterns {
            if !pattern.iter().any(|byte| b"[*?".contains(byte)) {
                if let Some(found) = directives::find(pattern) {
                    answer(pattern, found);
                }
                continue;
            }
            for found in directives::names() {
                let name = found.name.as_bytes();
                if !found.directive().hidden && stringmatch(pattern, name, true) {
                    answer(name, found);
                }
            }
        }
        answers
    }
}

#[cfg(test)]
mod recorded;

#[cfg(test)]
mod tests {
    use super::*;

    fn names<'a>(answers: &'a [(&[u8], Vec<u8>)]) -> Vec<&'a [u8]> {
        answers.iter().map(|(name, _)| *name).collect()
    }

    #[test]
    fn get_answers_names_and_patterns() {
        let config = Config::default();
        let answers = config.get_matching(&[b"MAXMEMORY", b"maxmemory", b"maxmemory-pol*"]);
        assert_eq!(
            answers,
            [
                (&b"MAXMEMORY"[..], b"0".to_vec()),
                (&b"maxmemory-policy"[..], b"noeviction".to_vec()),
            ]
        );
        assert_eq!(names(&config.get_matching(&[b"slaveof"])), [b"slaveof"]);
        assert_eq!(names(&config.get_matching(&[b"*LAVEOF"])), [b"slaveof"]);
        assert!(config.get_matching(&[b"nope", b"nope*", b""]).is_empty());
    }

    #[test]
    fn hidden_directives_answer_to_their_name_only() {
        let config = Config::default();
        assert_eq!(names(&config.get_matching(&[b"key-load-dela?"])), [b""; 0]);
        assert_eq!(names(&config.get_matching(&[b"key-load-delay"])), [b"key-load-delay"]);
    }
}
