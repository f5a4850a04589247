//! Allocations per command, counted: a read and an overwrite take none, a new key takes its entry.
//!
//! Invariant: a warm core, from the received bytes to the queued send; the ring below it allocates
//! nothing. Each test runs on a thread of its own, so its counter counts only what it does.

mod support;

use ironring::base::alloc::Mimalloc;
use ironring::base::alloc::{Counting, register_thread, thread_allocations};
use support::scripted::{Scripted, pipeline};

#[global_allocator]
static ALLOCATOR: Counting<Mimalloc> = Counting(Mimalloc);

/// Commands that are sent at once.
const DEPTH: usize = 64;
const CLIENTS: usize = 3;
/// Turns until every buffer has the size that it needs.
const WARM_TURNS: usize = 4;

fn command(words: &[&str]) -> Vec<Vec<u8>> {
    words.iter().map(|word| word.as_bytes().to_vec()).collect()
}

/// `DEPTH` commands in one request; `{}` in a word becomes the command's number.
fn numbered(words: &[&str], first: usize) -> Vec<u8> {
    let one = |number: usize| -> Vec<Vec<u8>> {
        let number = number.to_string();
        words.iter().map(|word| word.replace("{}", &number).into_bytes()).collect()
    };
    pipeline(&(first..first + DEPTH).map(one).collect::<Vec<_>>())
}

/// Lets every client send a request; the bytes of the replies, and the allocations of the turn.
fn turn(core: &mut Scripted, request: impl Fn(usize) -> usize) -> (u64, u64) {
    (0..CLIENTS).for_each(|client| core.send(client, request(client)));
    let before = thread_allocations();
    let sent = core.turn();
    (sent, thread_allocations() - before)
}

/// Runs `request` after `setup` in a warm core; asserts the length of each reply, and that nothing
/// was allocated.
fn allocates_nothing(setup: Vec<u8>, request: Vec<u8>, replies: usize, reply: &str) {
    register_thread();
    let mut core = Scripted::new(CLIENTS, vec![setup, request]);
    turn(&mut core, |_| 0);
    for _ in 0..WARM_TURNS {
        turn(&mut core, |_| 1);
    }
    let expected = (CLIENTS * replies * reply.len()) as u64;
    assert_eq!(turn(&mut core, |_| 1), (expected, 0), "bytes of the replies, allocations");
}

fn setup() -> Vec<u8> {
    numbered(&["SET", "key:{}", "some value"], 100)
}

#[test]
fn ping_allocates_nothing() {
    allocates_nothing(setup(), numbered(&["PING"], 0), DEPTH, "+PONG\r\n");
}

#[test]
fn an_inline_command_allocates_nothing() {
    allocates_nothing(setup(), b"PING\r\n".repeat(DEPTH), DEPTH, "+PONG\r\n");
}

#[test]
fn get_allocates_nothing() {
    let request = numbered(&["GET", "key:{}"], 100);
    allocates_nothing(setup(), request, DEPTH, "$10\r\nsome value\r\n");
}

#[test]
fn get_of_an_integer_allocates_nothing() {
    let setup = numbered(&["SET", "key:{}", "12345"], 100);
    allocates_nothing(setup, numbered(&["GET", "key:{}"], 100), DEPTH, "$5\r\n12345\r\n");
}

#[test]
fn reads_of_a_list_allocate_nothing() {
    let setup = || numbered(&["RPUSH", "list", "element", "{}"], 100);
    allocates_nothing(setup(), numbered(&["LLEN", "list"], 0), DEPTH, ":384\r\n");
    allocates_nothing(setup(), numbered(&["LINDEX", "list", "-2"], 0), DEPTH, "$7\r\nelement\r\n");
    let reply = "*2\r\n$7\r\nelement\r\n$3\r\n100\r\n";
    allocates_nothing(setup(), numbered(&["LRANGE", "list", "0", "1"], 0), DEPTH, reply);
}

#[test]
fn get_of_nothing_allocates_nothing() {
    allocates_nothing(setup(), numbered(&["GET", "no:{}"], 100), DEPTH, "$-1\r\n");
}

#[test]
fn mget_allocates_nothing() {
    let request = numbered(&["MGET", "key:{}", "key:101"], 100);
    let reply = "*2\r\n$10\r\nsome value\r\n$10\r\nsome value\r\n";
    allocates_nothing(setup(), request, DEPTH, reply);
}

#[test]
fn an_overwrite_of_the_same_size_allocates_nothing() {
    let request = numbered(&["SET", "key:{}", "same size."], 100);
    allocates_nothing(setup(), request, DEPTH, "+OK\r\n");
}

#[test]
fn incr_allocates_nothing() {
    let setup = numbered(&["SET", "key:{}", "1000"], 100);
    allocates_nothing(setup, numbered(&["INCR", "key:{}"], 100), DEPTH, ":1001\r\n");
}

/// Pairs of SET of a new key and DEL of it, so that the table stays as large as it is.
#[test]
fn a_new_key_allocates_its_entry() {
    register_thread();
    let pair = |number| {
        let key = format!("new:{number}");
        [command(&["SET", &key, "some value"]), command(&["DEL", &key])]
    };
    let pairs = pipeline(&(0..DEPTH).flat_map(pair).collect::<Vec<_>>());
    let mut core = Scripted::new(CLIENTS, vec![setup(), pairs]);
    turn(&mut core, |_| 0);
    for _ in 0..WARM_TURNS {
        turn(&mut core, |_| 1);
    }
    let keys = CLIENTS * DEPTH;
    let replies = (keys * "+OK\r\n:1\r\n".len()) as u64;
    assert_eq!(turn(&mut core, |_| 1), (replies, keys as u64), "one for each new key");
}

/// The table grows by small segments: it adds little to what the entries take.
#[test]
fn growth_of_the_table_is_amortised() {
    const TURNS: usize = 100;
    /// New keys for each allocation of the table, at least.
    const KEYS_PER_GROWTH: usize = 16;
    register_thread();
    let requests = (0..TURNS * CLIENTS).map(|at| numbered(&["SET", "key:{}", "value"], at * DEPTH));
    let mut core = Scripted::new(CLIENTS, requests.collect());
    let mut allocations = 0;
    for at in 0..TURNS {
        allocations += turn(&mut core, |client| at * CLIENTS + client).1;
    }
    let keys = TURNS * CLIENTS * DEPTH;
    let growth = allocations as usize - keys;
    assert!(growth <= keys / KEYS_PER_GROWTH, "{growth} allocations beside {keys} entries");
}

#[test]
fn one_command_a_turn_allocates_nothing() {
    let request = pipeline(&[command(&["GET", "key:100"])]);
    allocates_nothing(setup(), request, 1, "$10\r\nsome value\r\n");
}
