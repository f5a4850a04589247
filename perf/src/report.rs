//! `report`: tables and charts of a record, fresh or committed.
//! Invariant: reads nothing but the record.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::Result;
use crate::args::{Args, Opt};
use crate::chart::{Bar, Chart, Panel};
use crate::lines::{Line, Lines};
use crate::record::{Record, Row};

/// Options of `report`.
pub(crate) const OPTIONS: &[Opt] =
    &[Opt { name: "out", default: Some("perf-report"), help: "folder for table, CSV and charts" }];

/// Runs the subcommand: draws a committed CSV again.
pub(crate) fn run(args: &Args) -> Result<()> {
    let [path] = args.rest.as_slice() else { return Err("report needs one CSV file".into()) };
    let record = Record::from_csv(&fs::read_to_string(path).map_err(|e| format!("{path}: {e}"))?)?;
    print(&record)?;
    publish(&record, &args.text("out"), "")
}

/// Prints the table.
pub(crate) fn print(record: &Record) -> Result<()> {
    print!("{}", table(record)?);
    Ok(())
}

/// Writes table, CSV and charts to `out`, and the CSV to its place below `root` unless that is
/// empty; tells where they are.
pub(crate) fn publish(record: &Record, out: &str, root: &str) -> Result<()> {
    let out = Path::new(out);
    fs::create_dir_all(out)?;
    let kind = record.fact_of("kind");
    let mut written = vec![out.join(format!("{kind}.csv")), out.join(format!("{kind}.txt"))];
    record.write(&written[0])?;
    fs::write(&written[1], format!("{}\n{}", table(record)?, record.facts_text()))?;
    for (name, svg) in charts(record)? {
        let path = out.join(format!("{kind}-{name}.svg"));
        fs::write(&path, svg)?;
        written.push(path);
    }
    if !root.is_empty() {
        written.push(record.keep_below(Path::new(root))?);
    }
    println!();
    for path in written {
        println!("wrote {}", path.display());
    }
    Ok(())
}

/// The record as text.
fn table(record: &Record) -> Result<String> {
    match record.fact_of("kind") {
        "compare" => Ok(compare_table(record, 0)),
        "memory" => Ok(plain_table(record, MEMORY_COLUMNS)),
        "growth" => Ok(plain_table(record, GROWTH_COLUMNS)),
        "eviction" => Ok(plain_table(record, EVICTION_COLUMNS)),
        "saving" => {
            let rows = record.rows.iter().zip(record.each());
            let whole = rows.filter(|(_, row)| row.text("part") == "whole");
            let rows = whole.map(|(fields, _)| fields.clone()).collect();
            Ok(plain_table(&Record { rows, ..record.clone() }, SAVING_COLUMNS))
        }
        "durable" => Ok(plain_table(record, DURABLE_COLUMNS)),
        "files" => Ok(plain_table(record, FILES_COLUMNS)),
        kind => Err(format!("a record of kind {kind:?} is unknown").into()),
    }
}

/// Name and SVG text of each chart.
fn charts(record: &Record) -> Result<Vec<(&'static str, String)>> {
    match record.fact_of("kind") {
        "compare" => {
            let charts = compare_charts(record).into_iter();
            Ok(charts.map(|(name, chart)| (name, chart.to_svg())).collect())
        }
        "memory" => Ok(vec![(
            "bytes",
            single_panel(
                record,
                "Resident memory per key",
                "bytes per key; less is better",
                |row| (row.number("bytes_per_key"), format!("{} B", row.text("bytes_per_key"))),
            )
            .to_svg(),
        )]),
        "growth" => Ok(vec![(
            "latency",
            single_panel(
                record,
                "GET latency while the keyspace grows",
                "bar: p99.9, microseconds; less is better",
                |row| {
                    let text = format!("{} us, max {}", row.text("p999_us"), row.text("max_us"));
                    (row.number("p999_us"), text)
                },
            )
            .to_svg(),
        )]),
        "saving" => Ok(vec![("latency", saving_chart(record).to_svg())]),
        "durable" | "eviction" | "files" => Ok(Vec::new()),
        kind => Err(format!("a record of kind {kind:?} is unknown").into()),
    }
}

/// The latency of each slice of each server's run; the time of the save is marked.
fn saving_chart(record: &Record) -> Lines {
    let mut lines: Vec<Line> = Vec::new();
    for row in record.each() {
        let Some((at, seconds)) = row.number("at_seconds").zip(row.number("seconds")) else {
            continue;
        };
        let server = row.text("server");
        if lines.last().is_none_or(|line| line.label != server) {
            let label = server.to_owned();
            lines.push(Line { label, points: Vec::new(), marked: (0.0, 0.0) });
        }
        let line = lines.last_mut().expect("one was just pushed");
        match (row.text("part"), row.number("p99_us")) {
            ("slice", Some(p99)) if p99 > 0.0 => line.points.push((at, p99)),
            ("whole", _) if row.text("phase") == "saving" => line.marked = (at, at + seconds),
            _ => {}
        }
    }
    let note = "p99 of each quarter of a second, microseconds; less is better; bars: the save";
    Lines {
        title: "GET latency around a BGSAVE under writes".into(),
        note: note.into(),
        servers: lines,
    }
}

/// The tables of a comparison's rows from `first` on, one for each point.
pub(crate) fn compare_table(record: &Record, first: usize) -> String {
    let mut text = String::new();
    let mut point = None;
    let base = record.fact_of("base");
    for row in record.each().skip(first) {
        let this = point_of(row);
        if point.as_ref() != Some(&this) {
            text += &format!(
                "\n{this}\n  {:20} {:>9} {:>17} {:>7} {:>15} {:>9} {:>5} {:>5} {:>8} {:>8} {:>8}\n",
                "server",
                "cpu us/op",
                "quartiles",
                "ratio",
                "quartiles",
                "kop/s",
                "busy",
                "gen",
                "p50 us",
                "p99 us",
                "p99.9 us"
            );
            point = Some(this);
        }
        text += &compare_line(row);
    }
    if text.is_empty() {
        return text;
    }
    text += &format!("  ratio: cpu over that of {base} in the same round, median\n");
    if record.each().skip(first).any(|row| row.text("throughput_counts") == "no") {
        text += "  (..): the generator shared a processor with the servers; only cpu counts\n";
    }
    for row in record.each().skip(first) {
        if row.number("nulls").is_some_and(|nulls| nulls > 0.0) {
            let (server, nulls) = (row.text("server"), row.text("nulls"));
            text += &format!("  {server} answered null {nulls} times: keys are missing\n");
        }
    }
    text
}

fn compare_line(row: Row<'_>) -> String {
    let fixed = |column, decimals: usize, scale: f64| match row.number(column) {
        Some(number) => format!("{:.decimals$}", number / scale),
        None => "-".to_owned(),
    };
    let range = |low, high, decimals| {
        format!("{}..{}", fixed(low, decimals, 1.0), fixed(high, decimals, 1.0))
    };
    let counts = row.text("throughput_counts") == "yes";
    let theirs = |text: String| if counts { text } else { format!("({text})") };
    format!(
        "  {:20} {:>9} {:>17} {:>7} {:>15} {:>9} {:>5} {:>5} {:>8} {:>8} {:>8}\n",
        row.text("server"),
        fixed("cpu_us", 3, 1.0),
        range("cpu_us_q1", "cpu_us_q3", 3),
        fixed("ratio", 3, 1.0),
        range("ratio_q1", "ratio_q3", 3),
        theirs(fixed("ops_per_second", 0, 1e3)),
        fixed("busy", 2, 1.0),
        fixed("generator_busy", 2, 1.0),
        theirs(fixed("p50_us", 0, 1.0)),
        theirs(fixed("p99_us", 0, 1.0)),
        theirs(fixed("p999_us", 0, 1.0)),
    )
}

fn point_of(row: Row<'_>) -> String {
    let clients = if row.text("connections") == "1" { "client" } else { "clients" };
    format!(
        "{}: {}, {} {clients}, pipeline {}",
        row.text("scenario"),
        row.text("command").to_uppercase(),
        row.text("connections"),
        row.text("pipeline")
    )
}

fn compare_charts(record: &Record) -> Vec<(&'static str, Chart)> {
    let cpu = panels(record, |row| {
        let ratio = row.number("ratio").map_or(String::new(), |ratio| format!("  ({ratio:.2}x)"));
        let whisker = row.number("cpu_us_q1").zip(row.number("cpu_us_q3"));
        let value = row.number("cpu_us")?;
        Some((value, whisker, format!("{value:.3} us{ratio}")))
    });
    let throughput = panels(record, |row| {
        let value =
            row.number("ops_per_second").filter(|_| row.text("throughput_counts") == "yes")?;
        Some((value, None, format!("{:.0} k/s", value / 1e3)))
    });
    let latency = panels(record, |row| {
        let value = row.number("p99_us").filter(|_| row.text("throughput_counts") == "yes")?;
        let low = row.number("p50_us")?;
        let high = row.number("p999_us")?;
        Some((value, Some((low, high)), format!("{low:.0} / {value:.0} / {high:.0} us")))
    });
    let chart = |title: &str, note: String, panels| Chart { title: title.to_owned(), note, panels };
    let base = record.fact_of("base");
    let mut charts = vec![(
        "cpu",
        chart(
            "Server CPU per operation",
            format!(
                "microseconds, median and quartiles of rounds (ratio to {base}); less is better"
            ),
            cpu,
        ),
    )];
    if !throughput.is_empty() {
        let note = "thousand operations per second, median of rounds; more is better".to_owned();
        charts.push(("throughput", chart("Throughput on one server core", note, throughput)));
    }
    if !latency.is_empty() {
        let note = "microseconds per batch: p50 / p99 / p99.9, bar at p99; less is better";
        charts.push(("latency", chart("Latency, closed loop", note.to_owned(), latency)));
    }
    charts
}

/// Length, whisker and text of a bar.
type Figure = (f64, Option<(f64, f64)>, String);

/// A panel for each point; rows without a figure are left out.
fn panels(record: &Record, figure: impl Fn(Row<'_>) -> Option<Figure>) -> Vec<Panel> {
    let mut panels: Vec<Panel> = Vec::new();
    for row in record.each() {
        let Some((value, whisker, text)) = figure(row) else { continue };
        let title = point_of(row);
        if panels.last().is_none_or(|panel| panel.title != title) {
            panels.push(Panel { title, bars: Vec::new() });
        }
        let (label, colour) =
            (row.text("server").to_owned(), colour_of(record, row.text("server")));
        let bars = &mut panels.last_mut().expect("one was just pushed").bars;
        bars.push(Bar { label, value, whisker, text, colour });
    }
    panels
}

fn single_panel(
    record: &Record,
    title: &str,
    note: &str,
    figure: impl Fn(Row<'_>) -> (Option<f64>, String),
) -> Chart {
    let bars = record.each().filter_map(|row| {
        let (value, text) = figure(row);
        let (label, colour) =
            (row.text("server").to_owned(), colour_of(record, row.text("server")));
        Some(Bar { label, value: value?, whisker: None, text, colour })
    });
    let sizes: BTreeSet<String> = record
        .each()
        .map(|row| format!("{} keys, {}-byte values", row.text("keys"), row.text("value_bytes")))
        .collect();
    let subtitle = sizes.into_iter().collect::<Vec<_>>().join("; ");
    let panels = vec![Panel { title: subtitle, bars: bars.collect() }];
    Chart { title: title.to_owned(), note: note.to_owned(), panels }
}

/// The order of a server's first row is its colour.
fn colour_of(record: &Record, server: &str) -> usize {
    let mut seen: Vec<&str> = Vec::new();
    for row in record.each() {
        let name = row.text("server");
        if !seen.contains(&name) {
            seen.push(name);
        }
    }
    seen.iter().position(|&name| name == server).unwrap_or(0)
}

/// A column of a record under the heading that a reader sees.
type Heading = (&'static str, &'static str);

const MEMORY_COLUMNS: &[Heading] = &[
    ("server", "server"),
    ("keys", "keys"),
    ("key_bytes", "key B"),
    ("value_bytes", "value B"),
    ("rss_before", "RSS before"),
    ("rss_after", "RSS after"),
    ("bytes_per_key", "B/key"),
    ("used_memory_per_key", "used_memory/key"),
];

const GROWTH_COLUMNS: &[Heading] = &[
    ("server", "server"),
    ("keys", "keys"),
    ("value_bytes", "value B"),
    ("seconds", "s"),
    ("keys_per_second", "keys/s"),
    ("probes", "probes"),
    ("p50_us", "p50 us"),
    ("p99_us", "p99 us"),
    ("p999_us", "p99.9 us"),
    ("max_us", "max us"),
    ("turn_cpu_max_usec", "longest turn us"),
];

const SAVING_COLUMNS: &[Heading] = &[
    ("server", "server"),
    ("phase", "phase"),
    ("seconds", "s"),
    ("writes_per_second", "writes/s"),
    ("probes", "probes"),
    ("p50_us", "p50 us"),
    ("p99_us", "p99 us"),
    ("p999_us", "p99.9 us"),
    ("max_us", "max us"),
    ("resident_mib", "RSS MiB"),
    ("copied_mib", "copied MiB"),
    ("turn_cpu_max_usec", "longest turn us"),
];

const EVICTION_COLUMNS: &[Heading] = &[
    ("server", "server"),
    ("phase", "phase"),
    ("seconds", "s"),
    ("writes_per_second", "writes/s"),
    ("p50_us", "p50 us"),
    ("p99_us", "p99 us"),
    ("p999_us", "p99.9 us"),
    ("max_us", "max us"),
    ("used_max_of_limit", "used/limit"),
    ("resident_mib", "RSS MiB"),
    ("keys", "keys"),
    ("hit_rate", "hit rate"),
];

const DURABLE_COLUMNS: &[Heading] = &[
    ("server", "server"),
    ("clients", "clients"),
    ("writes_per_second", "writes/s"),
    ("ratio", "ratio"),
    ("ratio_q1", "q1"),
    ("ratio_q3", "q3"),
    ("write_p50_us", "SET p50 us"),
    ("write_p99_us", "SET p99 us"),
    ("get_p50_us", "GET p50 us"),
    ("get_p99_us", "GET p99 us"),
    ("get_p99_ratio", "GET p99 ratio"),
];

const FILES_COLUMNS: &[Heading] = &[
    ("server", "server"),
    ("file", "file"),
    ("keys", "keys"),
    ("file_mib", "MiB"),
    ("save_seconds", "save s"),
    ("save_cpu_seconds", "save CPU s"),
    ("load_seconds", "load s"),
    ("load_cpu_seconds", "load CPU s"),
    ("keys_per_cpu_second", "keys/CPU s"),
    ("load_ratio", "load ratio"),
];

fn plain_table(record: &Record, headings: &[Heading]) -> String {
    let mut text = String::from("\n");
    let mut put = |fields: Vec<&str>| {
        for ((_, heading), field) in headings.iter().zip(fields) {
            let width = heading.len().max(12);
            text += &format!("{field:>width$} ");
        }
        text.truncate(text.trim_end().len());
        text.push('\n');
    };
    put(headings.iter().map(|(_, heading)| *heading).collect());
    for row in record.each() {
        let fields = headings.iter().map(|(column, _)| row.text(column));
        put(fields.map(|field| if field.is_empty() { "-" } else { field }).collect());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECORD: &str = "# kind: compare\n# base: a\n\
        scenario,command,connections,pipeline,server,cpu_us,cpu_us_q1,cpu_us_q3,ratio,ratio_q1,\
        ratio_q3,ops_per_second,p50_us,p99_us,p999_us,throughput_counts\n\
        basic,set,50,16,a,1.5,1.4,1.6,1,1,1,500000,100,200,300,yes\n\
        basic,set,50,16,b,3,2.9,3.1,2,1.9,2.1,250000,200,400,600,yes\n\
        two,get,1,1,a,1.5,1.4,1.6,1,1,1,500000,100,200,300,no\n";

    #[test]
    fn a_record_is_shown_whole() {
        let record = Record::from_csv(RECORD).unwrap();
        let text = table(&record).unwrap();
        assert!(text.contains("basic: SET, 50 clients, pipeline 16"), "{text}");
        assert!(text.contains("two: GET, 1 client, pipeline 1"), "{text}");
        assert!(text.contains("(500)") && text.contains("only cpu counts"), "{text}");
    }

    #[test]
    fn throughput_that_does_not_count_is_not_drawn() {
        let record = Record::from_csv(RECORD).unwrap();
        let charts = compare_charts(&record);
        let panels: Vec<usize> = charts.iter().map(|(_, chart)| chart.panels.len()).collect();
        assert_eq!(panels, [2, 1, 1]);
        assert_eq!(charts[0].1.panels[0].bars[1].colour, 1);
    }
}
