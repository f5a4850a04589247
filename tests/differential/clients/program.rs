//! Random programs of several clients that take turns: what one does, another is told or waits for.
//!
//! Invariant: every step's outcome, on all connections, is a function of the steps before it:
//! nothing expires but by `WAIT_MILLIS`, blocking commands wait without an end, ids of stream
//! entries are counted, and no two patterns match the same channel, so hash tables decide no order.

use sha1::{Digest, Sha1};

use crate::random::Random;
use crate::support::quote::{join, split};
use crate::support::reply::Rule;

/// How many clients take turns; the last one never waits, so somebody can always go on.
pub(crate) const CLIENTS: usize = 5;
/// RESP version of each client at the start.
pub(crate) const PROTOCOLS: [u8; CLIENTS] = [2, 3, 2, 3, 3];
/// What stands for the id of a client in a command: a number in these follows.
pub(crate) const ID_OF: &[u8] = b"$id";
/// Longer than the short times to live that programs give, on both clocks.
pub(crate) const WAIT_MILLIS: u64 = 4;

/// What a client does in its turn.
#[derive(Clone)]
pub(crate) struct Step {
    /// Which client.
    pub(crate) client: usize,
    /// The commands that it sends in one write.
    pub(crate) commands: Vec<Vec<Vec<u8>>>,
    /// How replies, not pushes, are compared.
    pub(crate) rule: Rule,
    /// Not while a transaction is open: the reply would hide in the one to EXEC.
    pub(crate) outside: bool,
    /// Somebody in the program may be told of keys in another one's place.
    pub(crate) redirects: bool,
    /// Time passes behind it.
    pub(crate) waits: bool,
}

impl Step {
    /// Whether it may run several commands.
    pub(crate) fn is_several(&self) -> bool {
        self.commands.len() > 1 || self.commands[0][0] == b"EXEC"
    }
}

/// The turns of a program, in order.
#[derive(Clone)]
pub(crate) struct Program {
    /// What happens.
    pub(crate) steps: Vec<Step>,
}

impl Program {
    /// The program of this seed.
    pub(crate) fn generate(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let groups = [TRANSACTIONS, SCRIPTS, BLOCKING, CHANNELS, TRACKING, KEYSPACE, CONNECTION];
        // A program is about some of all, so that they meet often.
        let chosen = (0..3).map(|_| groups[random.below(groups.len())]).collect();
        let mut generator =
            Generator { random, chosen, entries: 0, in_transaction: [false; CLIENTS] };
        let count = generator.random.below(STEPS_MAX) + 20;
        let mut steps: Vec<Step> = (0..count).map(|_| generator.step()).collect();
        let redirects = steps.iter().any(|step| step.commands[0].contains(&b"REDIRECT".to_vec()));
        steps.iter_mut().for_each(|step| step.redirects = redirects);
        Self { steps }
    }
}

impl std::fmt::Display for Program {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for step in &self.steps {
            writeln!(f, "{step}")?;
        }
        Ok(())
    }
}

impl std::fmt::Display for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let commands: Vec<String> = self.commands.iter().map(|argv| join(argv)).collect();
        write!(f, "{}> {}", self.client, commands.join(" ; "))
    }
}

/// Weight and template; `$word` stands for what `expand` makes of it.
type Line = (usize, &'static str);

struct Generator {
    random: Random,
    chosen: Vec<&'static [Line]>,
    /// How many stream entries were named.
    entries: u64,
    /// Who probably has a transaction open.
    in_transaction: [bool; CLIENTS],
}

impl Generator {
    fn step(&mut self) -> Step {
        let client = self.random.below(CLIENTS);
        if self.in_transaction[client] && self.random.one_in(4) {
            self.in_transaction[client] = false;
            let end = if self.random.one_in(6) { "DISCARD" } else { "EXEC" };
            return self.sent(client, &[end]);
        }
        if self.random.one_in(20) {
            let quiet = self.plain();
            return match self.random.below(2) {
                0 => self.quiet(client, &["CLIENT REPLY OFF", quiet, "CLIENT REPLY ON"]),
                _ => self.quiet(client, &["CLIENT REPLY SKIP", quiet, "ECHO heard"]),
            };
        }
        // On several cores a waiter that moves an element to another one's key is served behind what
        // the client that serves it has sent in the same write (docs/COMPATIBILITY.md).
        if self.random.one_in(12) && !self.chosen.contains(&BLOCKING) {
            let [one, two, three] = [self.plain(), self.plain(), self.plain()];
            return self.sent(client, &[one, two, three]);
        }
        let line = loop {
            let line = self.line();
            if client != CLIENTS - 1 || !BLOCKING_LINES.contains(&line) {
                break line;
            }
        };
        match line {
            "MULTI" => self.in_transaction[client] = true,
            "EXEC" | "DISCARD" | "RESET" => self.in_transaction[client] = false,
            _ => {}
        }
        self.sent(client, &[line])
    }

    /// Commands whose replies are left out; the last one ends that.
    fn quiet(&mut self, client: usize, lines: &[&str]) -> Step {
        Step { outside: true, ..self.sent(client, lines) }
    }

    fn sent(&mut self, client: usize, lines: &[&str]) -> Step {
        let commands: Vec<_> = lines.iter().map(|line| self.expand(line)).collect();
        let rule = match lines[0] {
            line if line.starts_with("HELLO") => Rule::Hello,
            "CLIENT GETREDIR" | "CLIENT TRACKINGINFO" => Rule::Ints,
            "KEYS *" => Rule::Sorted,
            _ => Rule::Exact,
        };
        let waits = lines.iter().any(|line| line.contains("PX 1"));
        Step { client, commands, rule, outside: rule != Rule::Exact, redirects: false, waits }
    }

    fn line(&mut self) -> &'static str {
        if self.random.one_in(2) {
            return self.plain();
        }
        let lines = self.chosen[self.random.below(self.chosen.len())];
        self.weighted(lines)
    }

    fn plain(&mut self) -> &'static str {
        self.weighted(PLAIN)
    }

    fn weighted(&mut self, lines: &'static [Line]) -> &'static str {
        let mut left = self.random.below(lines.iter().map(|line| line.0).sum());
        for (weight, line) in lines {
            if left < *weight {
                return line;
            }
            left -= weight;
        }
        unreachable!("the weights add up")
    }

    fn expand(&mut self, line: &str) -> Vec<Vec<u8>> {
        let words = split(line).unwrap_or_else(|e| panic!("{line}: {e}"));
        words.into_iter().map(|word| self.word(word)).collect()
    }

    fn word(&mut self, word: Vec<u8>) -> Vec<u8> {
        let choices: &[&str] = match word.as_slice() {
            b"$string" => &["a", "b", "c", "n"],
            b"$list" => &["l1", "l2", "l3"],
            b"$zset" => &["z1", "z2"],
            b"$stream" => &["s1", "s2"],
            b"$key" => &["a", "b", "c", "n", "l1", "l2", "l3", "z1", "z2", "s1", "s2", "h"],
            b"$value" => &["1", "2", "x", "yy", ""],
            b"$number" => &["1", "2", "3", "0"],
            b"$channel" => &["c1", "c2", "__redis__:invalidate"],
            b"$pattern" => &["c*", "__key*__:*"],
            b"$entry" => {
                self.entries += 1;
                return format!("{}-1", self.entries).into_bytes();
            }
            b"$client" => return [ID_OF, &[b'0' + self.random.below(CLIENTS) as u8]].concat(),
            b"$sha" => return hex_digest(SCRIPT_KNOWN),
            _ => return word,
        };
        self.random.pick(choices).as_bytes().to_vec()
    }
}

fn hex_digest(script: &str) -> Vec<u8> {
    let digest = Sha1::digest(script.as_bytes());
    digest.iter().flat_map(|byte| format!("{byte:02x}").into_bytes()).collect()
}

/// A script that both servers have loaded when a program begins.
pub(crate) const SCRIPT_KNOWN: &str =
    "redis.call('rpush', KEYS[1], ARGV[1]) return redis.call('llen', KEYS[1])";

/// The library that both servers have loaded when a program begins.
pub(crate) const LIBRARY: &str = "#!lua name=mixed\n\
    redis.register_function('twice', function(keys, args)\n\
      redis.call('set', keys[1], args[1])\n\
      return redis.call('rpush', keys[2], args[1], args[1])\n\
    end)\n\
    redis.register_function{function_name='look', flags={'no-writes'},\n\
      callback=function(keys) return redis.call('get', keys[1]) end}\n";

/// What every program has.
const PLAIN: &[Line] = &[
    (4, "SET $string $value"),
    (4, "GET $string"),
    (2, "MGET $string $string $key"),
    (2, "INCR n"),
    (3, "RPUSH $list $value $value"),
    (2, "LPUSH $list $value"),
    (2, "LPOP $list"),
    (1, "LRANGE $list 0 -1"),
    (1, "LMOVE $list $list LEFT RIGHT"),
    (3, "ZADD $zset $number $value"),
    (1, "ZPOPMIN $zset"),
    (3, "XADD $stream $entry f $value"),
    (1, "XLEN $stream"),
    (1, "HSET h f $value"),
    (2, "DEL $key $key"),
    (1, "MSET $string $value $string $value"),
    (1, "EXISTS $key $key"),
];
const TRANSACTIONS: &[Line] = &[
    (6, "MULTI"),
    (6, "EXEC"),
    (1, "DISCARD"),
    (6, "WATCH $key"),
    (3, "WATCH $key $key"),
    (1, "UNWATCH"),
    (1, "WATCH"),
    (1, "NOSUCH"),
    (1, "GET"),
];
const SCRIPTS: &[Line] = &[
    (2, "EVAL \"return redis.call('incr', KEYS[1])\" 1 $string"),
    (
        3,
        "EVAL \"return {redis.call('get', KEYS[1]), redis.call('set', KEYS[2], ARGV[1])}\" 2 $string $key $value",
    ),
    (
        2,
        "EVAL \"redis.call('rpush', KEYS[1], 'p') redis.call('rpush', KEYS[2], 'q') return redis.call('llen', KEYS[1])\" 2 $list $list",
    ),
    (
        2,
        "EVAL \"redis.call('set', KEYS[1], 'x') return redis.call('publish', 'c1', 'told')\" 1 $key",
    ),
    (2, "EVAL \"return redis.pcall('rename', 'l1', 'l2')\" 0"),
    (1, "EVAL \"redis.call('select', 1) return redis.call('set', 'a', 'there')\" 0"),
    (1, "EVAL \"return redis.call('nosuch')\" 0"),
    (1, "EVAL \"redis.call('set', KEYS[1], 'half') return redis.call('lpop', KEYS[1])\" 1 $string"),
    (1, "EVAL \"return redis.call('blpop', KEYS[1], 0)\" 1 $list"),
    (1, "EVAL \"redis.setresp(3) return redis.call('hgetall', 'h')\" 0"),
    (1, "EVAL_RO \"return redis.call('get', KEYS[1])\" 1 $string"),
    (1, "EVAL_RO \"return redis.call('set', KEYS[1], 1)\" 1 $string"),
    (3, "EVALSHA $sha 1 $list $value"),
    (1, "EVALSHA_RO $sha 1 $list $value"),
    (3, "FCALL twice 2 $string $list $value"),
    (2, "FCALL_RO look 1 $string"),
    (1, "FCALL_RO twice 2 $string $list $value"),
    (1, "EVAL \"return redis.call('flushall')\" 0"),
];
const BLOCKING_LINES: &[&str] = &[
    "BLPOP $list 0",
    "BLPOP $list $list 0",
    "BRPOP $list $key 0",
    "BLMOVE $list $list LEFT RIGHT 0",
    "BRPOPLPUSH $list $list 0",
    "BLMPOP 0 2 $list $list LEFT COUNT 2",
    "BZPOPMIN $zset $zset 0",
    "BZPOPMAX $zset 0",
    "BZMPOP 0 2 $zset $zset MIN COUNT 2",
    "XREAD BLOCK 0 STREAMS s1 s2 $ $",
    "XREAD COUNT 1 BLOCK 0 STREAMS $stream 0",
    "XREADGROUP GROUP g one BLOCK 0 STREAMS $stream >",
];
const BLOCKING: &[Line] = &[
    (2, "BLPOP $list 0"),
    (3, "BLPOP $list $list 0"),
    (1, "BRPOP $list $key 0"),
    (2, "BLMOVE $list $list LEFT RIGHT 0"),
    (1, "BRPOPLPUSH $list $list 0"),
    (2, "BLMPOP 0 2 $list $list LEFT COUNT 2"),
    (2, "BZPOPMIN $zset $zset 0"),
    (1, "BZPOPMAX $zset 0"),
    (1, "BZMPOP 0 2 $zset $zset MIN COUNT 2"),
    (2, "XREAD BLOCK 0 STREAMS s1 s2 $ $"),
    (1, "XREAD COUNT 1 BLOCK 0 STREAMS $stream 0"),
    (2, "XREADGROUP GROUP g one BLOCK 0 STREAMS $stream >"),
    (3, "XGROUP CREATE $stream g 0 MKSTREAM"),
    (1, "XGROUP DESTROY $stream g"),
    (2, "CLIENT UNBLOCK $client"),
    (1, "CLIENT UNBLOCK $client ERROR"),
];
const CHANNELS: &[Line] = &[
    (4, "SUBSCRIBE $channel"),
    (2, "SUBSCRIBE c1 c2"),
    (3, "PSUBSCRIBE $pattern"),
    (1, "SSUBSCRIBE c1"),
    (3, "UNSUBSCRIBE $channel"),
    (2, "PUNSUBSCRIBE $pattern"),
    (1, "SUNSUBSCRIBE c1"),
    (8, "PUBLISH $channel $value"),
    (1, "SPUBLISH c1 $value"),
    (1, "PUBSUB NUMSUB c1 c2"),
    (1, "PUBSUB NUMPAT"),
    (1, "PING"),
    (2, "RESET"),
];
const TRACKING: &[Line] = &[
    (3, "CLIENT TRACKING ON"),
    (2, "CLIENT TRACKING ON NOLOOP"),
    (2, "CLIENT TRACKING ON OPTIN"),
    (2, "CLIENT TRACKING ON OPTOUT"),
    (2, "CLIENT TRACKING ON BCAST"),
    (1, "CLIENT TRACKING ON BCAST NOLOOP"),
    (2, "CLIENT TRACKING ON BCAST PREFIX a PREFIX l"),
    (3, "CLIENT TRACKING ON REDIRECT $client"),
    (1, "CLIENT TRACKING ON BCAST REDIRECT $client"),
    (2, "CLIENT TRACKING OFF"),
    (3, "CLIENT CACHING YES"),
    (2, "CLIENT CACHING NO"),
    (1, "CLIENT GETREDIR"),
    (1, "CLIENT TRACKINGINFO"),
    (2, "SUBSCRIBE __redis__:invalidate"),
    (6, "GET $string"),
    (3, "MGET $string $key"),
];
const KEYSPACE: &[Line] = &[
    (1, "FLUSHALL ASYNC"),
    (1, "FLUSHDB ASYNC"),
    (2, "SWAPDB 0 1"),
    (2, "SELECT 1"),
    (4, "SELECT 0"),
    (4, "RENAME $key $key"),
    (2, "RENAMENX $key $key"),
    (2, "MOVE $key 1"),
    (2, "COPY $key $key REPLACE"),
    (3, "PEXPIRE $key -1"),
    (2, "EXPIRE $key 100000"),
    (1, "PERSIST $key"),
    (3, "SET $string $value PX 1"),
    (1, "UNLINK $key"),
    (1, "SORT l1 ALPHA STORE $list"),
    (1, "KEYS *"),
    (1, "DBSIZE"),
];
const CONNECTION: &[Line] = &[
    (2, "RESET"),
    (2, "HELLO 2"),
    (4, "HELLO 3"),
    (1, "PING"),
    (1, "ECHO $value"),
    (1, "CLIENT SETNAME $string"),
    (1, "CLIENT GETNAME"),
    (1, "SELECT 0"),
    (2, "CLIENT NO-TOUCH OFF"),
];
const STEPS_MAX: usize = 120;
