//! What a client sends, and the bytes that must come back.
//!
//! Invariant: a program touches only keys that begin with its own prefix, so its replies do not
//! depend on anybody else and are known before it runs.

use std::collections::BTreeMap;

use ironring::base::rng::Rng;
use ironring::dispatch::table;
use ironring::resp::request;

/// Which sizes and forms a program may have; the seed decides for a whole run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    /// Commands, at most.
    pub(crate) commands_max: u64,
    /// Bytes of a value, at most.
    pub(crate) value_bytes_max: u64,
    /// What AUTH needs; empty without a password.
    pub(crate) password: &'static str,
    /// Inline commands are sent, too.
    pub(crate) inline: bool,
    /// Longer keys than a server wants.
    pub(crate) key_bytes_max: u64,
}

/// A client's whole conversation.
#[derive(Debug, Default)]
pub(crate) struct Program {
    /// What it sends.
    pub(crate) requests: Vec<u8>,
    /// What it must get.
    pub(crate) replies: Vec<u8>,
    db: u8,
    strings: BTreeMap<(u8, Vec<u8>), Vec<u8>>,
}

/// True if this build has the command.
pub(crate) fn has(name: &str) -> bool {
    table::table().command(name.as_bytes()).is_some()
}

impl Program {
    /// A program by chance, on keys of its own.
    pub(crate) fn random(rng: &mut Rng, number: usize, shape: Shape) -> Program {
        let mut program = Program::default();
        if !shape.password.is_empty() {
            program.command(rng, shape, &[b"GET", b"a"], NO_AUTH);
            program.command(rng, shape, &[b"AUTH", shape.password.as_bytes()], b"+OK\r\n");
        }
        for _ in 0..1 + rng.below(shape.commands_max) {
            let key = key(rng, number, shape);
            match rng.below(23) {
                0..7 => program.set(rng, key, shape),
                7..13 => program.get(rng, &key, shape),
                13 => program.command(rng, shape, &[b"PING"], b"+PONG\r\n"),
                14 => program.command(
                    rng,
                    shape,
                    &[b"nosuch", b"a", b"b"],
                    b"-ERR unknown command 'nosuch', with args beginning with: 'a' 'b' \r\n",
                ),
                15 => program.command(
                    rng,
                    shape,
                    &[b"GET"],
                    b"-ERR wrong number of arguments for 'get' command\r\n",
                ),
                16 => program.requests.extend_from_slice(b"\r\n"),
                17 if has("mset") && has("mget") => program.many(rng, number, shape),
                18 if has("append") => program.append(rng, key, shape),
                19 if has("del") => program.delete(rng, &key, shape),
                20 if has("select") => program.select(rng, shape),
                21 if has("client") => program.skip(rng, &key, shape),
                22 if shape.value_bytes_max == READS_BYTES => program.reads(rng, key, shape),
                _ => program.get(rng, &key, shape),
            }
        }
        program
    }

    /// The client makes the server end the connection: by QUIT, or by a broken protocol. What it sends
    /// behind that is not looked at.
    pub(crate) fn end(&mut self, rng: &mut Rng) {
        let (bytes, reply): (&[u8], &[u8]) = match rng.below(4) {
            0 => (b"*1\r\n!", b"-ERR Protocol error: expected '$', got '!'\r\n"),
            1 => (b"*x\r\n", b"-ERR Protocol error: invalid multibulk length\r\n"),
            2 if has("quit") => (b"QUIT\r\n", b"+OK\r\n"),
            _ => (b"get \"a\r\n", b"-ERR Protocol error: unbalanced quotes in request\r\n"),
        };
        self.requests.extend_from_slice(bytes);
        // The error shows with the end of the line at the latest.
        self.requests.extend_from_slice(b"\r\nPING\r\n");
        self.replies.extend_from_slice(reply);
    }

    fn set(&mut self, rng: &mut Rng, key: Vec<u8>, shape: Shape) {
        let value = value(rng, shape);
        self.command(rng, shape, &[b"SET", &key, &value], b"+OK\r\n");
        self.strings.insert((self.db, key), value);
    }

    fn get(&mut self, rng: &mut Rng, key: &[u8], shape: Shape) {
        let reply = bulk(self.strings.get(&(self.db, key.to_vec())));
        self.command(rng, shape, &[b"GET", key], &reply);
    }

    fn many(&mut self, rng: &mut Rng, number: usize, shape: Shape) {
        let keys: Vec<Vec<u8>> =
            (0..1 + rng.below(4)).map(|_| self::key(rng, number, shape)).collect();
        if rng.below(2) == 0 {
            let values: Vec<Vec<u8>> = keys.iter().map(|_| value(rng, shape)).collect();
            let mut words: Vec<&[u8]> = vec![b"MSET"];
            for (key, value) in keys.iter().zip(&values) {
                words.extend([key.as_slice(), value.as_slice()]);
            }
            self.command(rng, shape, &words, b"+OK\r\n");
            let keys = keys.into_iter().map(|key| (self.db, key));
            self.strings.extend(keys.zip(values));
        } else {
            let mut reply = format!("*{}\r\n", keys.len()).into_bytes();
            for key in &keys {
                reply.extend(bulk(self.strings.get(&(self.db, key.clone()))));
            }
            let mut words: Vec<&[u8]> = vec![b"MGET"];
            words.extend(keys.iter().map(Vec::as_slice));
            self.command(rng, shape, &words, &reply);
        }
    }

    fn append(&mut self, rng: &mut Rng, key: Vec<u8>, shape: Shape) {
        let more = value(rng, shape);
        let string = self.strings.entry((self.db, key.clone())).or_default();
        string.extend_from_slice(&more);
        let reply = format!(":{}\r\n", string.len());
        self.command(rng, shape, &[b"APPEND", &key, &more], reply.as_bytes());
    }

    fn delete(&mut self, rng: &mut Rng, key: &[u8], shape: Shape) {
        let reply =
            format!(":{}\r\n", u8::from(self.strings.remove(&(self.db, key.to_vec())).is_some()));
        self.command(rng, shape, &[b"DEL", key], reply.as_bytes());
    }

    fn select(&mut self, rng: &mut Rng, shape: Shape) {
        self.db = rng.below(3) as u8;
        let number = self.db.to_string();
        self.command(rng, shape, &[b"SELECT", number.as_bytes()], b"+OK\r\n");
    }

    /// Reads of so much that a server stops until the client has caught up.
    fn reads(&mut self, rng: &mut Rng, key: Vec<u8>, shape: Shape) {
        let value = vec![b'v'; READS_BYTES as usize / 2];
        self.command(rng, shape, &[b"SET", &key, &value], b"+OK\r\n");
        self.strings.insert((self.db, key.clone()), value);
        for _ in 0..40 {
            self.get(rng, &key, shape);
        }
    }

    /// A read whose reply the client does not want.
    fn skip(&mut self, rng: &mut Rng, key: &[u8], shape: Shape) {
        self.command(rng, shape, &[b"CLIENT", b"REPLY", b"SKIP"], b"");
        self.command(rng, shape, &[b"GET", key], b"");
    }

    /// Adds a command in one of its forms, with its reply.
    fn command(&mut self, rng: &mut Rng, shape: Shape, words: &[&[u8]], reply: &[u8]) {
        let plain = |word: &&[u8]| {
            !word.is_empty() && word.len() < 1000 && word.iter().all(u8::is_ascii_alphanumeric)
        };
        let short = words.iter().all(|word| word.len() < 1000);
        let line_end: &[u8] = if rng.below(2) == 0 { b"\r\n" } else { b"\n" };
        match if shape.inline { rng.below(4) } else { 3 } {
            0 if words.iter().all(plain) => {
                self.requests.extend(words.join(&b' '));
                self.requests.extend_from_slice(line_end);
            }
            1 if short => {
                for word in words {
                    let quoted = word.iter().map(|byte| format!("\\x{byte:02x}"));
                    self.requests.extend(format!("\"{}\" ", quoted.collect::<String>()).bytes());
                }
                self.requests.extend_from_slice(line_end);
            }
            _ => self.requests.extend(request::encode(words)),
        }
        self.replies.extend_from_slice(reply);
    }
}

/// Runs with values up to this size read some of them many times.
pub(crate) const READS_BYTES: u64 = 20_000;

const NO_AUTH: &[u8] = b"-NOAUTH Authentication required.\r\n";

fn key(rng: &mut Rng, number: usize, shape: Shape) -> Vec<u8> {
    let mut key = format!("client{number}key{}", rng.below(8)).into_bytes();
    if shape.key_bytes_max > 0 && rng.below(8) == 0 {
        key.resize(key.len() + rng.below(shape.key_bytes_max) as usize, b'k');
    }
    key
}

fn value(rng: &mut Rng, shape: Shape) -> Vec<u8> {
    // Small ones are likely; each length up to the largest is possible.
    let most = if rng.below(4) == 0 { shape.value_bytes_max } else { 20 };
    let mut value = vec![0; rng.below(most + 1) as usize];
    rng.fill(&mut value);
    if rng.below(2) == 0 {
        value.iter_mut().for_each(|byte| *byte = b'a' + *byte % 26);
    }
    value
}

fn bulk(value: Option<&Vec<u8>>) -> Vec<u8> {
    match value {
        None => b"$-1\r\n".to_vec(),
        Some(value) => [format!("${}\r\n", value.len()).as_bytes(), value, b"\r\n"].concat(),
    }
}
