//! The arguments of one request: words borrowed from the buffer that they arrived in.
//!
//! Invariant: a range always lies inside its buffer; the dispatcher has checked the arity before a
//! handler indexes a word that the arity promises.

use super::error::CommandError;
use crate::base::long_double::LongDouble;
use crate::base::number;
use crate::base::time::Millis;
pub use crate::resp::request::ArgRange;
use crate::types::string::BigString;

/// A word that was received in chunks because it is large.
#[derive(Debug)]
pub struct BigArg {
    /// Which word.
    pub index: usize,
    /// Its bytes.
    pub value: BigString,
}

/// A value to store: borrowed bytes, or chunks that can be kept as they are.
#[derive(Clone, Copy, Debug)]
pub enum ArgValue<'q> {
    /// A word of the request buffer.
    Bytes(&'q [u8]),
    /// A large word; cloning it shares the chunks.
    Big(&'q BigString),
}

impl ArgValue<'_> {
    /// Bytes.
    pub fn len(&self) -> u64 {
        match self {
            ArgValue::Bytes(bytes) => bytes.len() as u64,
            ArgValue::Big(value) => value.len(),
        }
    }

    /// True for the empty string.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The words of one request, the command's name first.
#[derive(Clone, Copy, Debug)]
pub struct Args<'q> {
    buffer: &'q [u8],
    ranges: &'q [ArgRange],
    big: &'q [BigArg],
}

impl<'q> Args<'q> {
    /// The words `ranges` of `buffer`; `big` holds those that are not in the buffer.
    #[inline]
    pub fn new(buffer: &'q [u8], ranges: &'q [ArgRange], big: &'q [BigArg]) -> Self {
        Args { buffer, ranges, big }
    }

    /// Words, the command's name included.
    #[inline]
    pub fn len(&self) -> usize {
        self.ranges.len()
    }

    /// True without any word.
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// Appends the words to `buffer`, in one piece with what stands between them, and where they are
    /// then to `ranges`. Large words are not copied.
    #[inline]
    pub fn copy_to(&self, buffer: &mut Vec<u8>, ranges: &mut Vec<ArgRange>) {
        let at = buffer.len() as u32;
        let (Some(first), Some(last), []) = (self.ranges.first(), self.ranges.last(), self.big)
        else {
            // The place of a large word is empty, and stands anywhere.
            for word in self.iter_from(0) {
                let start = buffer.len() as u32;
                buffer.extend_from_slice(word);
                ranges.push(ArgRange { start, len: word.len() as u32 });
            }
            return;
        };
        let end = last.start + last.len;
        buffer.extend_from_slice(&self.buffer[first.start as usize..end as usize]);
        let moved = |range: &ArgRange| ArgRange { start: range.start - first.start + at, ..*range };
        ranges.extend(self.ranges.iter().map(moved));
    }

    /// Word `index`, which the arity promises.
    #[inline]
    pub fn get(&self, index: usize) -> &'q [u8] {
        let range = self.ranges[index];
        &self.buffer[range.start as usize..range.start as usize + range.len as usize]
    }

    /// Word `index`, if it was sent.
    #[inline]
    pub fn opt(&self, index: usize) -> Option<&'q [u8]> {
        (index < self.ranges.len()).then(|| self.get(index))
    }

    /// The words from `index` on as a request of their own, without large words.
    #[must_use]
    pub fn behind(&self, index: usize) -> Args<'q> {
        Args { ranges: &self.ranges[index.min(self.ranges.len())..], big: &[], ..*self }
    }

    /// Word `index` as a value to store. Only for commands with `takes_chunks`.
    #[inline]
    pub fn value(&self, index: usize) -> ArgValue<'q> {
        match self.big.iter().find(|big| big.index == index) {
            None => ArgValue::Bytes(self.get(index)),
            Some(big) => ArgValue::Big(&big.value),
        }
    }

    /// All words from `index` on.
    pub fn iter_from(&self, index: usize) -> impl ExactSizeIterator<Item = &'q [u8]> + use<'q> {
        let args = *self;
        (index.min(args.len())..args.len()).map(move |at| args.get(at))
    }

    /// True if word `index` is `word`, in any case. `word` is upper case.
    #[inline]
    pub fn is(&self, index: usize, word: &str) -> bool {
        self.opt(index).is_some_and(|arg| arg.eq_ignore_ascii_case(word.as_bytes()))
    }

    /// Word `index` as an integer. `NotAnInteger` if it is none.
    #[inline]
    pub fn integer(&self, index: usize) -> Result<i64, CommandError> {
        number::parse_i64(self.get(index)).ok_or(CommandError::NotAnInteger)
    }

    /// The same words in one buffer, large ones included; for handlers that want slices. None if
    /// they do not fit a buffer.
    pub fn flatten(&self) -> Option<(Vec<u8>, Vec<ArgRange>)> {
        let mut buffer = Vec::new();
        let mut ranges = Vec::with_capacity(self.len());
        for index in 0..self.len() {
            let start = u32::try_from(buffer.len()).ok()?;
            match self.value(index) {
                ArgValue::Bytes(bytes) => buffer.extend_from_slice(bytes),
                ArgValue::Big(value) => {
                    value.chunks().iter().for_each(|chunk| buffer.extend_from_slice(chunk));
                }
            }
            let len = u32::try_from(buffer.len()).ok()? - start;
            ranges.push(ArgRange { start, len });
        }
        Some((buffer, ranges))
    }

    /// Word `index` as an integer of 32 bits, as database numbers are: `NotAnInteger` if it is none,
    /// `IntOutOfRange` if it is larger.
    pub fn integer32(&self, index: usize) -> Result<i32, CommandError> {
        i32::try_from(self.integer(index)?).map_err(|_| CommandError::IntOutOfRange)
    }

    /// Word `index` as a timeout in seconds from `now`; None is for ever. Source: BLPOP.
    pub fn timeout_seconds(
        &self,
        index: usize,
        now: Millis,
    ) -> Result<Option<Millis>, CommandError> {
        let text = self.get(index);
        // What only a long double holds is a number, too, but beyond any clock.
        let beyond = if text.starts_with(b"-") { f64::NEG_INFINITY } else { f64::INFINITY };
        let seconds = number::parse_f64(text)
            .or_else(|| LongDouble::parse(text).filter(|value| !value.is_nan()).map(|_| beyond));
        let millis = seconds.ok_or(CommandError::TimeoutNotAFloat)? * 1000.0;
        if millis > i64::MAX as f64 {
            return Err(CommandError::TimeoutOutOfRange);
        }
        deadline(millis.ceil() as i64, now)
    }

    /// Word `index` as a timeout in milliseconds from `now`; None is for ever. Source: XREAD BLOCK.
    pub fn timeout_millis(
        &self,
        index: usize,
        now: Millis,
    ) -> Result<Option<Millis>, CommandError> {
        let millis = number::parse_i64(self.get(index)).ok_or(CommandError::TimeoutNotAnInteger)?;
        deadline(millis, now)
    }

    /// Bytes of the words.
    pub fn word_bytes(self) -> u64 {
        (0..self.len()).map(|at| self.value(at).len()).sum()
    }

    /// Bytes of the request as clients send it.
    pub fn request_bytes(self) -> u64 {
        let digits = |number: u64| u64::from(number.checked_ilog10().unwrap_or(0)) + 1;
        // A mark, a number, a line end; and a line end behind each word.
        let head = |number: u64| 1 + digits(number) + 2;
        let words = (0..self.len()).map(|at| self.value(at).len());
        head(self.len() as u64) + words.map(|len| head(len) + len + 2).sum::<u64>()
    }

    /// Bytes from the first word to the last one, with what stands between them in their buffer:
    /// never fewer than the words have that are not large.
    #[inline]
    pub fn spanned(&self) -> u64 {
        match (self.ranges.first(), self.ranges.last()) {
            (Some(first), Some(last)) => u64::from((last.start + last.len).abs_diff(first.start)),
            _ => 0,
        }
    }

    /// The large words.
    pub fn big(&self) -> &'q [BigArg] {
        self.big
    }
}

/// Words that were kept, in one buffer, as `Args` want them.
pub fn join(words: &[Vec<u8>]) -> (Vec<u8>, Vec<ArgRange>) {
    let mut start = 0;
    let ranges = words.iter().map(|word| {
        let range = ArgRange { start, len: word.len() as u32 };
        start += range.len;
        range
    });
    (words.concat(), ranges.collect())
}

/// The end of a wait of so many milliseconds; 0 is for ever.
fn deadline(millis: i64, now: Millis) -> Result<Option<Millis>, CommandError> {
    match millis {
        ..0 => Err(CommandError::TimeoutNegative),
        0 => Ok(None),
        _ => match now.0.checked_add(millis) {
            Some(deadline) => Ok(Some(Millis(deadline))),
            None => Err(CommandError::TimeoutOutOfRange),
        },
    }
}
