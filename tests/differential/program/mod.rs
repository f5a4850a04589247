//! Random programs: which commands, with which arguments, and how their replies are compared.
//!
//! Invariant: the answer to every step is a function of the program: nothing expires while it runs
//! (times lie in the past or hours ahead), and what chance, clocks or table order decide has a rule
//! that leaves just that out. To cover another command, add its lines to its group in `program/`.

mod bitmap;
pub(crate) mod function;
mod geo;
mod hash;
mod list;
mod script;
mod set;
mod sort;
mod sorted_set;
mod stream;
mod string;

use std::collections::BTreeSet;
use std::fmt;

use super::random::Random;
use super::support::env;
use super::support::quote::join;
use super::support::reply::Rule;

/// A program.
#[derive(Clone)]
pub(crate) struct Program {
    /// What is sent, in order.
    pub(crate) steps: Vec<Step>,
}

/// One step of a program.
#[derive(Clone)]
pub(crate) struct Step {
    /// What to do.
    pub(crate) action: Action,
    /// Whether the replies are read before the next step is sent.
    pub(crate) ends_pipeline: bool,
}

/// What a step does.
#[derive(Clone)]
pub(crate) enum Action {
    /// Send a command, and compare its reply by the rule.
    Command(Vec<Vec<u8>>, Rule),
    /// Follow SCAN with these options to its end.
    Scan(Vec<Vec<u8>>),
}

/// Weight, template, and the rule for the reply. `$word` stands for what `expand` makes of it.
pub(crate) type Line = (usize, &'static str, Rule);

/// The commands of one type.
pub(crate) struct Group {
    /// What `DIFF_GROUP` calls it.
    pub(crate) name: &'static str,
    /// The first series of the oracle that answers as 8.0.6 in nearly all of it.
    pub(crate) since: (u32, u32),
    /// Its commands.
    pub(crate) lines: &'static [Line],
    /// Expands a word of its own; false if it does not know the word.
    pub(crate) expand: fn(&mut Generator<'_>, &str, &mut Vec<Vec<u8>>) -> bool,
}

/// Every group. A program is about one or two of them.
const GROUPS: &[&Group] = &[
    &bitmap::GROUP,
    &function::GROUP,
    &geo::GROUP,
    &hash::GROUP,
    &list::GROUP,
    &script::GROUP,
    &set::GROUP,
    &sort::GROUP,
    &sorted_set::GROUP,
    &stream::GROUP,
    &string::GROUP,
];

impl Step {
    /// Whether this is a full scan, which cannot be pipelined.
    pub(crate) fn is_scan(&self) -> bool {
        matches!(self.action, Action::Scan(_))
    }

    /// Whether this is AUTH, which begins a pipeline of its own: stock servers since 7.2 answer
    /// nothing to a wrong password while replies to earlier commands are still to be sent.
    pub(crate) fn is_auth(&self) -> bool {
        self.command().is_some_and(|(argv, _)| argv[0].eq_ignore_ascii_case(b"AUTH"))
    }

    /// The command and its rule.
    pub(crate) fn command(&self) -> Option<(&Vec<Vec<u8>>, Rule)> {
        match &self.action {
            Action::Command(argv, rule) => Some((argv, *rule)),
            Action::Scan(_) => None,
        }
    }
}

impl Program {
    /// The program of this seed, for this oracle.
    pub(crate) fn generate(seed: u64, oracle: &Oracle) -> Self {
        let mut random = Random::new(seed);
        let leaves_expired = random.one_in(2);
        let pipeline_max = random.below(PIPELINE_MAX) + 1;
        let groups = groups(&mut random, oracle.series);
        let mut generator =
            Generator { random, leaves_expired, times: 0, groups, commands: &oracle.commands };
        let count = generator.random.below(STEPS_MAX) + 10;
        let steps = (0..count).map(|_| generator.step(pipeline_max)).collect();
        Self { steps }
    }
}

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for step in &self.steps {
            match &step.action {
                Action::Command(argv, _) => writeln!(f, "> {}", join(argv))?,
                Action::Scan(options) => writeln!(f, "> SCAN 0 {}", join(options))?,
            }
            if step.ends_pipeline {
                writeln!(f)?;
            }
        }
        Ok(())
    }
}

/// The groups that a program is about: one or two of all, or the one that `DIFF_GROUP` names.
fn groups(random: &mut Random, series: (u32, u32)) -> Vec<&'static Group> {
    if let Some(name) = env("DIFF_GROUP") {
        let found = GROUPS.iter().find(|group| group.name == name);
        return vec![found.unwrap_or_else(|| panic!("no group is called {name}"))];
    }
    let groups: Vec<&Group> =
        GROUPS.iter().copied().filter(|group| group.since <= series).collect();
    (0..=random.below(2)).map(|_| groups[random.below(groups.len())]).collect()
}

/// What is known of the server that is asked.
pub(crate) struct Oracle {
    /// Major and minor version.
    pub(crate) series: (u32, u32),
    /// Its commands, in upper case: an older one cannot be asked for others.
    pub(crate) commands: BTreeSet<String>,
}

/// Makes the steps of one program.
pub(crate) struct Generator<'c> {
    /// Chance.
    pub(crate) random: Random,
    groups: Vec<&'static Group>,
    /// What the oracle has.
    commands: &'c BTreeSet<String>,
    /// Whether SET may store what has expired already, which DBSIZE counts until it is noticed.
    leaves_expired: bool,
    /// How many times to live were given out: none is given twice, so GT and LT never meet a tie
    /// that the milliseconds between two commands decide.
    times: u64,
}

impl Generator<'_> {
    fn step(&mut self, pipeline_max: usize) -> Step {
        let (_, template, rule) = self.line();
        let mut argv = Vec::new();
        for word in template.split(' ') {
            self.expand(word, &mut argv);
        }
        let mut rule = *rule;
        if argv[0] == b"DBSIZE" && self.leaves_expired {
            rule = Rule::Type;
        }
        let action = if argv[0] == b"SCAN" && argv[1] == b"0" {
            Action::Scan(argv.split_off(2))
        } else {
            if self.random.one_in(MUTATE_ONE_IN) {
                self.mutate(&mut argv);
            }
            // A start without an end is Valkey's, and ours; Redis refuses it.
            if argv[0].eq_ignore_ascii_case(b"BITCOUNT") && argv.len() == 3 {
                argv.push(b"-1".to_vec());
            }
            Action::Command(argv, rule)
        };
        Step { action, ends_pipeline: self.random.one_in(pipeline_max) }
    }

    /// A line of one of the program's groups or of those that every program has, by weight.
    fn line(&mut self) -> &'static Line {
        let own = !self.random.one_in(OTHERS_ONE_IN);
        let lines = if own { self.random.pick(&self.groups).lines } else { EVERYWHERE };
        loop {
            let total: usize = lines.iter().map(|(weight, _, _)| weight).sum();
            let mut left = self.random.below(total);
            let chosen = lines.iter().find(|line| {
                let is_it = left < line.0;
                left = left.saturating_sub(line.0);
                is_it
            });
            let Some(line) = chosen else { unreachable!("the weights add up to {total}") };
            let name = line.1.split(' ').next().unwrap_or_default();
            if name.starts_with('$') || self.commands.contains(name) {
                return line;
            }
        }
    }

    /// Appends the arguments that a word of a template stands for.
    pub(crate) fn expand(&mut self, word: &str, argv: &mut Vec<Vec<u8>>) {
        let Some(name) = word.strip_prefix('$') else {
            argv.push(word.as_bytes().to_vec());
            return;
        };
        match name {
            "key" => argv.push(self.key()),
            "keys" => (0..=self.random.below(5)).for_each(|_| argv.push(self.key())),
            "pairs" => {
                for _ in 0..=self.random.below(4) {
                    argv.push(self.key());
                    argv.push(self.value());
                }
            }
            "value" => argv.push(self.value()),
            "conditions" => self.some_of(&["NX", "XX", "GT", "LT", "nx", "what"], 3, argv),
            "seconds" => argv.push(self.time_to_live(1)),
            "millis" => argv.push(self.time_to_live(1000)),
            "at" => argv.push(self.pick(ABSOLUTE_SECONDS)),
            "at_millis" => argv.push(self.pick(ABSOLUTE_MILLIS)),
            "int" => argv.push(self.pick(INTEGERS)),
            "index" => argv.push(self.pick(INDEXES)),
            "float" => argv.push(self.pick(FLOATS)),
            "db" => argv.push(self.pick(&DATABASES)),
            "any_db" => argv.push(self.pick(ANY_DATABASES)),
            "pattern" => argv.push(self.pick(PATTERNS)),
            "copy_options" => {
                self.some_of(&["REPLACE", "DB 1", "DB 2", "DB 0", "DB 16", "DB x", "DB"], 2, argv);
            }
            "scan_options" => {
                let options = ["COUNT 1", "COUNT 1000", "MATCH *a*", "MATCH k?", "TYPE string"];
                self.some_of(&options, 2, argv);
            }
            "garbage" => argv.push(self.pick(GARBAGE)),
            "name" => argv.push(self.pick(&["n", "client-1", "a b", "", "\n", "tilde~"])),
            _ => {
                let groups = self.groups.clone();
                let known = groups.iter().any(|group| (group.expand)(self, name, argv));
                assert!(known, "no argument is called {name}");
            }
        }
    }

    /// See `expand`.
    pub(crate) fn key(&mut self) -> Vec<u8> {
        match self.random.below(20) {
            0 => Vec::new(),
            1 => b"k\x00\xff\r\n".to_vec(),
            2 => "long".repeat(40).into_bytes(),
            _ => self.pick(KEYS),
        }
    }

    /// See `expand`.
    pub(crate) fn value(&mut self) -> Vec<u8> {
        match self.random.below(12) {
            0 => Vec::new(),
            1..4 => self.pick(INTEGERS),
            4 => self.pick(FLOATS),
            5 => (0..self.random.below(300)).map(|_| self.random.below(256) as u8).collect(),
            6 => "x".repeat(self.random.pick(&[&43, &44, &45, &64, &1000]).to_owned()).into_bytes(),
            7 => b"\r\n$3\r\n\x00\xff".to_vec(),
            _ => self.pick(&["a", "abc", "hello world", "ohmytext", "mynewtext", "0", "7"]),
        }
    }

    pub(crate) fn option(&mut self, name: &str, value: &str, argv: &mut Vec<Vec<u8>>) {
        argv.push(name.as_bytes().to_vec());
        self.expand(value, argv);
    }

    /// A time to live that does not end while the program runs, or one that is refused.
    fn time_to_live(&mut self, unit: u64) -> Vec<u8> {
        if self.random.one_in(6) {
            return self.pick(REFUSED_TIMES);
        }
        self.times += 1;
        ((TIME_TO_LIVE_MIN_SECS + self.times * TIME_TO_LIVE_STEP_SECS) * unit).to_string().into()
    }

    /// Up to `count_max` of the choices, each split at its blanks.
    pub(crate) fn some_of(&mut self, choices: &[&str], count_max: usize, argv: &mut Vec<Vec<u8>>) {
        for _ in 0..self.random.below(count_max + 1) {
            let choice = self.random.pick(choices);
            argv.extend(choice.split(' ').map(|word| word.as_bytes().to_vec()));
        }
    }

    pub(crate) fn pick(&mut self, choices: &[&str]) -> Vec<u8> {
        self.random.pick(choices).as_bytes().to_vec()
    }

    /// Damages a command: an argument too few or too many, in other letters, or not what belongs
    /// there. No small positive number comes in: as a time it would pass while the program runs.
    fn mutate(&mut self, argv: &mut Vec<Vec<u8>>) {
        let at = self.random.below(argv.len());
        match self.random.below(5) {
            0 => drop(argv.pop()),
            1 => argv.push(self.pick(GARBAGE)),
            2 if at > 0 => argv[at] = self.pick(GARBAGE),
            3 => argv[0].make_ascii_lowercase(),
            _ => argv.insert(at + 1, self.pick(GARBAGE)),
        }
        if argv.is_empty() {
            argv.push(b"PING".to_vec());
        }
    }
}

/// What every program has beside its groups.
const EVERYWHERE: &[Line] = &[
    // generic
    (4, "DEL $keys", Rule::Exact),
    (2, "UNLINK $keys", Rule::Exact),
    (3, "EXISTS $keys", Rule::Exact),
    (2, "TOUCH $keys", Rule::Exact),
    (2, "TYPE $key", Rule::Exact),
    (4, "RENAME $key $key", Rule::Exact),
    (3, "RENAMENX $key $key", Rule::Exact),
    (5, "COPY $key $key $copy_options", Rule::Exact),
    (3, "MOVE $key $any_db", Rule::Exact),
    (4, "EXPIRE $key $seconds $conditions", Rule::Exact),
    (3, "PEXPIRE $key $millis $conditions", Rule::Exact),
    (5, "EXPIREAT $key $at $conditions", Rule::Exact),
    (5, "PEXPIREAT $key $at_millis $conditions", Rule::Exact),
    (4, "TTL $key", Rule::Near(SECONDS_TOLERANCE)),
    (3, "PTTL $key", Rule::Near(MILLIS_TOLERANCE)),
    (3, "EXPIRETIME $key", Rule::Near(SECONDS_TOLERANCE)),
    (3, "PEXPIRETIME $key", Rule::Near(MILLIS_TOLERANCE)),
    (4, "PERSIST $key", Rule::Exact),
    (4, "OBJECT ENCODING $key", Rule::Exact),
    (1, "OBJECT REFCOUNT $key", Rule::Type),
    (1, "OBJECT IDLETIME $key", Rule::Type),
    (1, "OBJECT FREQ $key", Rule::Exact),
    (1, "OBJECT $garbage $key", Rule::Exact),
    (3, "KEYS $pattern", Rule::Sorted),
    (3, "SCAN 0 $scan_options", Rule::Exact),
    (1, "SCAN abc $scan_options", Rule::Type),
    (1, "RANDOMKEY", Rule::Type),
    (2, "DBSIZE", Rule::Exact),
    (1, "FLUSHDB", Rule::Exact),
    (1, "FLUSHALL", Rule::Exact),
    (2, "SWAPDB $any_db $db", Rule::Exact),
    (3, "SELECT $db", Rule::Exact),
    (1, "SELECT $any_db", Rule::Exact),
    // connection and server
    (1, "PING", Rule::Exact),
    (1, "PING $value", Rule::Exact),
    (1, "ECHO $value", Rule::Exact),
    (1, "HELLO 3", Rule::Type),
    (1, "HELLO 2", Rule::Type),
    (1, "HELLO $garbage", Rule::Type),
    (1, "RESET", Rule::Exact),
    (1, "AUTH $garbage", Rule::Exact),
    (1, "AUTH default $garbage", Rule::Exact),
    (1, "AUTH $garbage $garbage", Rule::Exact),
    (1, "CLIENT SETNAME $name", Rule::Exact),
    (1, "CLIENT GETNAME", Rule::Exact),
    (1, "CLIENT ID", Rule::Type),
    (1, "CLIENT $garbage", Rule::Exact),
    (1, "CONFIG GET maxmemory", Rule::Exact),
    (1, "COMMAND GETKEYS MSET $pairs", Rule::Exact),
    (1, "TIME", Rule::Shape),
    (1, "MEMORY USAGE $key", Rule::Type),
    (1, "$garbage $garbage $value", Rule::Exact),
];

/// Databases that programs use and that are read back.
pub(crate) const DATABASES: [&str; 4] = ["0", "1", "2", "15"];
/// How far apart two servers may be when a program takes its time on a busy machine.
pub(crate) const MILLIS_TOLERANCE: i64 = 5000;
const SECONDS_TOLERANCE: i64 = 5;

/// Few, so that commands meet each other's keys; one pair shares a hash slot.
const KEYS: &[&str] = &["a", "b", "k1", "k2", "k3", "{t}1", "{t}2", "other", "K1"];
const INTEGERS: &[&str] = &[
    "0",
    "1",
    "-1",
    "10",
    "9999",
    "10000",
    "-42",
    "2147483648",
    "9223372036854775807",
    "-9223372036854775808",
    "9223372036854775806",
    "9223372036854775808",
    "-9223372036854775809",
    "+1",
    "01",
    "-0",
    " 1",
    "1 ",
    "1.0",
    "abc",
    "",
];
const INDEXES: &[&str] = &[
    "0",
    "1",
    "3",
    "-1",
    "-3",
    "100",
    "-100",
    "9223372036854775807",
    "-9223372036854775808",
    "9223372036854775808",
    "abc",
];
const FLOATS: &[&str] = &[
    "0",
    "1",
    "-1",
    "0.1",
    "0.2",
    "3.14",
    "-2.5",
    "1e3",
    "1e-10",
    "5.0e3",
    "1e17",
    "123456789.125",
    "0.3333333333333333333",
    "inf",
    "-inf",
    "nan",
    "abc",
    "",
    "1e400",
    "1e-400",
    "-0.0",
];
const ANY_DATABASES: &[&str] = &["0", "1", "2", "15", "16", "-1", "abc", "9223372036854775808"];
const PATTERNS: &[&str] =
    &["*", "k?", "k*", "[ab]", "[^a]*", "\\{t\\}*", "*[1-2]", "nothing", "", "k[", "*\\", "K*"];
/// Never a small positive number (see `mutate`), and nothing that is an option of its own right.
const GARBAGE: &[&str] =
    &["", "what", "-1", "1.5", "9223372036854775808", "a b", "\r\n", "\u{e9}", "'quoted\"", "0x"];
const REFUSED_TIMES: &[&str] = &[
    "0",
    "-1",
    "abc",
    "",
    "1.5",
    "9223372036854775807",
    "9223372036854775808",
    "-9223372036854775808",
];
/// The year 3021, the past, and the edges.
const ABSOLUTE_SECONDS: &[&str] = &[
    "33177117420",
    "33177117421",
    "33177117430",
    "1",
    "0",
    "-1",
    "9223372036854775",
    "9223372036854776",
    "9223372036854775807",
    "abc",
];
const ABSOLUTE_MILLIS: &[&str] = &[
    "33177117420123",
    "33177117420124",
    "33177117430000",
    "1",
    "0",
    "-1",
    "9223372036854775807",
    "9223372036854775808",
    "abc",
];
/// Longer than any run of the tests.
const TIME_TO_LIVE_MIN_SECS: u64 = 100_000;
/// Wider than the time between two commands.
const TIME_TO_LIVE_STEP_SECS: u64 = 1000;
const PIPELINE_MAX: usize = 32;
const STEPS_MAX: usize = 200;
/// One in so many commands is none of the program's groups.
const OTHERS_ONE_IN: usize = 3;
const MUTATE_ONE_IN: usize = 12;
