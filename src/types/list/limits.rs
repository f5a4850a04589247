//! How large a listpack of a list may become, and what is too large for one.
//! Invariant: the sizes and their rounding are those of a stock server, since clients see the result
//! in OBJECT ENCODING and DUMP. Source: behaviour of Redis 8.0.6.

/// The directives about lists, and DEBUG's threshold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// `list-max-listpack-size`: elements, or -1 to -5 for 4 to 64 KiB.
    pub fill: i32,
    /// `list-compress-depth`: nodes at each end that are not compressed; 0 compresses none.
    pub depth: u32,
    /// DEBUG QUICKLIST-PACKED-THRESHOLD in bytes; 0 leaves it to `fill`.
    pub packed_threshold: u64,
}

impl Limits {
    /// With the bounds that a quicklist keeps of the directives of its first day.
    pub(super) fn clamped(self) -> Self {
        Limits {
            fill: self.fill.clamp(FILL_MIN, FILL_MAX),
            depth: self.depth.min(DEPTH_MAX),
            ..self
        }
    }

    /// The most bytes, if bytes are limited.
    #[inline]
    fn bytes_max(self) -> Option<u64> {
        let level = u32::try_from(-1 - i64::from(self.fill)).ok()?;
        Some(NODE_BYTES_MIN << level.min(NODE_LEVEL_MAX))
    }

    /// The most elements, if elements are limited.
    #[inline]
    fn elements_max(self) -> u64 {
        self.fill.max(1) as u64
    }

    /// True if a listpack of so many bytes and elements is too large. Elements are counted only
    /// where they matter.
    #[inline]
    pub(super) fn exceeded_by(self, bytes: u64, elements: impl FnOnce() -> u64) -> bool {
        match self.bytes_max() {
            Some(max) => bytes > max,
            None => bytes > COUNTED_BYTES_MAX || elements() > self.elements_max(),
        }
    }

    /// True if a quicklist of one node is so small that it becomes a listpack: half of the limit, so
    /// that a list at the limit does not change its form all the time.
    #[inline]
    pub(super) fn is_small(self, bytes: u64, elements: u64) -> bool {
        match self.bytes_max() {
            Some(max) => bytes <= max / 2,
            None => elements <= self.elements_max() / 2,
        }
    }

    /// True if a complete list of one node is a listpack.
    #[inline]
    pub(super) fn holds(self, bytes: u64, elements: u64) -> bool {
        match self.bytes_max() {
            Some(max) => bytes <= max,
            None => elements <= self.elements_max(),
        }
    }

    /// True if an element of so many bytes gets a node of its own.
    #[inline]
    pub(super) fn is_large(self, len: u64) -> bool {
        if self.packed_threshold != 0 {
            return len >= self.packed_threshold || len > ELEMENT_BYTES_MAX;
        }
        len > self.bytes_max().unwrap_or(COUNTED_BYTES_MAX)
    }

    /// True if a node takes an element of so many bytes, which is not large, too.
    #[inline]
    pub(super) fn allows(self, bytes: u64, elements: u64, len: u64) -> bool {
        !self.exceeded_by(bytes + len + ELEMENT_OVERHEAD, || elements + 1)
    }
}

const FILL_MIN: i32 = -5;
const FILL_MAX: i32 = i16::MAX as i32;
const DEPTH_MAX: u32 = u16::MAX as u32;
/// The limit of -1; each further step doubles it.
const NODE_BYTES_MIN: u64 = 4096;
const NODE_LEVEL_MAX: u32 = 4;
/// Bytes of a node whose elements are limited.
const COUNTED_BYTES_MAX: u64 = 8192;
/// What an element is taken to need beside its string.
const ELEMENT_OVERHEAD: u64 = 8;
/// Above this an element gets a node of its own, whatever the threshold.
const ELEMENT_BYTES_MAX: u64 = 1 << 29;
