//! Records: what a run found, as CSV with the facts of the machine and the run on top.
//! Invariant: tables and charts are drawn from a record alone, so a committed file can be shown
//! again; text round-trips. Layout:
//! `# fact: value` lines | a line of column names | a line per row. Quoting as in RFC 4180.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::Result;

/// Facts, columns and rows of one run.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Record {
    /// Name and value, in order.
    pub(crate) facts: Vec<(String, String)>,
    /// Column names.
    pub(crate) columns: Vec<String>,
    /// One field per column.
    pub(crate) rows: Vec<Vec<String>>,
}

impl Record {
    /// An empty record of a `kind` of run, which knows machine, date and commit.
    pub(crate) fn new(kind: &str, columns: &[&str]) -> Record {
        let mut facts = vec![("kind".to_owned(), kind.to_owned())];
        facts.extend([
            ("date".to_owned(), utc_now()),
            ("commit".to_owned(), commit()),
            ("cpu".to_owned(), cpu_model()),
            ("processors".to_owned(), processors().to_string()),
            ("kernel".to_owned(), kernel()),
        ]);
        let columns = columns.iter().map(|&name| name.to_owned()).collect();
        Record { facts, columns, rows: Vec::new() }
    }

    /// Adds a fact.
    pub(crate) fn fact(&mut self, name: &str, value: &str) {
        self.facts.push((name.to_owned(), value.replace(['\r', '\n'], " ")));
    }

    /// The value of a fact; empty if it is not there.
    pub(crate) fn fact_of(&self, name: &str) -> &str {
        self.facts.iter().find(|(fact, _)| fact == name).map_or("", |(_, value)| value)
    }

    /// One row, read by column name.
    pub(crate) fn row(&self, index: usize) -> Row<'_> {
        Row { columns: &self.columns, fields: &self.rows[index] }
    }

    /// All rows in order.
    pub(crate) fn each(&self) -> impl Iterator<Item = Row<'_>> {
        (0..self.rows.len()).map(|index| self.row(index))
    }

    /// The facts as lines for the foot of a table.
    pub(crate) fn facts_text(&self) -> String {
        let lines: Vec<String> =
            self.facts.iter().map(|(name, value)| format!("{name}: {value}\n")).collect();
        lines.concat()
    }

    /// As CSV.
    pub(crate) fn to_csv(&self) -> String {
        let mut text = String::new();
        for (name, value) in &self.facts {
            text += &format!("# {name}: {value}\n");
        }
        for row in std::iter::once(&self.columns).chain(&self.rows) {
            let fields: Vec<String> = row.iter().map(|field| quote(field)).collect();
            text += &fields.join(",");
            text.push('\n');
        }
        text
    }

    /// From CSV.
    pub(crate) fn from_csv(text: &str) -> Result<Record> {
        let (mut facts, mut table) = (Vec::new(), Vec::new());
        for line in text.lines() {
            match line.strip_prefix("# ") {
                Some(fact) => {
                    let (name, value) = fact.split_once(": ").unwrap_or((fact, ""));
                    facts.push((name.to_owned(), value.to_owned()));
                }
                None => table.push(split_fields(line)),
            }
        }
        let mut rows = table.into_iter();
        let columns = rows.next().ok_or("the record has no columns")?;
        let rows: Vec<Vec<String>> = rows.collect();
        if rows.iter().any(|row| row.len() != columns.len()) {
            return Err("a row of the record has not as many fields as there are columns".into());
        }
        Ok(Record { facts, columns, rows })
    }

    /// Writes the CSV to its place below `root`, beside what a run of the same day and commit left
    /// there: a figure that was recorded once is never overwritten.
    pub(crate) fn keep_below(&self, root: &Path) -> Result<PathBuf> {
        let first = self.path_below(root);
        let mut path = first.clone();
        let mut copy = 2;
        while path.exists() {
            path = first.with_extension(format!("{copy}.csv"));
            copy += 1;
        }
        self.write(&path)?;
        Ok(path)
    }

    /// `<cpu>-<kernel>/<date>-<commit>.csv` below `root`.
    fn path_below(&self, root: &Path) -> PathBuf {
        let machine = format!("{}-{}", slug(self.fact_of("cpu")), slug(self.fact_of("kernel")));
        let date = self.fact_of("date").split('T').next().unwrap_or_default();
        let kind = match self.fact_of("kind") {
            "compare" => String::new(),
            kind => format!("-{kind}"),
        };
        root.join(machine).join(format!("{date}-{}{kind}.csv", self.fact_of("commit")))
    }

    /// Writes the CSV, and the folders on its way.
    pub(crate) fn write(&self, path: &Path) -> Result<()> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        Ok(fs::write(path, self.to_csv())?)
    }
}

/// A row that is read by column name.
#[derive(Clone, Copy)]
pub(crate) struct Row<'a> {
    columns: &'a [String],
    fields: &'a [String],
}

impl<'a> Row<'a> {
    /// The field of a column; empty if there is no such column.
    pub(crate) fn text(&self, column: &str) -> &'a str {
        let index = self.columns.iter().position(|name| name == column);
        index.map_or("", |index| &self.fields[index])
    }

    /// The field as a number, if it is one.
    pub(crate) fn number(&self, column: &str) -> Option<f64> {
        self.text(column).parse().ok()
    }
}

fn quote(field: &str) -> String {
    if field.contains([',', '"']) {
        format!("\"{}\"", field.replace('"', "\"\""))
    } else {
        field.into()
    }
}

fn split_fields(line: &str) -> Vec<String> {
    let (mut fields, mut quoted) = (vec![String::new()], false);
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => {
                chars.next();
                fields.last_mut().expect("never empty").push('"');
            }
            '"' => quoted = !quoted,
            ',' if !quoted => fields.push(String::new()),
            _ => fields.last_mut().expect("never empty").push(c),
        }
    }
    fields
}

/// Lower-case words joined by dashes: safe as a folder's name.
fn slug(text: &str) -> String {
    let text = text.replace("(R)", "").replace("(TM)", "");
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '.');
    let words: Vec<String> =
        words.filter(|word| !word.is_empty()).map(str::to_ascii_lowercase).collect();
    words.join("-")
}

/// Processors of the machine, whatever this thread is pinned to.
pub(crate) fn processors() -> usize {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    text.lines().filter(|line| line.starts_with("processor")).count().max(1)
}

fn cpu_model() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with("model name"));
    let model =
        line.and_then(|line| line.split_once(':')).map(|(_, model)| model.trim().to_owned());
    model.unwrap_or_else(|| std::env::consts::ARCH.to_owned())
}

fn kernel() -> String {
    let text = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    text.trim().to_owned()
}

/// Short hash of the working tree's commit, marked if the tree was changed since.
fn commit() -> String {
    let git = |args: &[&str]| {
        let output = Command::new("git").args(args).output().ok()?;
        let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        output.status.success().then_some(text)
    };
    let Some(hash) = git(&["rev-parse", "--short=10", "HEAD"]) else { return "unknown".to_owned() };
    match git(&["status", "--porcelain", "--untracked-files=no"]) {
        Some(changes) if changes.is_empty() => hash,
        _ => hash + "-dirty",
    }
}

fn utc_now() -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let (year, month, day) = civil_date(since / 86_400);
    let (hour, minute) = (since / 3600 % 24, since / 60 % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}Z")
}

/// Days since 1970 to year, month, day, counting years from March so that leap days come last.
fn civil_date(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468; // from 0000-03-01
    let era = days / 146_097;
    let day_of_era = days % 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153; // 0 is March
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let (month, carry) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (era * 400 + year_of_era + carry, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn csv_round_trips() {
        let mut record = Record::new("compare", &["server", "command", "cpu_us"]);
        record.fact("server a", "x --save \"\"");
        record.rows.push(vec!["a".into(), "get=9,set=1".into(), "1.5".into()]);
        record.rows.push(vec!["b \"c\"".into(), String::new(), "n/a".into()]);
        let again = Record::from_csv(&record.to_csv()).unwrap();
        assert_eq!(again, record);
        assert_eq!(again.row(0).number("cpu_us"), Some(1.5));
        assert_eq!(again.row(1).number("cpu_us"), None);
        assert!(Record::from_csv("a,b\n1\n").is_err());
        assert!(Record::from_csv("").is_err());
    }

    #[test]
    fn dates_know_leap_years() {
        assert_eq!(civil_date(0), (1970, 1, 1));
        assert_eq!(civil_date(19_782), (2024, 2, 29));
        assert_eq!(civil_date(19_783), (2024, 3, 1));
        assert_eq!(civil_date(20_453), (2025, 12, 31));
    }

    #[test]
    fn paths_name_the_machine() {
        assert_eq!(slug("Intel(R) Xeon(R) CPU @ 2.80GHz"), "intel-xeon-cpu-2.80ghz");
        let mut record = Record::new("memory", &["server"]);
        record.facts.retain(|(name, _)| name == "kind");
        for (name, value) in [("cpu", "A B"), ("kernel", "6.1"), ("date", "2025-01-02T03:04Z")] {
            record.fact(name, value);
        }
        record.fact("commit", "abc");
        let path = record.path_below(Path::new("r"));
        assert_eq!(path, Path::new("r/a-b-6.1/2025-01-02-abc-memory.csv"));
    }
}
