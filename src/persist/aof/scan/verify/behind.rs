//! What stands behind the place where a file is not whole: lines that say how much of it was synced.
//!
//! Invariant: constant memory and one look at each byte. A line counts whatever became of its group:
//! what it says was true when it was written. Values may hold the like, but not at its place.

use super::super::super::annotation::Annotation;

/// Looks for them.
#[derive(Debug)]
pub(super) struct Behind {
    /// Bytes in which a line may begin that has not ended, and their place in the file.
    tail: Vec<u8>,
    offset: u64,
    synced: u64,
    has_sync_line: bool,
    has_silent_group: bool,
}

impl Behind {
    /// The first byte stands at this place of the file.
    pub(super) fn new(offset: u64) -> Behind {
        Behind {
            tail: Vec::new(),
            offset,
            synced: 0,
            has_sync_line: false,
            has_silent_group: false,
        }
    }

    /// Up to here the file was synced.
    pub(super) fn synced_upto(&self) -> u64 {
        self.synced
    }

    /// There is a line that says how much was synced.
    pub(super) fn has_sync_line(&self) -> bool {
        self.has_sync_line
    }

    /// There is a group that does not say how much was synced.
    pub(super) fn has_silent_group(&self) -> bool {
        self.has_silent_group
    }

    /// The next bytes of the file.
    pub(super) fn feed(&mut self, bytes: &[u8]) {
        for piece in bytes.chunks(PIECE_BYTES) {
            self.tail.extend_from_slice(piece);
            let kept = self.tail.len().min(LINE_BYTES_MAX - 1);
            self.look(self.tail.len() - kept);
        }
    }

    /// The file has ended.
    pub(super) fn finish(&mut self) {
        self.look(self.tail.len());
    }

    /// Looks at lines that begin in so many bytes, and forgets these.
    fn look(&mut self, len: usize) {
        for at in memchr::memchr_iter(b'#', &self.tail[..len]) {
            let text = &self.tail[at..self.tail.len().min(at + LINE_BYTES_MAX)];
            let Some(end) = memchr::memchr(b'\n', text) else { continue };
            let (line, behind) = text.split_at(end + 1);
            let Ok(found) = Annotation::parse(line) else { continue };
            let upto = found.synced_upto(self.offset + at as u64);
            self.synced = self.synced.max(upto.unwrap_or(0));
            self.has_sync_line |= upto.is_some();
            let is_group = matches!(found, Annotation::Group { .. });
            self.has_silent_group |= is_group && behind.first() == Some(&b'*');
        }
        self.tail.drain(..len);
        self.offset += len as u64;
    }
}

/// Such a line, and one byte behind it, are no more bytes.
const LINE_BYTES_MAX: usize = 64;
/// So many bytes are looked at together.
const PIECE_BYTES: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    fn behind(text: &[u8], piece: usize) -> Behind {
        let mut behind = Behind::new(1000);
        text.chunks(piece).for_each(|chunk| behind.feed(chunk));
        behind.finish();
        behind
    }

    #[test]
    fn a_line_counts_at_its_place_however_it_is_read() {
        let line = b"\0\0#CRC:7 0123456789abcdef\r\n#SYNC:900 1002\r\n*1\r\n#SYNC:950 100\r\n##";
        for piece in [1, 5, 100] {
            let found = behind(line, piece);
            assert_eq!((found.synced_upto(), found.has_silent_group()), (900, false), "{piece}");
        }
        assert_eq!(behind(&line[..line.len() / 2], 9).synced_upto(), 0, "it is cut");
    }

    #[test]
    fn a_group_that_begins_with_a_command_is_silent() {
        let line = b"#CRC:7 0123456789abcdef\r\n";
        for (next, is_silent) in
            [(&b"*1\r\n"[..], true), (b"#SYNC", false), (b"\0", false), (b"", false)]
        {
            let text = [&b"###\r\n"[..], line, next].concat();
            for piece in [1, 30, 100] {
                assert_eq!(behind(&text, piece).has_silent_group(), is_silent);
            }
        }
    }
}
