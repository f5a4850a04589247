//! A graph of characters: a bar for each value, with a label read downwards below it.
//!
//! Invariant: pure; two values that differ by less than a step of the graph look alike. Source:
//! LATENCY GRAPH of Redis 8.0, whose form it has.

/// What the top of a bar looks like, by how much of its row it fills.
const TOPS: [u8; 3] = *b"_o#";
/// A row that a bar fills and passes.
const BODY: u8 = b'|';

/// Draws the values in lines of at most `columns` bars, each `rows` rows high.
pub fn render(values: &[(u64, String)], columns: usize, rows: usize) -> Vec<u8> {
    let min = values.iter().map(|(value, _)| *value).min().unwrap_or(0);
    let max = values.iter().map(|(value, _)| *value).max().unwrap_or(0);
    let mut out = Vec::new();
    for (at, part) in values.chunks(columns).enumerate() {
        if at > 0 {
            out.push(b'\n');
        }
        render_part(&mut out, part, (min, max), rows);
    }
    out
}

fn render_part(out: &mut Vec<u8>, part: &[(u64, String)], (min, max): (u64, u64), rows: usize) {
    let steps = TOPS.len() * rows;
    let step = |value: u64| {
        let share = (value - min) as f64 * steps as f64 / (max - min).max(1) as f64;
        (share as usize).min(steps - 1)
    };
    for row in 0..rows {
        let below = (rows - row - 1) * TOPS.len();
        let bar = |(value, _): &(u64, String)| match step(*value).checked_sub(below) {
            None => b' ',
            Some(top) => TOPS.get(top).copied().unwrap_or(BODY),
        };
        out.extend(part.iter().map(bar));
        out.push(b'\n');
    }
    // A free line, and the labels, a character a line.
    out.extend(std::iter::repeat_n(b' ', part.len()));
    out.push(b'\n');
    let lines = part.iter().map(|(_, label)| label.len()).max().unwrap_or(0);
    for line in 0..lines {
        let letter = |(_, label): &(u64, String)| label.as_bytes().get(line).copied();
        out.extend(part.iter().map(|one| letter(one).unwrap_or(b' ')));
        out.push(b'\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_and_labels() {
        let values = [(0, "10s".to_owned()), (6, "5s".to_owned()), (12, String::new())];
        let expected = "  #\n _|\n ||\n_||\n   \n15 \n0s \ns  \n";
        assert_eq!(String::from_utf8_lossy(&render(&values, 80, 4)), expected);
        assert!(render(&[], 80, 4).is_empty());
    }
}
