//! Prometheus' text format, version 0.0.4.
//!
//! Invariant: the samples of a name stand together behind one HELP and one TYPE line, and no sample
//! stands twice. Written here, since the names are those of another program, which no library's rules
//! for names would let pass. Source: Prometheus, "Exposition formats".

use std::collections::BTreeMap;
use std::fmt::{Display, Write};

/// What a metric is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// It only grows.
    Counter,
    /// It goes up and down.
    Gauge,
    /// Counts by size.
    Histogram,
    /// Percentiles.
    Summary,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
            Kind::Summary => "summary",
        }
    }
}

/// Labels of a sample: names and values.
pub(super) type Labels<'a> = &'a [(&'a str, &'a str)];

struct Family {
    kind: Kind,
    help: String,
    samples: String,
}

/// The text as far as it is written.
#[derive(Default)]
pub(super) struct Exposition {
    families: BTreeMap<String, Family>,
}

impl Exposition {
    /// Adds a sample of a counter or gauge.
    pub(super) fn add(
        &mut self,
        (kind, name, help): (Kind, &str, &str),
        labels: Labels<'_>,
        value: impl Display,
    ) {
        self.sample((kind, name, help), "", labels, value);
    }

    /// Adds a histogram: upper ends of buckets and the values up to there, how many there are of all,
    /// and their sum.
    pub(super) fn histogram(
        &mut self,
        (name, help): (&str, &str),
        labels: Labels<'_>,
        buckets: impl Iterator<Item = (f64, u64)>,
        (count, sum): (u64, f64),
    ) {
        let family = (Kind::Histogram, name, help);
        let ends = buckets.map(|(end, count)| (end.to_string(), count));
        for (end, count) in ends.chain([("+Inf".to_owned(), count)]) {
            self.sample(family, "_bucket", &[labels, &[("le", &end)]].concat(), count);
        }
        self.sample(family, "_sum", labels, sum);
        self.sample(family, "_count", labels, count);
    }

    /// Adds a summary: quantiles and their values, how many there are of all, and their sum.
    pub(super) fn summary(
        &mut self,
        (name, help): (&str, &str),
        labels: Labels<'_>,
        quantiles: &[(f64, f64)],
        (count, sum): (u64, f64),
    ) {
        let family = (Kind::Summary, name, help);
        for (quantile, value) in quantiles {
            let quantile = quantile.to_string();
            self.sample(family, "", &[labels, &[("quantile", &quantile)]].concat(), value);
        }
        self.sample(family, "_sum", labels, sum);
        self.sample(family, "_count", labels, count);
    }

    fn sample(
        &mut self,
        (kind, name, help): (Kind, &str, &str),
        suffix: &str,
        labels: Labels<'_>,
        value: impl Display,
    ) {
        let family = self.families.entry(name.to_owned()).or_insert_with(|| Family {
            kind,
            help: help.to_owned(),
            samples: String::new(),
        });
        let out = &mut family.samples;
        out.push_str(name);
        out.push_str(suffix);
        for (at, (label, value)) in labels.iter().enumerate() {
            out.push(if at == 0 { '{' } else { ',' });
            out.push_str(label);
            out.push_str("=\"");
            push_escaped(out, value);
            out.push('"');
        }
        if !labels.is_empty() {
            out.push('}');
        }
        writeln!(out, " {value}").expect("a string takes everything");
    }

    /// The whole text.
    pub(super) fn finish(self) -> String {
        let mut text = String::new();
        for (name, Family { kind, help, samples }) in self.families {
            let help = help.replace('\\', "\\\\").replace('\n', "\\n");
            writeln!(text, "# HELP {name} {help}\n# TYPE {name} {}", kind.name())
                .expect("a string takes everything");
            text.push_str(&samples);
        }
        text
    }
}

/// A label's value: three characters are escaped.
fn push_escaped(out: &mut String, value: &str) {
    for character in value.chars() {
        match character {
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            '\n' => out.push_str("\\n"),
            other => out.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_of_a_name_stand_together_and_labels_are_escaped() {
        let mut text = Exposition::default();
        text.add((Kind::Gauge, "b", "Second."), &[], 1);
        text.add((Kind::Counter, "a_total", "A\\b\nc"), &[("cmd", "x\"y\\z\n")], 2.5);
        text.add((Kind::Gauge, "b", "Second."), &[("db", "0"), ("k", "v")], 3);
        assert_eq!(
            text.finish(),
            "# HELP a_total A\\\\b\\nc\n# TYPE a_total counter\na_total{cmd=\"x\\\"y\\\\z\\n\"} 2.5\n\
             # HELP b Second.\n# TYPE b gauge\nb 1\nb{db=\"0\",k=\"v\"} 3\n"
        );
    }

    #[test]
    fn histograms_and_summaries_have_a_count_and_a_sum() {
        let mut text = Exposition::default();
        let labels = &[("phase", "hop")];
        text.histogram(("h", "H."), labels, [(0.5, 1), (1.0, 3)].into_iter(), (4, 2.5));
        text.summary(("s", "S."), &[], &[(0.99, 7.0)], (2, 9.0));
        assert_eq!(
            text.finish(),
            "# HELP h H.\n# TYPE h histogram\nh_bucket{phase=\"hop\",le=\"0.5\"} 1\n\
             h_bucket{phase=\"hop\",le=\"1\"} 3\nh_bucket{phase=\"hop\",le=\"+Inf\"} 4\n\
             h_sum{phase=\"hop\"} 2.5\nh_count{phase=\"hop\"} 4\n# HELP s S.\n# TYPE s summary\n\
             s{quantile=\"0.99\"} 7\ns_sum 9\ns_count 2\n"
        );
    }
}
