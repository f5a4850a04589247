//! Where the replies end among bytes that were written for a client.
//!
//! Invariant: only heads are looked at, each once, without recursion; what does not end is no frame.
//! Source: the Redis serialization protocol specification.

use crate::base::number::parse_i64;

/// A reply, or a push.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Its bytes.
    pub len: usize,
    /// Nobody asked for it (RESP3).
    pub is_push: bool,
}

impl Frame {
    /// The frame that `bytes` begin with. None if they do not hold all of it.
    pub fn first(bytes: &[u8]) -> Option<Frame> {
        let is_push = bytes.first() == Some(&b'>');
        let (mut len, mut values_left) = (0, 1u64);
        while values_left > 0 {
            let rest = &bytes[len..];
            let end = memchr::memchr(b'\n', rest)?;
            let (mark, number) = rest[..end].strip_suffix(b"\r")?.split_first()?;
            let number = || parse_i64(number).map(|number| u64::try_from(number).ok());
            len += end + 1;
            values_left -= 1;
            match mark {
                b'+' | b'-' | b':' | b'_' | b',' | b'#' | b'(' => {}
                b'$' | b'=' | b'!' => {
                    if let Some(word) = number()? {
                        len = len.checked_add(usize::try_from(word).ok()?)?.checked_add(2)?;
                    }
                }
                b'*' | b'~' | b'>' => {
                    values_left = values_left.checked_add(number()?.unwrap_or(0))?;
                }
                b'%' => {
                    let pairs = number()?.unwrap_or(0);
                    values_left = pairs.checked_mul(2)?.checked_add(values_left)?;
                }
                _ => return None,
            }
            if len > bytes.len() {
                return None;
            }
        }
        Some(Frame { len, is_push })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_end_where_their_last_value_does() {
        let whole: [&[u8]; 12] = [
            b"+OK\r\n",
            b"-ERR no\r\n",
            b":-7\r\n",
            b"$3\r\na\nb\r\n",
            b"$-1\r\n",
            b"*-1\r\n",
            b"*0\r\n",
            b"*2\r\n*1\r\n:1\r\n$0\r\n\r\n",
            b"%1\r\n+a\r\n*2\r\n#t\r\n,1.5\r\n",
            b">2\r\n+message\r\n_\r\n",
            b"=7\r\ntxt:abc\r\n",
            b"~1\r\n(123\r\n",
        ];
        for bytes in whole {
            let frame = Frame { len: bytes.len(), is_push: bytes[0] == b'>' };
            let followed = [bytes, b"+OK\r\n"].concat();
            assert_eq!(Frame::first(&followed), Some(frame), "{}", bytes.escape_ascii());
            for len in 0..bytes.len() {
                assert_eq!(Frame::first(&bytes[..len]), None, "{}", bytes.escape_ascii());
            }
        }
        for bytes in [b"OK\r\n".as_slice(), b"$x\r\n", b"*9223372036854775807\r\n", b"\r\n", b""] {
            assert_eq!(Frame::first(bytes), None);
        }
    }
}
