//! Scenario files: what is measured, as data. Invariant: a file that would be misunderstood
//! (unknown field, empty list, bad mix) is refused before any server starts.
//! Format: see README.md and scenarios/*.toml.

use std::path::Path;

use serde::Deserialize;

use crate::Result;
use crate::workload::{Keys, Mix};

/// One scenario: a keyspace, a placement, and the points that are measured on it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Scenario {
    /// Short name, used in files.
    pub(crate) name: String,
    /// One sentence for the reader of a table.
    pub(crate) about: String,
    /// Processors that the servers run on.
    pub(crate) server_cpus: Vec<usize>,
    /// Processor of the generator. Where it is also a server's, throughput means nothing.
    pub(crate) generator_cpu: usize,
    /// Keys filled before, and drawn from.
    pub(crate) keys: u64,
    /// Bytes of every value.
    pub(crate) value_bytes: usize,
    /// `uniform` or `zipf:THETA`.
    #[serde(default = "uniform")]
    pub(crate) distribution: String,
    /// Clients that listen to `channel:` and the digits of a key, evenly over all keys.
    #[serde(default)]
    pub(crate) subscribers: usize,
    /// Replicas that only read; each server then takes part without them, too.
    #[serde(default)]
    pub(crate) replicas: usize,
    /// What to measure: every combination of each entry's lists.
    #[serde(rename = "point")]
    points: Vec<Points>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Points {
    commands: Vec<String>,
    connections: Vec<usize>,
    pipeline: Vec<usize>,
}

/// One measured combination.
#[derive(Debug, Clone)]
pub(crate) struct Point {
    /// The mix, as written.
    pub(crate) command: String,
    /// The mix, understood.
    pub(crate) mix: Mix,
    /// Clients.
    pub(crate) connections: usize,
    /// Requests in flight per client.
    pub(crate) pipeline: usize,
}

impl Scenario {
    /// Reads and checks a file.
    pub(crate) fn read(path: &Path) -> Result<Scenario> {
        let in_file = |e: crate::Error| format!("{}: {e}", path.display());
        let text = std::fs::read_to_string(path).map_err(|e| in_file(e.into()))?;
        Ok(Scenario::parse(&text).map_err(in_file)?)
    }

    fn parse(text: &str) -> Result<Scenario> {
        let scenario: Scenario = toml::from_str(text)?;
        if scenario.server_cpus.is_empty() {
            return Err("server_cpus is empty".into());
        }
        if scenario.value_bytes == 0 {
            return Err("value_bytes is 0".into());
        }
        Keys::parse(&scenario.distribution, scenario.keys, 0)?;
        if scenario.points()?.is_empty() {
            return Err("no points to measure".into());
        }
        Ok(scenario)
    }

    /// All points, in the order of the file.
    pub(crate) fn points(&self) -> Result<Vec<Point>> {
        let mut all = Vec::new();
        for entry in &self.points {
            for command in &entry.commands {
                let mix = Mix::parse(command)?;
                for &connections in &entry.connections {
                    for &pipeline in &entry.pipeline {
                        if connections == 0 || pipeline == 0 {
                            return Err("connections and pipeline begin at 1".into());
                        }
                        let (command, mix) = (command.clone(), mix.clone());
                        all.push(Point { command, mix, connections, pipeline });
                    }
                }
            }
        }
        Ok(all)
    }

    /// Whether the generator has a processor of its own: else throughput and latency are its own
    /// as much as the server's.
    pub(crate) fn is_apart(&self) -> bool {
        !self.server_cpus.contains(&self.generator_cpu)
    }
}

fn uniform() -> String {
    "uniform".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_committed_scenario_is_read() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
        let mut seen = 0;
        for file in std::fs::read_dir(folder).unwrap() {
            let path = file.unwrap().path();
            let scenario = Scenario::read(&path).unwrap();
            assert_eq!(Some(scenario.name.as_str()), path.file_stem().unwrap().to_str());
            seen += 1;
        }
        assert!(seen >= 5);
    }

    #[test]
    fn unknown_fields_and_empty_lists_are_refused() {
        let good = "name='a'\nabout='b'\nserver_cpus=[0]\ngenerator_cpu=1\nkeys=10\n\
                    value_bytes=3\n[[point]]\ncommands=['get']\nconnections=[1]\npipeline=[1,16]\n";
        assert_eq!(Scenario::parse(good).unwrap().points().unwrap().len(), 2);
        for (from, to) in
            [("keys=10", "keyz=10"), ("[0]", "[]"), ("'get'", "'got'"), ("[1]", "[0]")]
        {
            assert!(Scenario::parse(&good.replacen(from, to, 1)).is_err(), "{to}");
        }
    }
}
