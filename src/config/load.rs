//! Loading: from the pieces that the command line names to a [`Config`], or to the report with which
//! the start ends. Invariant: the report is Redis' to the byte; nothing is opened but through the
//! [`Host`]. Source: Redis 8.0.6.

use std::sync::Arc;

use super::REDIS_VERSION;
use super::args::Sources;
use super::directives::{self, Directive, Found};
use super::kind::{Kind, Reason};
use super::settings::{Config, Values, default_values};
use super::value::Value;
use crate::base::words::{split_args, trim_line};

/// The system, as far as loading a configuration needs it. Errors are the system's words.
pub trait Host {
    /// The whole file.
    fn read_file(&mut self, path: &[u8]) -> Result<Vec<u8>, String>;
    /// All of standard input.
    fn read_stdin(&mut self) -> Result<Vec<u8>, String>;
    /// The paths that a shell pattern matches, sorted; none is no error.
    fn glob(&mut self, pattern: &[u8]) -> Vec<Vec<u8>>;
    /// The working directory.
    fn current_dir(&mut self) -> Vec<u8>;
    /// Makes `path` the working directory and returns what it is then called.
    fn enter_dir(&mut self, path: &[u8]) -> Result<Vec<u8>, String>;
    /// Opens a file for appending, made if it is missing, and closes it.
    fn try_append(&mut self, path: &[u8]) -> Result<(), String>;
    /// Gives a command another name, or none. An error says what is wrong with the line.
    fn rename_command(&mut self, old: &[u8], new: &[u8]) -> Result<(), String>;
    /// Declares a user: its name and its rules. An error says what is wrong with the line.
    fn declare_user(&mut self, words: &[&[u8]]) -> Result<(), String>;
}

/// A loaded configuration.
#[derive(Debug)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// The configuration file, absolute; what CONFIG REWRITE writes.
    pub file: Option<Vec<u8>>,
    /// For the log: directives that are accepted and will not do what they say.
    pub notices: Vec<String>,
}

/// Why the start ends; with exit code 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LoadError {
    /// A line is wrong. The text is for standard error.
    Report(Vec<u8>),
    /// A file cannot be read. The text is for the log, as a warning.
    Unreadable(Vec<u8>),
}

/// Redis would follow includes until its stack is full.
const INCLUDE_DEPTH_MAX: usize = 16;

/// Names that Redis still reads, with one value, and forgets.
const FORGOTTEN: [&[u8]; 4] = [
    b"list-max-ziplist-entries",
    b"list-max-ziplist-value",
    b"lua-replicate-commands",
    b"io-threads-do-reads",
];

/// Reads all pieces of a configuration in order. What comes later wins, except where values add up.
pub fn load(sources: &Sources, host: &mut dyn Host) -> Result<Loaded, LoadError> {
    let file = sources.file.as_ref().map(|path| absolute(&host.current_dir(), path));
    let mut loader = Loader::new(host);
    if let Some(options) = &sources.options {
        let mut text = match &file {
            Some(path) => loader.read(path)?,
            None => Vec::new(),
        };
        if sources.stdin {
            let unreadable = |reason| LoadError::unreadable(b"-", reason);
            text.extend(loader.host.read_stdin().map_err(unreadable)?);
        }
        text.push(b'\n');
        text.extend(options);
        loader.load_text(&text, 0)?;
    }
    let (config, notices) = loader.finish()?;
    Ok(Loaded { config, file, notices })
}

struct Loader<'a> {
    host: &'a mut dyn Host,
    values: Values,
    /// By directive: where it was set last.
    set_at: Box<[Option<Place>]>,
}

/// A line of one file, counted from 1 and without the blanks at its ends.
#[derive(Clone)]
struct Place {
    line: usize,
    text: Vec<u8>,
}

/// What is wrong with one line: its reason, or what came up in a file that it includes.
enum LineError {
    Reason(Reason),
    Nested(LoadError),
}

impl<T: Into<Reason>> From<T> for LineError {
    fn from(reason: T) -> Self {
        LineError::Reason(reason.into())
    }
}

impl<'a> Loader<'a> {
    fn new(host: &'a mut dyn Host) -> Loader<'a> {
        let values = default_values();
        let set_at = vec![None; directives::all().len()].into();
        Loader { host, values, set_at }
    }

    /// The file at `path`, or all that it matches if it is a pattern, one after the other.
    fn read(&mut self, path: &[u8]) -> Result<Vec<u8>, LoadError> {
        let paths = if path.iter().any(|byte| b"*?[".contains(byte)) {
            self.host.glob(path)
        } else {
            vec![path.to_vec()]
        };
        let mut text = Vec::new();
        for path in &paths {
            if text.last().is_some_and(|byte| *byte != b'\n') {
                text.push(b'\n');
            }
            let content = self.host.read_file(path);
            text.extend(content.map_err(|reason| LoadError::unreadable(path, reason))?);
        }
        Ok(text)
    }

    fn load_text(&mut self, text: &[u8], depth: usize) -> Result<(), LoadError> {
        for (index, line) in text.split(|byte| *byte == b'\n').enumerate() {
            let line = trim_line(line);
            if line.is_empty() || line.starts_with(b"#") {
                continue;
            }
            let place = || Place { line: index + 1, text: shown(line) };
            match self.load_line(line, place, depth) {
                Ok(()) => {}
                Err(LineError::Reason(reason)) => return Err(report(Some(&place()), &reason)),
                Err(LineError::Nested(error)) => return Err(error),
            }
        }
        Ok(())
    }

    fn load_line(
        &mut self,
        line: &[u8],
        place: impl Fn() -> Place,
        depth: usize,
    ) -> Result<(), LineError> {
        let words = split_args(line).ok_or("Unbalanced quotes in configuration line")?;
        let words: Vec<&[u8]> = words.iter().map(AsRef::as_ref).collect();
        let [name, args @ ..] = words.as_slice() else { return Ok(()) };
        if let Some(found) = directives::find(name) {
            self.set(found, args)?;
            self.set_at[found.index] = Some(place());
            return Ok(());
        }
        let name = name.to_ascii_lowercase();
        match (name.as_slice(), args) {
            (name, [_]) if FORGOTTEN.contains(&name) => Ok(()),
            (b"include", [path]) => self.include(path, depth + 1),
            (b"user", [_, ..]) => Ok(self.host.declare_user(args)?),
            (b"rename-command", [old, new]) => Ok(self.host.rename_command(old, new)?),
            (b"loadmodule", [_, ..]) => Err(missing("modules").into()),
            (b"sentinel", _) => Err(missing("Sentinel").into()),
            // With a value Redis keeps it for modules, and stops later without naming the line.
            _ => Err("Bad directive or wrong number of arguments".into()),
        }
    }

    fn include(&mut self, path: &[u8], depth: usize) -> Result<(), LineError> {
        if depth > INCLUDE_DEPTH_MAX {
            return Err("too many files include each other".into());
        }
        let text = self.read(path).map_err(LineError::Nested)?;
        self.load_text(&text, depth).map_err(LineError::Nested)
    }

    fn set(&mut self, found: Found, args: &[&[u8]]) -> Result<(), Reason> {
        let directive = found.directive();
        let value = match args {
            // Several values may be one quoted word. If that has an open quote, it has no words.
            [text] if directive.kind.takes_many() && !text.is_empty() => {
                let words = split_args(text).unwrap_or_default();
                let words: Vec<&[u8]> = words.iter().map(AsRef::as_ref).collect();
                self.parse(directive, found.index, &words)?
            }
            args => self.parse(directive, found.index, args)?,
        };
        self.values[found.index] = Arc::new(value);
        Ok(())
    }

    fn parse(
        &mut self,
        directive: &Directive,
        index: usize,
        words: &[&[u8]],
    ) -> Result<Value, Reason> {
        // Save points add up, but the first line of them takes the place of the defaults.
        let first = self.set_at[index].is_none();
        let value = if first && matches!(directive.kind, Kind::Save) {
            directive.parse(words, &directive.kind.empty())?
        } else {
            directive.parse(words, &self.values[index])?
        };
        match &value {
            Value::Text(path) if matches!(directive.kind, Kind::Directory) => {
                Ok(Value::Text(self.host.enter_dir(path)?))
            }
            _ => Ok(value),
        }
    }

    /// Judges what the values ask for only now: a later line may have taken a request back.
    fn finish(mut self) -> Result<(Config, Vec<String>), LoadError> {
        let mut notices = Vec::new();
        for (index, directive) in directives::all().iter().enumerate() {
            let value = &self.values[index];
            if let Some(reason) = directive.refusal(value) {
                return Err(report(self.set_at[index].as_ref(), &reason));
            }
            notices.extend(directive.notice(value));
        }
        let dir = directives::find(b"dir").expect("dir is a directive");
        if self.set_at[dir.index].is_none() {
            self.values[dir.index] = Arc::new(Value::Text(self.host.current_dir()));
        }
        let config = Config::from_values(self.values);
        if !config.logfile.is_empty() {
            let tried = self.host.try_append(&config.logfile);
            tried.map_err(|error| report(None, &format!("Can't open the log file: {error}")))?;
        }
        Ok((config, notices))
    }
}

impl LoadError {
    fn unreadable(path: &[u8], reason: String) -> LoadError {
        let before: &[u8] = b"Fatal error, can't open config file '";
        LoadError::Unreadable([before, path, b"': ", reason.as_bytes()].concat())
    }
}

fn missing(what: &str) -> String {
    format!("this needs {what}, not available in this version")
}

/// A line as a report may show it: without what is secret.
fn shown(line: &[u8]) -> Vec<u8> {
    let words = split_args(line).unwrap_or_default();
    let named = words.first().and_then(|name| directives::find(name));
    match named.filter(|found| found.directive().sensitive) {
        Some(found) => [found.name.as_bytes(), b" (hidden)"].concat(),
        None => line.into(),
    }
}

fn report(place: Option<&Place>, reason: &str) -> LoadError {
    let mut report =
        format!("\n*** FATAL CONFIG FILE ERROR (Redis {REDIS_VERSION}) ***\n").into_bytes();
    if let Some(Place { line, text }) = place {
        report
            .extend(format!("Reading the configuration file, at line {line}\n>>> '").into_bytes());
        report.extend(text);
        report.extend(b"'\n");
    }
    report.extend(reason.as_bytes());
    report.push(b'\n');
    LoadError::Report(report)
}

/// `path` as seen from `dir`; leading `./` and `../` are resolved by name.
fn absolute(dir: &[u8], path: &[u8]) -> Vec<u8> {
    let mut path = trim_line(path);
    if path.starts_with(b"/") {
        return path.into();
    }
    let mut dir = dir;
    loop {
        if let Some(rest) = path.strip_prefix(b"./") {
            path = rest;
        } else if let Some(rest) = path.strip_prefix(b"../") {
            path = rest;
            dir = &dir[..dir.iter().rposition(|byte| *byte == b'/').unwrap_or(0)];
        } else {
            let dir = dir.strip_suffix(b"/").unwrap_or(dir);
            return [dir, b"/", path].concat();
        }
    }
}

#[cfg(test)]
mod tests;
