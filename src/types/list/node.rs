//! A node of a quicklist: a listpack, a compressed one, or one large element alone.
//!
//! Invariant: `elements` is what the listpack holds; a compressed node can be decompressed, since it
//! was compressed here or taken apart when it was loaded.

use super::limits::Limits;
use super::{BigString, End, Item, position_at};
use crate::encoding::gap::GapRun;
use crate::encoding::listpack::{self, Element, Listpack};
use crate::encoding::lzf;
use crate::encoding::run::Run;

/// A node.
#[derive(Clone, Debug)]
pub(super) struct Node {
    elements: u32,
    data: Data,
}

#[derive(Clone, Debug)]
enum Data {
    Packed(GapRun),
    Plain(BigString),
    Compressed { small: Box<[u8]>, len: u32, is_plain: bool },
}

/// What a node holds.
#[derive(Clone, Copy, Debug)]
pub enum Contents<'a> {
    /// A listpack.
    Packed(Listpack<'a>),
    /// One element alone.
    Plain(Item<'a>),
}

impl Node {
    /// A node of one element. A large one is alone in it.
    pub(super) fn of(item: Item<'_>, limits: Limits) -> Node {
        if limits.is_large(item.len()) {
            return Node::plain(item.to_big());
        }
        let mut node = Node::packed(GapRun::from(listpack::EMPTY.as_slice()), 0);
        node.push(End::Tail, item);
        node
    }

    /// A node of one element alone.
    pub(super) fn plain(string: BigString) -> Node {
        Node { elements: 1, data: Data::Plain(string) }
    }

    /// A node of a listpack with so many elements.
    pub(super) fn packed(run: GapRun, elements: u32) -> Node {
        Node { elements, data: Data::Packed(run) }
    }

    /// Elements.
    #[inline]
    pub(super) fn elements(&self) -> u32 {
        self.elements
    }

    /// True if it holds one element alone.
    pub(super) fn is_plain(&self) -> bool {
        matches!(self.data, Data::Plain(_) | Data::Compressed { is_plain: true, .. })
    }

    /// Bytes of its listpack, or of its one element, when not compressed.
    #[inline]
    pub(super) fn size(&self) -> u64 {
        match &self.data {
            Data::Packed(run) => run.len() as u64,
            Data::Plain(string) => string.len(),
            Data::Compressed { len, .. } => u64::from(*len),
        }
    }

    /// Bytes allocated, where nothing is shared.
    pub(super) fn bytes(&self) -> usize {
        let data = match &self.data {
            Data::Packed(run) => run.bytes_allocated(),
            Data::Plain(string) => string.bytes(),
            Data::Compressed { small, .. } => small.len(),
        };
        size_of::<Node>() + COUNTERS + data
    }

    /// True if it takes another element of so many bytes, which is not large.
    #[inline]
    pub(super) fn allows(&self, len: u64, limits: Limits) -> bool {
        !self.is_plain() && limits.allows(self.size(), self.elements.into(), len)
    }

    /// True if both together are not too large for one node.
    pub(super) fn allows_merge(&self, other: &Node, limits: Limits) -> bool {
        if self.is_plain() || other.is_plain() {
            return false;
        }
        let bytes = self.size() + other.size() - listpack::EMPTY.len() as u64;
        let elements = u64::from(self.elements) + u64::from(other.elements);
        !limits.exceeded_by(bytes, || elements)
    }

    /// What it holds; a compressed node is decompressed into `buffer`.
    #[inline]
    pub(super) fn contents<'a>(&'a self, buffer: &'a mut Vec<u8>) -> Contents<'a> {
        match &self.data {
            Data::Packed(run) => Contents::Packed(Listpack::new(run.bytes())),
            Data::Plain(string) => Contents::Plain(Item::Big(string)),
            Data::Compressed { small, len, is_plain } => {
                *buffer = decompressed(small, *len);
                if *is_plain {
                    Contents::Plain(Item::Str(buffer))
                } else {
                    Contents::Packed(Listpack::new(buffer))
                }
            }
        }
    }

    /// The element at an end of a node that is not compressed.
    #[inline]
    pub(super) fn at_end(&self, end: End) -> Option<Item<'_>> {
        match &self.data {
            Data::Packed(run) => {
                let pack = Listpack::new(run.bytes());
                position_at(pack, end).map(|pos| pack.get(pos).into())
            }
            Data::Plain(string) => Some(Item::Big(string)),
            Data::Compressed { .. } => None,
        }
    }

    /// Adds an element at an end.
    #[inline]
    pub(super) fn push(&mut self, end: End, item: Item<'_>) {
        let run = self.run();
        let pos = match end {
            End::Head => listpack::HEADER,
            End::Tail => Listpack::new(run.bytes()).end(),
        };
        self.insert(pos, item);
    }

    /// Inserts an element before the one at `pos`.
    #[inline]
    pub(super) fn insert(&mut self, pos: usize, item: Item<'_>) {
        with_element(item, |element| listpack::insert(self.run(), pos, [element]));
        self.elements += 1;
    }

    /// Puts an element in the place of the one at `pos`.
    pub(super) fn replace(&mut self, pos: usize, item: Item<'_>) {
        with_element(item, |element| listpack::replace(self.run(), pos, element));
    }

    /// Removes the element at an end.
    #[inline]
    pub(super) fn drop_end(&mut self, end: End) {
        self.elements -= 1;
        if self.is_plain() {
            return;
        }
        let run = self.run();
        let pos = position_at(Listpack::new(run.bytes()), end).expect("no node is empty");
        listpack::delete(run, pos, 1);
    }

    /// Removes `count` elements from `index` on, which are there but not all.
    pub(super) fn remove_range(&mut self, index: u32, count: u32) {
        listpack::delete_range(self.run(), index.into(), count as usize);
        self.elements -= count;
    }

    /// Removes the elements at these positions, which are not all; ascending.
    pub(super) fn remove_all(&mut self, positions: &[usize]) {
        listpack::delete_all(self.run(), positions);
        self.elements -= positions.len() as u32;
    }

    /// Keeps the elements before `pos`; returns the others. Neither part is empty.
    pub(super) fn split_off(&mut self, pos: usize) -> Node {
        let tail = listpack::split_off(self.run(), pos);
        let elements = Listpack::new(&tail).len() as u32;
        self.elements -= elements;
        Node::packed(tail.into(), elements)
    }

    /// Adds the elements of another node behind its own. Both hold listpacks.
    pub(super) fn append(&mut self, other: &Node) {
        let mut buffer = Vec::new();
        if let Contents::Packed(pack) = other.contents(&mut buffer) {
            listpack::append_pack(self.run(), pack);
            self.elements += other.elements;
        }
    }

    /// Byte offset of element `index`.
    pub(super) fn seek(&mut self, index: u32) -> usize {
        let pack = Listpack::new(self.run().bytes());
        pack.seek(index.into()).expect("an index within the node")
    }

    /// The listpack, decompressed where it was compressed. The node is not plain.
    #[inline]
    fn run(&mut self) -> &mut GapRun {
        self.decompress();
        match &mut self.data {
            Data::Packed(run) => run,
            Data::Plain(_) | Data::Compressed { .. } => unreachable!("it holds a listpack"),
        }
    }

    /// Gives back unused memory of a node that will hardly change.
    pub(super) fn shrink(&mut self) {
        if let Data::Packed(run) = &mut self.data {
            run.shrink();
        }
    }

    /// True if `compress` could make it smaller; it need not.
    pub(super) fn is_compressible(&self) -> bool {
        let is_open = !matches!(self.data, Data::Compressed { .. });
        is_open && (COMPRESSED_LEN_MIN..=COMPRESSED_LEN_MAX).contains(&self.size())
    }

    /// Compresses it, if that saves enough.
    pub(super) fn compress(&mut self) {
        if !self.is_compressible() {
            return;
        }
        let mut buffer = Vec::new();
        let bytes = match &self.data {
            Data::Packed(run) => run.bytes(),
            Data::Plain(string) => Item::Big(string).to_slice(&mut buffer),
            Data::Compressed { .. } => return,
        };
        if let Some(small) = lzf::compress(bytes, bytes.len() - COMPRESSION_SAVES - 1) {
            let (len, is_plain) = (bytes.len() as u32, self.is_plain());
            self.data = Data::Compressed { small: small.into_boxed_slice(), len, is_plain };
        }
    }

    /// True if it is compressed.
    pub(super) fn is_compressed(&self) -> bool {
        matches!(self.data, Data::Compressed { .. })
    }

    /// Decompresses it, if it is compressed.
    #[inline]
    pub(super) fn decompress(&mut self) {
        if let Data::Compressed { small, len, is_plain } = &self.data {
            let bytes = decompressed(small, *len);
            self.data = if *is_plain {
                Data::Plain(BigString::from(bytes.as_slice()))
            } else {
                Data::Packed(bytes.into())
            };
        }
    }

    /// Frees up to `units` chunks of a large element; returns the units left.
    pub(super) fn free_slice(&mut self, units: usize) -> usize {
        match &mut self.data {
            Data::Plain(string) => string.free_slice(units),
            Data::Packed(_) | Data::Compressed { .. } => units,
        }
    }

    /// The listpack of a node that is its list's only one, taken out of it.
    pub(super) fn take_pack(&mut self) -> Vec<u8> {
        std::mem::take(self.run()).into_vec()
    }
}

fn decompressed(small: &[u8], len: u32) -> Vec<u8> {
    lzf::decompress(small, len as usize).expect("it was compressed by `compress`")
}

/// The item as an element of a listpack; one in several chunks is copied into one piece.
#[inline]
fn with_element(item: Item<'_>, take: impl FnOnce(Element<'_>)) {
    match item.small() {
        Some(element) => take(element),
        None => take(Element::of(item.to_slice(&mut Vec::new()))),
    }
}

/// The two counters in front of a shared node.
const COUNTERS: usize = 16;
/// Less is not worth it. Source: Redis.
const COMPRESSED_LEN_MIN: u64 = 48;
/// More would take too long at once.
const COMPRESSED_LEN_MAX: u64 = 128 * 1024;
/// Compression that saves no more than this is not worth it. Source: Redis.
const COMPRESSION_SAVES: usize = 8;
