//! Order statistics of small samples: what a row of a table says about its rounds.
//! Invariant: pure functions; a sample is never empty.

/// Median and quartiles of a sample.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Spread {
    /// A quarter of the sample is below.
    pub(crate) q1: f64,
    /// Half of the sample is below.
    pub(crate) median: f64,
    /// Three quarters of the sample are below.
    pub(crate) q3: f64,
}

impl Spread {
    /// Of at least one number.
    pub(crate) fn of(sample: impl IntoIterator<Item = f64>) -> Spread {
        let mut sorted: Vec<f64> = sample.into_iter().collect();
        assert!(!sorted.is_empty());
        sorted.sort_by(f64::total_cmp);
        Spread {
            q1: quantile(&sorted, 0.25),
            median: quantile(&sorted, 0.5),
            q3: quantile(&sorted, 0.75),
        }
    }
}

/// Linear between the two nearest ranks.
fn quantile(sorted: &[f64], q: f64) -> f64 {
    let place = q * (sorted.len() - 1) as f64;
    let low = sorted[place as usize];
    let high = sorted[(place as usize + 1).min(sorted.len() - 1)];
    low + (high - low) * place.fract()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quartiles_lie_between_ranks() {
        let spread = Spread::of([4.0, 1.0, 3.0, 2.0]);
        assert_eq!(spread, Spread { q1: 1.75, median: 2.5, q3: 3.25 });
        assert_eq!(Spread::of([7.0]), Spread { q1: 7.0, median: 7.0, q3: 7.0 });
    }
}
