//! What the status page draws over time: a sample every second, for the last minutes.
//!
//! Invariant: never more than `SAMPLES_MAX`, whoever looks or not; a sample is about one second alone.

use std::collections::VecDeque;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};

use crate::base::alloc;
use crate::observe::phases::Phase;
use crate::observe::server::ServerFacts;
use crate::observe::stats::percentile;

const PERIOD: Duration = Duration::from_secs(1);
/// Five minutes.
const SAMPLES_MAX: usize = 300;
/// Percentiles that are drawn.
const PERCENTS: [f64; 3] = [50.0, 99.0, 99.9];

/// Counters at one moment.
#[derive(Clone, Default)]
struct Counts {
    commands: u64,
    input_bytes: u64,
    output_bytes: u64,
    /// Sampled commands by bucket of their time.
    latency: Vec<u64>,
    /// Microseconds of each core's thread.
    cpu_micros: Vec<u64>,
}

impl Counts {
    fn take(server: &ServerFacts) -> Counts {
        let mut latency = Vec::new();
        for timings in server.stats.iter().filter_map(|stats| stats.phases.of(Phase::Total)) {
            timings.histogram.add_to(&mut latency);
        }
        let cpu = server.stats.iter();
        Counts {
            commands: server.sum(|stats| stats.totals.commands.get()),
            input_bytes: server.sum(|stats| stats.totals.net_input_bytes.get()),
            output_bytes: server.sum(|stats| stats.totals.net_output_bytes.get()),
            latency,
            cpu_micros: cpu
                .map(|one| one.cpu_user_micros.get() + one.cpu_sys_micros.get())
                .collect(),
        }
    }

    /// What has come since `before`; CONFIG RESETSTAT begins anew.
    fn since(&self, before: &Counts) -> Counts {
        let each = |now: &[u64], before: &[u64]| -> Vec<u64> {
            let before = before.iter().copied().chain(std::iter::repeat(0));
            now.iter().zip(before).map(|(now, before)| now.saturating_sub(before)).collect()
        };
        Counts {
            commands: self.commands.saturating_sub(before.commands),
            input_bytes: self.input_bytes.saturating_sub(before.input_bytes),
            output_bytes: self.output_bytes.saturating_sub(before.output_bytes),
            latency: each(&self.latency, &before.latency),
            cpu_micros: each(&self.cpu_micros, &before.cpu_micros),
        }
    }
}

/// The samples, shared by who takes them and who shows them.
#[derive(Clone, Default)]
pub(super) struct History(Arc<Mutex<VecDeque<Value>>>);

impl History {
    /// Takes samples for ever.
    pub(super) async fn go_on(self, server: Arc<ServerFacts>) {
        let mut rounds = tokio::time::interval(PERIOD);
        rounds.tick().await;
        let mut before = Counts::take(&server);
        loop {
            rounds.tick().await;
            let now = Counts::take(&server);
            self.add(sample(&now.since(&before), &server));
            before = now;
        }
    }

    fn add(&self, sample: Value) {
        let mut samples = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        samples.push_back(sample);
        if samples.len() > SAMPLES_MAX {
            samples.pop_front();
        }
    }

    /// The samples, the oldest first.
    pub(super) fn samples(&self) -> Vec<Value> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }
}

fn sample(second: &Counts, server: &ServerFacts) -> Value {
    let micros = |percent| percentile(&second.latency, percent) as f64 / 1000.0;
    let seconds = PERIOD.as_secs_f64();
    let busy = second.cpu_micros.iter().map(|micros| *micros as f64 / 1e6 / seconds);
    json!({
        "commands": second.commands as f64 / seconds,
        "input": second.input_bytes as f64 / seconds,
        "output": second.output_bytes as f64 / seconds,
        "latency": PERCENTS.map(micros),
        "busy": busy.map(|share| (share.min(1.0) * 1000.0).round() / 1000.0).collect::<Vec<_>>(),
        "memory": alloc::used_memory(),
        "resident": server.resident_memory.load(Relaxed),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_begin_anew_after_a_reset() {
        let before = Counts { commands: 10, latency: vec![1, 2], ..Counts::default() };
        let now = Counts { commands: 3, latency: vec![1, 5, 7], ..Counts::default() };
        let second = now.since(&before);
        assert_eq!((second.commands, second.latency), (0, vec![0, 3, 7]));
    }

    #[test]
    fn the_history_is_bounded() {
        let history = History::default();
        (0..1000).for_each(|number| history.add(json!(number)));
        let samples = history.samples();
        assert_eq!((samples.len(), &samples[0]), (SAMPLES_MAX, &json!(1000 - SAMPLES_MAX)));
    }
}
