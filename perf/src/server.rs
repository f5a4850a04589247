//! Servers under test: started pinned from a command line, filled, watched through /proc, killed.
//! Invariant: a server lives in a folder of its own, and neither outlives its `Server`.
//! Source: proc(5), proc_pid_schedstat; the command line is split as a shell would, without
//! expansion.

use std::fs::{self, File};
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::resp::{self, Reply, Walker};
use crate::workload::{Keys, Mix, Workload};
use crate::{Result, sys};

/// How long a server may take until it answers PING.
const START_TIME_MAX: Duration = Duration::from_mins(5);
/// A reply that takes longer than this is an error.
const REPLY_TIME_MAX: Duration = Duration::from_mins(1);
/// SETs sent at once by a fill.
const FILL_PIPELINE: usize = 500;
/// What a server says, in its folder.
const LOG: &str = "server.log";
/// First port tried.
const PORT_FIRST: u16 = 17300;

/// A server as the command line gives it: `name=COMMAND`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Spec {
    /// What tables call it.
    pub(crate) name: String,
    /// Program and arguments, with `{port}`, `{dir}` and `{cpus}` still in them.
    argv: Vec<String>,
}

impl Spec {
    /// Parses `name=COMMAND`.
    pub(crate) fn parse(text: &str) -> Result<Spec> {
        let Some((name, command)) = text.split_once('=') else {
            return Err(format!("a server is name=COMMAND, not {text:?}").into());
        };
        let argv = split_words(command)?;
        if name.is_empty() || argv.is_empty() {
            return Err(format!("{text:?} lacks a name or a command").into());
        }
        if !command.contains("{port}") {
            return Err(format!("the command of {name} has no {{port}}").into());
        }
        Ok(Spec { name: name.to_owned(), argv })
    }

    /// The same server under another name.
    pub(crate) fn renamed(&self, name: &str) -> Spec {
        Spec { name: name.to_owned(), argv: self.argv.clone() }
    }

    /// The command for a record: flags matter there, the folders of one machine do not.
    pub(crate) fn shown(&self) -> String {
        let program = self.argv[0].rsplit('/').next().unwrap_or_default().to_owned();
        let quoted = |word: &String| if word.is_empty() { "\"\"".to_owned() } else { word.clone() };
        let words: Vec<String> =
            std::iter::once(program).chain(self.argv[1..].iter().map(quoted)).collect();
        words.join(" ")
    }
}

/// A running server.
pub(crate) struct Server {
    /// Its name in tables.
    pub(crate) name: String,
    /// Its port on the loopback address.
    pub(crate) port: u16,
    child: Child,
    folder: PathBuf,
    program: PathBuf,
    arguments: Vec<String>,
    cpus: Vec<usize>,
}

impl Server {
    /// Starts a server on these processors and waits until it answers.
    pub(crate) fn start(spec: &Spec, cpus: &[usize]) -> Result<Server> {
        let port = free_port()?;
        let unique = format!("ironring-perf-{}-{port}", std::process::id());
        let folder = std::env::temp_dir().join(unique);
        fs::create_dir_all(&folder)?;
        let fill_in = |word: &String| {
            word.replace("{port}", &port.to_string())
                .replace("{dir}", &folder.to_string_lossy())
                .replace("{cpus}", &cpus.len().to_string())
        };
        let argv: Vec<String> = spec.argv.iter().map(fill_in).collect();
        // The server runs in its own folder, so a path relative to ours must become absolute.
        let program = if argv[0].contains('/') {
            fs::canonicalize(&argv[0]).map_err(|e| format!("{}: {e}", argv[0]))?
        } else {
            PathBuf::from(&argv[0])
        };
        let arguments = argv[1..].to_vec();
        let child = spawn(&program, &arguments, &folder, cpus)?;
        let (name, cpus) = (spec.name.clone(), cpus.to_vec());
        let mut server = Server { name, port, child, folder, program, arguments, cpus };
        server.await_pong()?;
        Ok(server)
    }

    /// Ends the process as a crash would; its folder stays.
    pub(crate) fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Starts it again in its folder, and waits until it answers: all is loaded then.
    pub(crate) fn start_again(&mut self) -> Result<()> {
        self.child = spawn(&self.program, &self.arguments, &self.folder, &self.cpus)?;
        self.await_pong()
    }

    /// Bytes of all files in its folder, and those below it, but for its log.
    pub(crate) fn file_bytes(&self) -> Result<u64> {
        let (mut folders, mut bytes) = (vec![self.folder.clone()], 0);
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder)? {
                let entry = entry?;
                if entry.file_type()?.is_dir() {
                    folders.push(entry.path());
                } else if entry.file_name() != LOG {
                    bytes += entry.metadata()?.len();
                }
            }
        }
        Ok(bytes)
    }

    fn await_pong(&mut self) -> Result<()> {
        let start = Instant::now();
        while start.elapsed() < START_TIME_MAX {
            if let Some(status) = self.child.try_wait()? {
                return Err(format!("{} ended with {status}:\n{}", self.name, self.log()).into());
            }
            let answer = Client::open(self.port).and_then(|mut client| client.call(&["PING"]));
            if answer.is_ok_and(|reply| reply == Reply::Status(b"PONG".to_vec())) {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Err(format!("{} does not answer PING:\n{}", self.name, self.log()).into())
    }

    fn log(&self) -> String {
        let text = fs::read(self.folder.join(LOG)).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(10)..].join("\n")
    }

    /// Sets keys `start` to `end - 1` to the values that a verified GET expects.
    pub(crate) fn fill(&self, start: u64, end: u64, value_bytes: usize) -> Result<()> {
        let keys = Keys::sequence(start, end);
        let workload = Workload::new(&Mix::parse("set")?, FILL_PIPELINE, value_bytes, keys);
        self.send_all(workload, end.saturating_sub(start))
    }

    /// Sends a workload until so many of its commands were answered.
    pub(crate) fn send_all(&self, mut workload: Workload, commands: u64) -> Result<()> {
        let mut client = Client::open(self.port)?;
        let mut answered = 0;
        while answered < commands {
            let (_, bytes, replies) = workload.next(None);
            client.stream.write_all(bytes)?;
            client.await_replies(replies)?;
            answered += replies;
        }
        Ok(())
    }

    /// User and system time of all threads of the process, as the scheduler counts it.
    pub(crate) fn cpu(&self) -> Result<Duration> {
        let mut nanoseconds = 0u64;
        for task in fs::read_dir(format!("/proc/{}/task", self.child.id()))? {
            // A thread may end between the listing and the read.
            let Ok(text) = fs::read_to_string(task?.path().join("schedstat")) else { continue };
            nanoseconds += text.split_whitespace().next().unwrap_or_default().parse::<u64>()?;
        }
        Ok(Duration::from_nanos(nanoseconds))
    }

    /// Resident bytes of the process: `VmRSS`.
    pub(crate) fn resident_bytes(&self) -> Result<u64> {
        let text = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|rest| rest.split_whitespace().next());
        Ok(kib.ok_or("no VmRSS in /proc/PID/status")?.parse::<u64>()? * 1024)
    }

    /// The text of INFO; empty where the server has no INFO.
    pub(crate) fn info(&self) -> Result<String> {
        match Client::open(self.port)?.call(&["INFO", "everything"])? {
            Reply::Bulk(Some(text)) => Ok(String::from_utf8_lossy(&text).into_owned()),
            _ => Ok(String::new()),
        }
    }

    /// Whether replicas can follow it.
    pub(crate) fn has_replication(&self) -> Result<bool> {
        Ok(info_field(&self.info()?, "connected_slaves").is_some())
    }

    /// Which release this is, as far as it says.
    pub(crate) fn version(&self) -> Result<String> {
        let info = self.info()?;
        let fields = ["ironring_version", "valkey_version", "redis_version"];
        let version = fields.iter().find_map(|name| Some((*name, info_field(&info, name)?)));
        Ok(match version {
            Some((name, version)) => format!("{} {version}", name.trim_end_matches("_version")),
            None => "unknown".to_owned(),
        })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Nothing more can be done about a process that will not die or a folder that stays.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn spawn(program: &Path, arguments: &[String], folder: &Path, cpus: &[usize]) -> Result<Child> {
    let log = File::create(folder.join(LOG))?;
    let mut command = Command::new(program);
    command.args(arguments).current_dir(folder);
    command.stdin(Stdio::null()).stderr(log.try_clone()?).stdout(log);
    sys::confine(&mut command, cpus);
    command.spawn().map_err(|e| format!("{}: {e}", program.display()).into())
}

/// The value of one INFO field.
pub(crate) fn info_field<'a>(info: &'a str, name: &str) -> Option<&'a str> {
    info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
}

/// A blocking client, for everything that is not measured.
pub(crate) struct Client {
    stream: TcpStream,
}

impl Client {
    /// Connects to the loopback address.
    pub(crate) fn open(port: u16) -> Result<Client> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(REPLY_TIME_MAX))?;
        Ok(Client { stream })
    }

    /// Sends one command and waits for its reply.
    pub(crate) fn call(&mut self, argv: &[&str]) -> Result<Reply> {
        self.send(argv)?;
        Ok(self.receive(1)?.remove(0))
    }

    /// Sends one command.
    pub(crate) fn send(&mut self, argv: &[&str]) -> Result<()> {
        let mut request = Vec::new();
        let argv: Vec<&[u8]> = argv.iter().map(|arg| arg.as_bytes()).collect();
        resp::write_command(&mut request, &argv);
        Ok(self.stream.write_all(&request)?)
    }

    /// Sends commands at once and waits for their replies, none of which may be an error.
    pub(crate) fn call_all(&mut self, requests: &[u8], count: usize) -> Result<Vec<Reply>> {
        self.stream.write_all(requests)?;
        let replies = self.receive(count)?;
        match replies.iter().find(|reply| matches!(reply, Reply::Error(_))) {
            Some(error) => Err(format!("a command was answered {error:?}").into()),
            None => Ok(replies),
        }
    }

    fn receive(&mut self, count: usize) -> Result<Vec<Reply>> {
        let (mut received, mut piece) = (Vec::new(), [0; 16 * 1024]);
        let (mut replies, mut at) = (Vec::new(), 0);
        while replies.len() < count {
            if let Some((reply, used)) = resp::parse(&received[at..])? {
                replies.push(reply);
                at += used;
            } else {
                let n = self.read(&mut piece)?;
                received.extend_from_slice(&piece[..n]);
            }
        }
        Ok(replies)
    }

    /// The connection, for other uses.
    pub(crate) fn into_stream(self) -> TcpStream {
        self.stream
    }

    fn await_replies(&mut self, replies: u64) -> Result<()> {
        let (mut walker, mut held, mut piece) = (Walker::default(), Vec::new(), [0; 16 * 1024]);
        let mut seen = 0;
        while seen < replies {
            let n = self.read(&mut piece)?;
            held.extend_from_slice(&piece[..n]);
            let found = walker.walk(&held)?;
            held.drain(..found.consumed);
            seen += found.replies;
        }
        Ok(())
    }

    fn read(&mut self, piece: &mut [u8]) -> Result<usize> {
        match self.stream.read(piece) {
            Ok(0) => Err("the server closed a connection".into()),
            Ok(n) => Ok(n),
            Err(e) if e.kind() == ErrorKind::WouldBlock => Err("a reply did not come".into()),
            Err(e) => Err(e.into()),
        }
    }
}

/// A port that nobody listens on; another process may take it first, and then the start fails.
fn free_port() -> Result<u16> {
    let free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
    let first = PORT_FIRST + (std::process::id() % 1000) as u16 * 10;
    (first..u16::MAX).find(free).ok_or_else(|| "no free port".into())
}

/// Splits a command line at blanks; quotes, single or double, hold words together.
fn split_words(text: &str) -> Result<Vec<String>> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None::<char>);
    for c in text.chars() {
        match quote {
            Some(q) if q == c => quote = None,
            None if c == '"' || c == '\'' => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            None if c.is_whitespace() => words.extend(word.take()),
            _ => word.get_or_insert_default().push(c),
        }
    }
    if quote.is_some() {
        return Err(format!("a quote is not closed in {text:?}").into());
    }
    words.extend(word);
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn specs_are_split_as_a_shell_would() {
        let spec = Spec::parse("a=bin/x --port {port} --save \"\" --name 'b  c'").unwrap();
        assert_eq!(spec.name, "a");
        assert_eq!(spec.argv, ["bin/x", "--port", "{port}", "--save", "", "--name", "b  c"]);
        assert_eq!(spec.shown(), "x --port {port} --save \"\" --name b  c");
        for wrong in ["x", "=x {port}", "a=", "a=x", "a=x {port} '"] {
            assert!(Spec::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn info_fields_are_whole_names() {
        let info = "# Server\r\nredis_version:8.0.6\r\nredis_version_x:1\r\n";
        assert_eq!(info_field(info, "redis_version"), Some("8.0.6"));
        assert_eq!(info_field(info, "version"), None);
    }
}
