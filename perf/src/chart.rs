//! Bar charts as SVG: small panels, one per measured point, each scaled to its own longest bar.
//! Invariant: readable on light and on dark pages (no background, colours of middle lightness,
//! text that follows the reader's colour scheme), and every bar carries its figure in words.

use std::fmt::Write;

/// One chart.
pub(crate) struct Chart {
    /// Above everything.
    pub(crate) title: String,
    /// Below the title: the unit, and whether more or less is better.
    pub(crate) note: String,
    /// In reading order.
    pub(crate) panels: Vec<Panel>,
}

/// Bars that are compared with each other.
pub(crate) struct Panel {
    /// Above the bars.
    pub(crate) title: String,
    /// From top to bottom.
    pub(crate) bars: Vec<Bar>,
}

/// One bar.
pub(crate) struct Bar {
    /// Who.
    pub(crate) label: String,
    /// Its length.
    pub(crate) value: f64,
    /// The ends of its whisker, if it has one.
    pub(crate) whisker: Option<(f64, f64)>,
    /// The figure beside it.
    pub(crate) text: String,
    /// Index of its colour: the same server has the same everywhere.
    pub(crate) colour: usize,
}

pub(crate) const COLOURS: [&str; 6] =
    ["#2f81f7", "#d2603a", "#8957e5", "#2c974b", "#b08800", "#7d8590"];
const COLUMNS: usize = 2;
const PANEL_WIDTH: usize = 460;
const LABEL_WIDTH: usize = 90;
const BAR_WIDTH: usize = 190;
const BAR_STEP: usize = 22;
const HEAD: usize = 64;
const MARGIN: usize = 16;

pub(crate) const STYLE: &str = "<style>\n\
    text { font: 12px system-ui, sans-serif; fill: #57606a }\n\
    .head { font-size: 16px; font-weight: 600; fill: #1f2328 }\n\
    .panel { font-weight: 600; fill: #1f2328 }\n\
    .whisker { stroke: #1f2328; stroke-width: 1 }\n\
    @media (prefers-color-scheme: dark) {\n\
    text { fill: #9198a1 } .head, .panel { fill: #f0f6fc } .whisker { stroke: #f0f6fc }\n\
    }\n</style>\n";

impl Chart {
    /// The SVG text.
    pub(crate) fn to_svg(&self) -> String {
        let width = 2 * MARGIN + COLUMNS * PANEL_WIDTH;
        let mut body = String::new();
        let mut y = HEAD;
        for row in self.panels.chunks(COLUMNS) {
            let bars_max = row.iter().map(|panel| panel.bars.len()).max().unwrap_or(0);
            for (column, panel) in row.iter().enumerate() {
                panel.draw(&mut body, MARGIN + column * PANEL_WIDTH, y);
            }
            y += bars_max * BAR_STEP + 48;
        }
        let (title, note) = (escape(&self.title), escape(&self.note));
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{y}\" \
             viewBox=\"0 0 {width} {y}\" role=\"img\">\n<title>{title}</title>\n{STYLE}\
             <text class=\"head\" x=\"{MARGIN}\" y=\"26\">{title}</text>\n\
             <text x=\"{MARGIN}\" y=\"44\">{note}</text>\n{body}</svg>\n"
        )
    }
}

impl Panel {
    fn draw(&self, out: &mut String, x: usize, y: usize) {
        let ends = self.bars.iter().map(|bar| bar.whisker.map_or(bar.value, |(_, high)| high));
        let scale = BAR_WIDTH as f64 / ends.fold(f64::MIN_POSITIVE, f64::max);
        let mut put = |line: String| out.write_str(&line).expect("a String takes all");
        put(format!(
            "<text class=\"panel\" x=\"{x}\" y=\"{}\">{}</text>\n",
            y + 14,
            escape(&self.title)
        ));
        let left = (x + LABEL_WIDTH) as f64;
        for (index, bar) in self.bars.iter().enumerate() {
            let top = y + 24 + index * BAR_STEP;
            let (middle, base) = (top + 8, top + 12);
            let (length, colour) = (bar.value * scale, COLOURS[bar.colour % COLOURS.len()]);
            let label = escape(&bar.label);
            put(format!(
                "<text x=\"{}\" y=\"{base}\" text-anchor=\"end\">{label}</text>\n",
                left - 8.0
            ));
            put(format!(
                "<rect x=\"{left}\" y=\"{top}\" width=\"{length:.1}\" height=\"16\" rx=\"2\" \
                 fill=\"{colour}\"/>\n"
            ));
            let mut end = left + length;
            if let Some((low, high)) = bar.whisker {
                let (from, to) = (left + low * scale, left + high * scale);
                end = end.max(to);
                put(format!(
                    "<line class=\"whisker\" x1=\"{from:.1}\" y1=\"{middle}\" x2=\"{to:.1}\" \
                     y2=\"{middle}\"/>\n"
                ));
            }
            put(format!(
                "<text x=\"{:.1}\" y=\"{base}\">{}</text>\n",
                end + 6.0,
                escape(&bar.text)
            ));
        }
    }
}

pub(crate) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_bar_fills_its_panel_and_text_is_escaped() {
        let bar = |value: f64, whisker| Bar {
            label: "a<b".into(),
            value,
            whisker,
            text: format!("{value} us"),
            colour: 7,
        };
        let bars = vec![bar(1.0, None), bar(2.0, Some((1.0, 4.0)))];
        let panels = vec![Panel { title: "p".into(), bars }];
        let svg = Chart { title: "t".into(), note: "n".into(), panels }.to_svg();
        assert!(svg.contains("width=\"47.5\"") && svg.contains("width=\"95.0\""), "{svg}");
        assert!(svg.contains("a&lt;b") && !svg.contains("a<b"));
        assert_eq!(svg.matches("<line").count(), 1);
    }
}
