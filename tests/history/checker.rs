//! Whether a history of concurrent clients could have been made by one thread: strict
//! serialisability, with each client's commands in the order in which it sent them.
//!
//! Invariant: a verdict is exact. A whole command is one atomic operation on all keys together, so
//! linearisability of this one object is strict serialisability of the keyspace; commands of one
//! client are ordered even where, in a pipeline, they overlap in time.
//!
//! The search is that of Wing and Gong, "Testing and Verifying Concurrent Objects" (1993): take as
//! the next operation any that began before every other one that is left has ended, and go back
//! where a reply does not fit. A pair of (operations taken, state) that failed once is not tried
//! again: Lowe, "Testing for linearizability" (2017). Since a client's operations are in order, how
//! many of each client were taken says which.

use std::collections::HashSet;

use super::model::{Command, State};

/// One command of a client.
#[derive(Clone, Debug)]
pub(crate) struct Operation {
    /// What was asked.
    pub(crate) command: Command,
    /// When its first byte was sent.
    pub(crate) invoked: u64,
    /// When its reply was complete, and the reply. None if the client left before.
    pub(crate) returned: Option<(u64, Vec<u8>)>,
}

/// How many operations of each client stand in the order found so far.
type Taken = Vec<usize>;

/// Checks the histories of all clients, on `keys` keys that do not exist at first. The error shows
/// the longest order that fits, and what no order can explain.
pub(crate) fn check(clients: &[Vec<Operation>], keys: usize) -> Result<(), String> {
    let start: (Taken, State) = (vec![0; clients.len()], State::new(keys));
    let mut seen = HashSet::from([start.clone()]);
    let mut stack = vec![start.clone()];
    let mut furthest = start;
    while let Some((taken, state)) = stack.pop() {
        if is_complete(clients, &taken) {
            return Ok(());
        }
        if taken.iter().sum::<usize>() > furthest.0.iter().sum() {
            furthest = (taken.clone(), state.clone());
        }
        for client in candidates(clients, &taken) {
            let operation = &clients[client][taken[client]];
            let mut next_state = state.clone();
            let reply = operation.command.apply(&mut next_state);
            if operation.returned.as_ref().is_some_and(|(_, got)| *got != reply) {
                continue;
            }
            let mut next = taken.clone();
            next[client] += 1;
            if seen.insert((next.clone(), next_state.clone())) {
                stack.push((next, next_state));
            }
        }
    }
    Err(explain(clients, &furthest))
}

/// All operations that have a reply are taken.
fn is_complete(clients: &[Vec<Operation>], taken: &Taken) -> bool {
    let mut left = clients.iter().zip(taken).map(|(operations, taken)| operations.get(*taken));
    left.all(|next| next.is_none_or(|operation| operation.returned.is_none()))
}

/// Clients whose next operation may be the next of all: none that is left ended before it began.
fn candidates(clients: &[Vec<Operation>], taken: &Taken) -> impl Iterator<Item = usize> {
    let next = |client: usize| clients[client].get(taken[client]);
    let ends = |operation: &Operation| operation.returned.as_ref().map(|(time, _)| *time);
    let first_end = (0..clients.len()).filter_map(next).filter_map(ends).min().unwrap_or(u64::MAX);
    (0..clients.len())
        .filter(move |client| next(*client).is_some_and(|one| one.invoked <= first_end))
        .collect::<Vec<_>>()
        .into_iter()
}

fn explain(clients: &[Vec<Operation>], (taken, state): &(Taken, State)) -> String {
    let shown = |bytes: &[u8]| bytes.escape_ascii().to_string();
    let mut text = String::from("no order explains this history. After the longest that fits:\n");
    for (key, value) in state.values.iter().enumerate() {
        let value = value.as_deref().map_or("(nil)".to_owned(), shown);
        text += &format!("  key {key} = {value}\n");
    }
    for (client, operations) in clients.iter().enumerate() {
        for operation in operations.iter().skip(taken[client]).take(3) {
            let Operation { command, invoked, returned } = operation;
            let reply = returned.as_ref().map_or("no reply".to_owned(), |(time, reply)| {
                format!("by {time}: {}", shown(reply))
            });
            text += &format!("  client {client}: {command:?} from {invoked}, {reply}\n");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn operation(command: Command, times: (u64, u64), reply: &[u8]) -> Operation {
        Operation { command, invoked: times.0, returned: Some((times.1, reply.to_vec())) }
    }

    fn set(key: usize, value: &str, times: (u64, u64)) -> Operation {
        operation(Command::Set(key, value.into()), times, b"+OK\r\n")
    }

    fn get(key: usize, value: Option<&str>, times: (u64, u64)) -> Operation {
        let reply =
            value.map_or("$-1\r\n".to_owned(), |value| format!("${}\r\n{value}\r\n", value.len()));
        operation(Command::Get(key), times, reply.as_bytes())
    }

    #[test]
    fn a_read_may_see_either_side_of_a_write_that_overlaps_it() {
        for seen in [None, Some("1")] {
            let history = [vec![set(0, "1", (1, 9))], vec![get(0, seen, (2, 8))]];
            assert_eq!(check(&history, 1), Ok(()));
        }
    }

    #[test]
    fn a_read_after_a_write_sees_it() {
        let history = [vec![set(0, "1", (1, 2))], vec![get(0, None, (3, 4))]];
        assert!(check(&history, 1).is_err());
    }

    #[test]
    fn nobody_sees_the_second_command_of_a_pipeline_without_the_first() {
        // Both writes overlap both reads: only the order within each client decides.
        let writer = vec![set(0, "data", (1, 20)), set(1, "flag", (1, 21))];
        let reader = |data| vec![get(1, Some("flag"), (5, 10)), get(0, data, (5, 11))];
        assert_eq!(check(&[writer.clone(), reader(Some("data"))], 2), Ok(()));
        assert!(check(&[writer, reader(None)], 2).is_err());
    }

    #[test]
    fn half_of_a_command_on_two_keys_is_never_seen() {
        let both = Command::Mset(vec![(0, b"1".to_vec()), (1, b"1".to_vec())]);
        let writer = vec![operation(both, (1, 9), b"+OK\r\n")];
        let reader = |reply| vec![operation(Command::Mget(vec![0, 1]), (2, 8), reply)];
        assert_eq!(check(&[writer.clone(), reader(b"*2\r\n$-1\r\n$-1\r\n")], 2), Ok(()));
        assert_eq!(check(&[writer.clone(), reader(b"*2\r\n$1\r\n1\r\n$1\r\n1\r\n")], 2), Ok(()));
        assert!(check(&[writer, reader(b"*2\r\n$1\r\n1\r\n$-1\r\n")], 2).is_err());
    }

    #[test]
    fn a_transaction_sees_no_change_of_what_its_client_watches() {
        let watch = |times| operation(Command::Watch(0, vec![0]), times, b"+OK\r\n");
        let exec =
            |times, reply: &[u8]| operation(Command::Exec(0, vec![Command::Get(0)]), times, reply);
        let (null, seen) = (&b"*-1\r\n"[..], &b"*1\r\n$1\r\n1\r\n"[..]);
        let history =
            |times, reply| [vec![watch((1, 2)), exec((5, 6), reply)], vec![set(0, "1", times)]];
        // Written before, between, and maybe before or between.
        assert_eq!(check(&history((0, 0), seen), 1), Ok(()));
        assert!(check(&history((0, 0), null), 1).is_err());
        assert_eq!(check(&history((3, 4), null), 1), Ok(()));
        assert!(check(&history((3, 4), seen), 1).is_err());
        assert_eq!(check(&history((1, 4), seen), 1), Ok(()));
        assert_eq!(check(&history((1, 4), null), 1), Ok(()));
    }

    #[test]
    fn two_readers_agree_on_the_order_of_writes() {
        let writers = [vec![set(0, "1", (1, 20))], vec![set(0, "2", (1, 20))]];
        let reader = |first, second| vec![get(0, first, (2, 5)), get(0, second, (6, 9))];
        let history = |one, other| [writers.to_vec(), vec![one, other]].concat();
        let same = history(reader(Some("1"), Some("2")), reader(Some("1"), Some("2")));
        assert_eq!(check(&same, 1), Ok(()));
        let crossed = history(reader(Some("1"), Some("2")), reader(Some("2"), Some("1")));
        assert!(check(&crossed, 1).is_err());
    }

    #[test]
    fn what_was_not_answered_may_have_happened_or_not() {
        let lost =
            Operation { command: Command::Set(0, b"1".to_vec()), invoked: 1, returned: None };
        for seen in [None, Some("1")] {
            let history = [vec![lost.clone()], vec![get(0, seen, (5, 6))]];
            assert_eq!(check(&history, 1), Ok(()));
        }
    }
}
