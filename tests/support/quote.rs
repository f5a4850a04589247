//! Commands and bytes as text: redis-cli's quoting in, escaped text out.
//!
//! Invariant: `split(&join(argv))` is `argv`. Source: the quoting that redis-cli documents.

use std::fmt::Write;

/// Splits a line into arguments as redis-cli does: blanks separate; in double quotes `\n \r \t \b
/// \a \" \\` and `\xHH` are escapes; in single quotes only `\'` is.
pub(crate) fn split(line: &str) -> Result<Vec<Vec<u8>>, String> {
    let mut argv = Vec::new();
    let mut rest = line.trim_start().as_bytes();
    while let Some(&first) = rest.first() {
        let (arg, used) = match first {
            b'"' => double_quoted(rest)?,
            b'\'' => single_quoted(rest)?,
            _ => {
                let end = rest.iter().position(u8::is_ascii_whitespace).unwrap_or(rest.len());
                (rest[..end].to_vec(), end)
            }
        };
        argv.push(arg);
        rest = &rest[used..];
        if rest.first().is_some_and(|byte| !byte.is_ascii_whitespace()) {
            return Err(format!("no blank after a quoted argument: {line}"));
        }
        rest = rest.trim_ascii_start();
    }
    Ok(argv)
}

/// The line that `split` reads as these arguments.
pub(crate) fn join<A: AsRef<[u8]>>(argv: &[A]) -> String {
    let quoted = argv.iter().map(|arg| {
        let arg = arg.as_ref();
        let plain = |byte: &u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\'' | b'\\');
        if !arg.is_empty() && arg.iter().all(plain) {
            escape(arg)
        } else {
            format!("\"{}\"", escape(arg).replace('"', "\\\""))
        }
    });
    quoted.collect::<Vec<_>>().join(" ")
}

/// Bytes as printable ASCII; distinct bytes give distinct text.
pub(crate) fn escape(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for &byte in bytes {
        match byte {
            b'\\' => text.push_str("\\\\"),
            b'\n' => text.push_str("\\n"),
            b'\r' => text.push_str("\\r"),
            b'\t' => text.push_str("\\t"),
            b' '..=b'~' => text.push(byte as char),
            _ => write!(text, "\\x{byte:02x}").expect("a String takes all"),
        }
    }
    text
}

fn double_quoted(bytes: &[u8]) -> Result<(Vec<u8>, usize), String> {
    let mut arg = Vec::new();
    let mut at = 1;
    while at < bytes.len() {
        match (bytes[at], bytes.get(at + 1)) {
            (b'"', _) => return Ok((arg, at + 1)),
            (b'\\', Some(b'x')) => {
                let digits = bytes.get(at + 2..at + 4).ok_or("a cut \\x escape")?;
                let digits = std::str::from_utf8(digits).map_err(|e| e.to_string())?;
                arg.push(u8::from_str_radix(digits, 16).map_err(|e| e.to_string())?);
                at += 4;
            }
            (b'\\', Some(&escaped)) => {
                arg.push(match escaped {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'b' => 8,
                    b'a' => 7,
                    other => other,
                });
                at += 2;
            }
            (byte, _) => {
                arg.push(byte);
                at += 1;
            }
        }
    }
    Err("a double quote that does not end".to_owned())
}

fn single_quoted(bytes: &[u8]) -> Result<(Vec<u8>, usize), String> {
    let mut arg = Vec::new();
    let mut at = 1;
    while at < bytes.len() {
        match (bytes[at], bytes.get(at + 1)) {
            (b'\'', _) => return Ok((arg, at + 1)),
            (b'\\', Some(b'\'')) => {
                arg.push(b'\'');
                at += 2;
            }
            (byte, _) => {
                arg.push(byte);
                at += 1;
            }
        }
    }
    Err("a single quote that does not end".to_owned())
}
