//! RESP2 and RESP3 replies: where one ends, what its parts are, and a readable form of it.
//!
//! Invariant: under `Rule::Exact` two replies have the same text only if they have the same bytes.
//! Source: the RESP3 specification.
//!
//! ```text
//! :1                 a scalar is its line
//! $3 foo             a bulk string is length and escaped content
//! *2                 an aggregate is its head; its elements follow, two columns further in
//!   $1 a
//!   $-1
//! ```

use super::quote::escape;

/// How exactly a reply must agree with the expected one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rule {
    /// Byte for byte.
    Exact,
    /// The same elements in any order: for aggregates that promise no order.
    Sorted,
    /// The same type byte: for prose, and for what chance or the clock decides.
    Type,
    /// The same structure, with every scalar reduced to its type byte.
    Shape,
    /// Byte for byte, but any integer stands for any other.
    Ints,
    /// An answer to HELLO: as `Ints`, and without the modules that the oracle was built with.
    Hello,
    /// Text of `name=value` or `name:value` pairs: the same names in the same order.
    Fields,
    /// An integer this near to the expected one; anything else byte for byte.
    Near(i64),
}

impl Rule {
    /// Reads the rule that a transcript names.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "exact" => Self::Exact,
            "sorted" => Self::Sorted,
            "type" => Self::Type,
            "shape" => Self::Shape,
            "ints" => Self::Ints,
            "hello" => Self::Hello,
            "fields" => Self::Fields,
            _ => Self::Near(text.strip_prefix("near ")?.trim().parse().ok()?),
        })
    }

    /// Whether two rendered replies agree. Both were rendered under this rule.
    pub(crate) fn agree(self, expected: &[String], found: &[String]) -> bool {
        let integer = |lines: &[String]| match lines {
            [line] => line.strip_prefix(':').and_then(|digits| digits.parse::<i64>().ok()),
            _ => None,
        };
        match (self, integer(expected), integer(found)) {
            // Negative answers of the TTL family are codes, not times.
            (Self::Near(distance), Some(a), Some(b)) if a >= 0 && b >= 0 => {
                a.abs_diff(b) <= distance.unsigned_abs()
            }
            _ => expected == found,
        }
    }
}

/// The length of the first complete reply in `bytes`, None when more bytes are needed.
pub(crate) fn complete_length(bytes: &[u8]) -> Result<Option<usize>, String> {
    let mut position = 0;
    let mut wanted: u64 = 1;
    while wanted > 0 {
        let Some(line_end) = find_crlf(&bytes[position..]) else { return Ok(None) };
        let line = &bytes[position..position + line_end];
        position += line_end + 2;
        match line.first() {
            Some(b'+' | b'-' | b':' | b'_' | b',' | b'#' | b'(') => wanted -= 1,
            Some(b'$' | b'=' | b'!') => {
                if let Some(length) = length_of(line)? {
                    position += usize::try_from(length).map_err(|e| e.to_string())? + 2;
                }
                wanted -= 1;
            }
            Some(b'*' | b'~' | b'>') => wanted = wanted - 1 + length_of(line)?.unwrap_or(0),
            Some(b'%') => wanted = wanted - 1 + 2 * length_of(line)?.unwrap_or(0),
            // An attribute is not a reply: the one that it describes is still to come.
            Some(b'|') => wanted += 2 * length_of(line)?.unwrap_or(0),
            _ => return Err(format!("not a reply: {}", escape(line))),
        }
        if position > bytes.len() {
            return Ok(None);
        }
    }
    Ok(Some(position))
}

/// One complete reply, in the readable form, after what `rule` leaves out.
pub(crate) fn render(raw: &[u8], rule: Rule) -> Vec<String> {
    let mut position = 0;
    let mut node = Node::read(raw, &mut position);
    assert_eq!(position, raw.len(), "one reply, no more: {}", escape(raw));
    let mut lines = Vec::new();
    match rule {
        Rule::Type => return vec![format!("{}...", node.kind as char)],
        Rule::Shape => node.hide(&|_| true),
        Rule::Ints => node.hide(&|kind| kind == b':'),
        Rule::Hello => {
            node.hide(&|kind| kind == b':');
            node.drop_modules();
        }
        Rule::Fields => node.hide_values(),
        Rule::Sorted => node.sort(),
        Rule::Exact | Rule::Near(_) => {}
    }
    node.print(0, &mut lines);
    lines
}

/// A parsed reply.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Node {
    /// The type byte.
    pub(crate) kind: u8,
    /// The line behind the type byte; the content of a bulk string; the count of an aggregate.
    pub(crate) text: Vec<u8>,
    /// Elements of an aggregate, keys and values in turn; an attribute's last one is its reply.
    pub(crate) elements: Vec<Node>,
    null: bool,
    hidden: bool,
}

impl Node {
    /// Parses one complete reply.
    pub(crate) fn parse(raw: &[u8]) -> Self {
        Self::read(raw, &mut 0)
    }

    fn read(raw: &[u8], position: &mut usize) -> Self {
        let line_end = find_crlf(&raw[*position..]).expect("a complete reply");
        let line = &raw[*position..*position + line_end];
        *position += line_end + 2;
        let kind = line[0];
        let mut node = Self {
            kind,
            text: line[1..].to_vec(),
            elements: Vec::new(),
            null: false,
            hidden: false,
        };
        let length = || length_of(line).expect("a length");
        match kind {
            b'$' | b'=' | b'!' => match length() {
                Some(length) => {
                    let end = *position + usize::try_from(length).expect("a length in memory");
                    node.text = raw[*position..end].to_vec();
                    *position = end + 2;
                }
                None => node.null = true,
            },
            b'*' | b'~' | b'>' | b'%' | b'|' => {
                node.null = length().is_none();
                let count = length().unwrap_or(0);
                let pairs = u64::from(matches!(kind, b'%' | b'|')) + 1;
                let elements = count * pairs + u64::from(kind == b'|');
                node.elements = (0..elements).map(|_| Self::read(raw, position)).collect();
            }
            _ => {}
        }
        node
    }

    fn hide(&mut self, chosen: &dyn Fn(u8) -> bool) {
        if self.is_scalar() && chosen(self.kind) && !self.null {
            self.hidden = true;
        }
        self.elements.iter_mut().for_each(|element| element.hide(chosen));
    }

    /// Reduces `a=1 b=2` to `a b`, and lines of `a:1` likewise.
    fn hide_values(&mut self) {
        if !self.is_scalar() {
            self.elements.iter_mut().for_each(Self::hide_values);
            return;
        }
        let text = String::from_utf8_lossy(&self.text).into_owned();
        let names = text.split_whitespace().map(|word| word.split(['=', ':']).next().unwrap_or(""));
        self.text = names.collect::<Vec<_>>().join(" ").into_bytes();
    }

    fn drop_modules(&mut self) {
        let key = self.elements.iter().position(|element| element.text == b"modules");
        if let Some(modules) = key.and_then(|at| self.elements.get_mut(at + 1)) {
            modules.elements.clear();
            modules.text = b"0".to_vec();
        }
    }

    fn sort(&mut self) {
        self.elements.iter_mut().for_each(Self::sort);
        if self.kind == b'%' {
            let mut pairs: Vec<_> = self.elements.chunks(2).map(<[Self]>::to_vec).collect();
            pairs.sort();
            self.elements = pairs.concat();
        } else {
            self.elements.sort();
        }
    }

    fn is_scalar(&self) -> bool {
        !matches!(self.kind, b'*' | b'~' | b'>' | b'%' | b'|')
    }

    fn print(&self, depth: usize, lines: &mut Vec<String>) {
        let kind = self.kind as char;
        let text = escape(&self.text);
        let shown = if self.hidden {
            format!("{kind}...")
        } else if matches!(self.kind, b'$' | b'=' | b'!') && !self.null {
            let blank = if text.is_empty() { "" } else { " " };
            format!("{kind}{}{blank}{text}", self.text.len())
        } else {
            format!("{kind}{text}")
        };
        let mut line = format!("{}{shown}", " ".repeat(2 * depth));
        if line.ends_with(' ') {
            // Editors and reviewers lose a blank at the end of a line.
            line.truncate(line.len() - 1);
            line += "\\x20";
        }
        lines.push(line);
        for element in &self.elements {
            element.print(depth + 1, lines);
        }
    }
}

/// The number behind the type byte; None for the null of RESP2, -1.
fn length_of(line: &[u8]) -> Result<Option<u64>, String> {
    let text = std::str::from_utf8(&line[1..]).map_err(|e| e.to_string())?;
    if text == "-1" {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|_| format!("not a length: {}", escape(line)))
}

fn find_crlf(bytes: &[u8]) -> Option<usize> {
    bytes.windows(2).position(|pair| pair == b"\r\n")
}
