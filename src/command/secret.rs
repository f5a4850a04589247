//! Which words of a request are nobody's business but the client's: passwords, users, secrets.
//!
//! Invariant: decided from the request alone, so that a command that fails hides as much as one that
//! does not. Source: what Redis 8.0 shows as `(redacted)` in SLOWLOG and MONITOR.

use super::Args;

/// What stands in the place of a secret.
pub const REDACTED: &[u8] = b"(redacted)";

/// The words of a request that are not to be shown, ascending. `is_sensitive` says whether a
/// directive holds a secret.
pub fn secret_words(
    full_name: &str,
    args: Args<'_>,
    is_sensitive: impl Fn(&[u8]) -> bool,
) -> Vec<usize> {
    match full_name {
        "auth" if args.len() <= 3 => (1..args.len()).collect(),
        "acl|setuser" | "acl|deluser" | "acl|getuser" => (2..args.len()).collect(),
        "config|set" => {
            (3..args.len()).step_by(2).filter(|at| is_sensitive(args.get(at - 1))).collect()
        }
        "hello" => of_hello(args),
        "migrate" => of_migrate(args),
        _ => Vec::new(),
    }
}

fn of_hello(args: Args<'_>) -> Vec<usize> {
    let mut secret = Vec::new();
    let mut at = 2;
    while at < args.len() {
        let behind = args.len() - 1 - at;
        if args.is(at, "AUTH") && behind >= 2 {
            secret.extend([at + 1, at + 2]);
            at += 3;
        } else if args.is(at, "SETNAME") && behind >= 1 {
            at += 2;
        } else {
            // Stock servers stop here, too.
            break;
        }
    }
    secret
}

fn of_migrate(args: Args<'_>) -> Vec<usize> {
    let mut secret = Vec::new();
    let mut at = 6;
    while at < args.len() && !args.is(at, "KEYS") {
        let words = if args.is(at, "AUTH") {
            1
        } else if args.is(at, "AUTH2") {
            2
        } else {
            0
        };
        secret.extend((at + 1..=at + words).filter(|word| *word < args.len()));
        at += 1 + words;
    }
    secret
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::args::ArgRange;

    fn secrets(full_name: &str, request: &str) -> Vec<usize> {
        let (mut buffer, mut ranges) = (Vec::new(), Vec::new());
        for word in request.split(' ') {
            let start = buffer.len() as u32;
            buffer.extend_from_slice(word.as_bytes());
            ranges.push(ArgRange { start, len: word.len() as u32 });
        }
        let args = Args::new(&buffer, &ranges, &[]);
        secret_words(full_name, args, |name| name.eq_ignore_ascii_case(b"requirepass"))
    }

    #[test]
    fn passwords_are_found_where_they_stand() {
        assert_eq!(secrets("auth", "AUTH p"), [1]);
        assert_eq!(secrets("auth", "AUTH u p"), [1, 2]);
        assert_eq!(secrets("hello", "HELLO 3 SETNAME AUTH AUTH u p"), [5, 6]);
        assert_eq!(secrets("config|set", "CONFIG SET maxmemory 1 RequirePass p"), [5]);
        assert_eq!(secrets("acl|setuser", "ACL SETUSER u >p on"), [2, 3, 4]);
        assert_eq!(secrets("migrate", "MIGRATE h 1 k 0 9 COPY AUTH2 u p KEYS AUTH x"), [8, 9]);
        assert_eq!(secrets("migrate", "MIGRATE h 1 k 0 9 AUTH"), [0; 0]);
        assert_eq!(secrets("get", "GET AUTH"), [0; 0]);
    }
}
