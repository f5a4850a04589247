//! Sectors that a disk has never written: they read as zeros.
//!
//! Invariant: constant memory, whatever is read. A disk writes a sector wholly or not at all. One that
//! was written before, with less of the file in it, is zeros behind that.

/// Looks for them.
#[derive(Debug)]
pub(super) struct Sectors {
    /// The next byte of the file.
    offset: u64,
    /// The end of the last byte that is not zero.
    filled: u64,
    /// The end of the last lost sector.
    lost: u64,
}

impl Sectors {
    /// The first byte stands at this place of the file.
    pub(super) fn new(offset: u64) -> Sectors {
        Sectors { offset, filled: offset, lost: 0 }
    }

    /// The next byte of the file.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// The end of the last byte that is not zero.
    pub(super) fn filled(&self) -> u64 {
        self.filled
    }

    /// True if a sector is lost of what stands behind this byte, which is where something whole ended.
    pub(super) fn has_lost(&self, safe: u64) -> bool {
        self.lost > safe
    }

    /// The next bytes of the file. All before `safe` is whole; sectors that begin at `reach` or
    /// behind it don't count.
    pub(super) fn feed(&mut self, bytes: &[u8], safe: u64, reach: u64) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let begin = self.offset - self.offset % SECTOR_BYTES;
            let left = (begin + SECTOR_BYTES - self.offset) as usize;
            let (piece, behind) = rest.split_at(rest.len().min(left));
            if let Some(at) = piece.iter().rposition(|byte| *byte != 0) {
                self.filled = self.offset + at as u64 + 1;
            }
            self.offset += piece.len() as u64;
            if piece.len() == left && begin < reach && self.filled <= begin.max(safe) {
                self.lost = self.offset;
            }
            rest = behind;
        }
    }
}

/// What a disk writes in one piece.
const SECTOR_BYTES: u64 = 512;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sector_is_lost_if_all_behind_what_is_whole_is_zeros() {
        let cases = [
            // zeros, safe, reach, is lost
            (512..1024, 0, 3000, true),
            (513..1024, 0, 3000, false),
            (512..1023, 0, 3000, false),
            (900..1024, 900, 3000, true),
            (900..1024, 899, 3000, false),
            (900..1023, 900, 3000, false),
            (1024..1536, 900, 1025, true),
            (1024..1536, 900, 1024, false),
        ];
        for (zeros, safe, reach, is_lost) in cases {
            let mut bytes = vec![b'x'; 3000];
            bytes[zeros.clone()].fill(0);
            for piece in [1, 7, 512, 3000] {
                let mut sectors = Sectors::new(0);
                bytes.chunks(piece).for_each(|chunk| sectors.feed(chunk, safe, reach));
                assert_eq!(sectors.has_lost(safe), is_lost, "{zeros:?} in pieces of {piece}");
                assert_eq!((sectors.offset(), sectors.filled()), (3000, 3000));
            }
        }
    }
}
