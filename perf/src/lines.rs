//! Charts of figures over time as SVG: one line for each server, on one logarithmic scale.
//! Invariant: as in `chart`: readable on light and on dark pages, and every line is named.

use std::fmt::Write;

use crate::chart::{COLOURS, STYLE, escape};

/// Figures over time.
pub(crate) struct Lines {
    /// Above everything.
    pub(crate) title: String,
    /// Below the title: the unit, and whether more or less is better.
    pub(crate) note: String,
    /// One for each server.
    pub(crate) servers: Vec<Line>,
}

/// The figures of one server.
pub(crate) struct Line {
    /// Who.
    pub(crate) label: String,
    /// Seconds and figures, in order; figures are above zero.
    pub(crate) points: Vec<(f64, f64)>,
    /// The time to be marked on it.
    pub(crate) marked: (f64, f64),
}

const WIDTH: f64 = 920.0;
const HEIGHT: f64 = 420.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 16.0;
const TOP: f64 = 60.0;
/// Below the plot: the axis, and a bar with a label for each line.
const AXIS: f64 = 34.0;
const BAR_STEP: f64 = 20.0;
const MARGIN: f64 = 16.0;

impl Lines {
    /// The SVG text.
    pub(crate) fn to_svg(&self) -> String {
        let points = || self.servers.iter().flat_map(|line| &line.points);
        let end = points().map(|(at, _)| *at).fold(1.0, f64::max);
        let low = points().map(|(_, figure)| figure.log10()).fold(f64::MAX, f64::min).floor();
        let high = points().map(|(_, figure)| figure.log10()).fold(low + 1.0, f64::max).ceil();
        let x = |at: f64| LEFT + at / end * (WIDTH - LEFT - RIGHT);
        let y = |figure: f64| TOP + (high - figure.log10()) / (high - low) * (HEIGHT - TOP);
        let mut body = String::new();
        let mut put = |line: String| body.write_str(&line).expect("a String takes all");
        for power in low as i32..=high as i32 {
            let (at, figure) = (y(10f64.powi(power)), 10f64.powi(power));
            put(format!(
                "<line class=\"whisker\" stroke-opacity=\"0.2\" x1=\"{LEFT}\" y1=\"{at:.1}\" \
                 x2=\"{}\" y2=\"{at:.1}\"/>\n<text x=\"{}\" y=\"{:.1}\" \
                 text-anchor=\"end\">{figure}</text>\n",
                WIDTH - RIGHT,
                LEFT - 8.0,
                at + 4.0
            ));
        }
        let step = (end / 10.0).ceil();
        for tick in (0..=(end / step) as u32).map(|tick| f64::from(tick) * step) {
            put(format!(
                "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{tick} s</text>\n",
                x(tick),
                HEIGHT + 18.0
            ));
        }
        for (index, line) in self.servers.iter().enumerate() {
            let colour = COLOURS[index % COLOURS.len()];
            let path: Vec<String> = (line.points.iter())
                .map(|(at, figure)| format!("{:.1},{:.1}", x(*at), y(*figure)))
                .collect();
            put(format!(
                "<polyline fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.5\" \
                 points=\"{}\"/>\n",
                path.join(" ")
            ));
            let top = HEIGHT + AXIS + index as f64 * BAR_STEP;
            let (from, to) = (x(line.marked.0), x(line.marked.1));
            put(format!(
                "<rect x=\"{from:.1}\" y=\"{top:.1}\" width=\"{:.1}\" height=\"8\" rx=\"2\" \
                 fill=\"{colour}\"/>\n<text x=\"{:.1}\" y=\"{:.1}\">{}</text>\n",
                to - from,
                to + 6.0,
                top + 9.0,
                escape(&line.label)
            ));
        }
        let height = HEIGHT + AXIS + self.servers.len() as f64 * BAR_STEP + MARGIN;
        let (title, note) = (escape(&self.title), escape(&self.note));
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" \
             viewBox=\"0 0 {WIDTH} {height}\" role=\"img\">\n<title>{title}</title>\n{STYLE}\
             <text class=\"head\" x=\"{MARGIN}\" y=\"26\">{title}</text>\n\
             <text x=\"{MARGIN}\" y=\"44\">{note}</text>\n{body}</svg>\n"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_share_one_scale() {
        let line = |label: &str, figure| Line {
            label: label.into(),
            points: vec![(0.0, 100.0), (10.0, figure)],
            marked: (2.0, 4.0),
        };
        let lines = vec![line("a<b", 100.0), line("c", 10_000.0)];
        let svg = Lines { title: "t".into(), note: "n".into(), servers: lines }.to_svg();
        // From the lowest decade to the highest one.
        assert!(svg.contains("points=\"70.0,420.0 904.0,420.0\""), "{svg}");
        assert!(svg.contains("points=\"70.0,420.0 904.0,60.0\""), "{svg}");
        assert!(svg.contains("a&lt;b") && svg.matches("<rect").count() == 2);
    }
}
