//! SORT and SORT_RO: the elements of a list, set or sorted set in an order of values, their own or those
//! of other keys; given, or what other keys hold in their place.
//!
//! Invariant: a request whose patterns name other keys runs with every partition; any other touches the
//! keys of its words only. What is sorted is copied first, since a lookup may delete an expired key.

mod request;

use std::cmp::Ordering;
use std::ops::Range;

use request::{KeyPattern, Pattern, Request};

use crate::base::words::c_string;
use crate::command::context::StringRef;
use crate::command::effects::EventClass;
use crate::command::{
    Access, Acl, Args, Argument, ArgumentKind, Arity, Command, CommandError, Context, Flags,
    Handler, KeySpec, Outcome,
};
use crate::commands::hash;
use crate::commands::list::limits;
use crate::encoding::listpack::Element;
use crate::resp::reply::Reply;
use crate::store::key::Key;
use crate::types::ValueRef;
use crate::types::hash::HashRef;
use crate::types::list::{self, End, Item, ListRef, Walk};
use crate::types::set::SetRef;
use crate::types::zset::{self, ZSetMut, ZSetRef};

/// The table's slice.
pub const COMMANDS: &[Command] = &[
    Command {
        name: "SORT",
        summary: "Sorts the elements of a list, set or sorted set, to be given or stored.",
        since: "1.0.0",
        flags: Flags::WRITE.with(Flags::DENYOOM).with(Flags::MOVABLEKEYS),
        keys: &[
            KEY_SPEC,
            PATTERN_SPEC,
            KeySpec::found(stored_at, Access::OW.with(Access::UPDATE)).notes(
                "For the optional STORE keyword. It is marked 'unknown' because the keyword can appear anywhere in the argument array",
            ),
        ],
        arguments: &[
            KEY,
            BY,
            LIMIT,
            GET,
            ORDER,
            ALPHA,
            Argument::key("destination", 2).after("STORE").optional(),
        ],
        ..SORTS
    },
    Command {
        name: "SORT_RO",
        summary: "Sorts the elements of a list, set or sorted set and changes nothing.",
        since: "7.0.0",
        flags: Flags::READONLY.with(Flags::MOVABLEKEYS),
        keys: &[KEY_SPEC, PATTERN_SPEC],
        arguments: &[KEY, BY, LIMIT, GET, ORDER, ALPHA],
        ..SORTS
    },
];

/// What both have in common.
const SORTS: Command = Command {
    complexity: "O(N + M*log(M)) for N elements of which M are given",
    arity: Arity::AtLeast(2),
    acl: Acl::SET.with(Acl::SORTEDSET).with(Acl::LIST).with(Acl::DANGEROUS),
    handler: Handler::Reaching(reaches, sort),
    ..Command::BASE
};

const KEY_SPEC: KeySpec = KeySpec::one(1, Access::RO.with(Access::ACCESS));
const PATTERN_SPEC: KeySpec = KeySpec::unknown(Access::RO.with(Access::ACCESS)).notes(
    "For the optional BY/GET keyword. It is marked 'unknown' because the key names derive from the content of the key we sort",
);

const KEY: Argument = Argument::key("key", 0);
const BY: Argument = pattern("by-pattern").after("BY").optional();
const LIMIT: Argument = Argument::block(
    "limit",
    &[
        Argument::new("offset", ArgumentKind::Integer),
        Argument::new("count", ArgumentKind::Integer),
    ],
)
.after("LIMIT")
.optional();
const GET: Argument = pattern("get-pattern").after("GET").optional().multiple_token();
const ORDER: Argument =
    Argument::one_of("order", &[Argument::token("asc", "ASC"), Argument::token("desc", "DESC")])
        .optional();
const ALPHA: Argument = Argument::token("sorting", "ALPHA").optional();

const fn pattern(name: &'static str) -> Argument {
    Argument { key_spec: Some(1), ..Argument::new(name, ArgumentKind::Pattern) }.display("pattern")
}

/// True if a request looks up keys that its words do not name.
fn reaches(args: Args<'_>) -> bool {
    Request::parse(args, true).is_ok_and(|request| request.reaches())
}

/// The word that names where the result is stored.
fn stored_at(args: Args<'_>) -> Option<usize> {
    Request::parse(args, true).ok()?.store
}

fn sort(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let request = Request::parse(args, cx.may_read_all_keys(args))?;
    let key = cx.key(args.get(1));
    let mut sorting = Sorting::begin(cx, &key, &request)?;
    if sorting.is_sorted {
        if let Some(pattern) = sorting.by {
            sorting.look_up_ranks(cx, &pattern);
        }
        if sorting.has_invalid_number {
            reply.error("ERR One or more scores can't be converted into double");
            return Err(CommandError::Written);
        }
        sorting.arrange(request.descending, request.store.is_some());
    }
    match request.store {
        None => write(cx, &sorting, &request.gets, reply),
        Some(word) => {
            let target = cx.key(args.get(word));
            store(cx, &sorting, &request.gets, &target, reply);
        }
    }
    Ok(())
}

/// Writes the elements of the window, or what the patterns name in their place.
fn write(cx: &mut Context<'_>, sorting: &Sorting<'_>, gets: &[Pattern<'_>], reply: &mut Reply<'_>) {
    let mut name = Vec::new();
    reply.array(sorting.window.len() * gets.len().max(1));
    for element in sorting.result() {
        if gets.is_empty() {
            reply.bulk(element);
        }
        for pattern in gets {
            match pattern {
                Pattern::Itself => reply.bulk(element),
                Pattern::Nothing => reply.null(),
                Pattern::Key(pattern) => match look_up(cx, pattern, element, &mut name) {
                    Some(value) => value.reply(reply),
                    None => reply.null(),
                },
            }
        }
    }
}

/// Stores the same as a list, where what is missing is the empty string; nothing deletes the key.
fn store(
    cx: &mut Context<'_>,
    sorting: &Sorting<'_>,
    gets: &[Pattern<'_>],
    target: &Key<'_>,
    reply: &mut Reply<'_>,
) {
    let mut name = Vec::new();
    let (mut texts, mut spans) = (Texts::default(), Vec::new());
    for element in sorting.result() {
        if gets.is_empty() {
            spans.push(texts.push(element));
        }
        for pattern in gets {
            spans.push(match pattern {
                Pattern::Itself => texts.push(element),
                Pattern::Nothing => texts.push(&[]),
                Pattern::Key(pattern) => match look_up(cx, pattern, element, &mut name) {
                    Some(value) => texts.push(&value.to_bytes()),
                    None => texts.push(&[]),
                },
            });
        }
    }
    let len = spans.len() as u64;
    if len > 0 {
        let items = spans.into_iter().map(|span| Item::Str(texts.get(span)));
        let list = list::collect(items, limits(cx));
        cx.set_collection(target, list, None);
        cx.event(EventClass::List, "sortstore", target);
        cx.effects.changed_many(len - 1);
    } else if cx.delete(target) {
        cx.event(EventClass::Generic, "del", target);
    }
    reply.count(len);
}

/// What a pattern names for an element: a string, or a field of a hash. `name` is room for the key.
fn look_up<'c>(
    cx: &'c mut Context<'_>,
    pattern: &KeyPattern<'_>,
    element: &[u8],
    name: &mut Vec<u8>,
) -> Option<StringRef<'c>> {
    pattern.write_key(element, name);
    let (key, now) = (cx.key(name), cx.expiry_now());
    let Some(field) = pattern.field else { return StringRef::of(cx.read(&key)?).ok() };
    hash::expire_if_due(cx, &key, field);
    let found = HashRef::of(cx.read(&key)?.value()).ok()?.get(field)?;
    match found.value {
        _ if found.is_expired(now.0) => None,
        Element::Int(value) => Some(StringRef::Int(value)),
        Element::Str(bytes) => Some(StringRef::Bytes(bytes)),
    }
}

/// Strings one behind the other.
#[derive(Default)]
struct Texts(Vec<u8>);

/// One of `Texts`.
#[derive(Clone, Copy)]
struct Span {
    from: usize,
    len: usize,
}

impl Texts {
    fn push(&mut self, text: &[u8]) -> Span {
        let from = self.0.len();
        self.0.extend_from_slice(text);
        Span { from, len: text.len() }
    }

    fn get(&self, span: Span) -> &[u8] {
        &self.0[span.from..span.from + span.len]
    }
}

/// An element on its way to its place.
#[derive(Clone, Copy)]
struct Sorted {
    text: Span,
    rank: Rank,
}

/// What an element is compared by.
#[derive(Clone, Copy)]
enum Rank {
    /// A number; elements with the same one by themselves.
    Score(f64),
    /// The element.
    Itself,
    /// A value that the BY pattern named; None is before all others.
    Value(Option<Span>),
}

/// The elements of one SORT.
struct Sorting<'q> {
    texts: Texts,
    elements: Vec<Sorted>,
    /// The elements that are given.
    window: Range<usize>,
    /// False if they are given in the order in which they lie.
    is_sorted: bool,
    alpha: bool,
    by: Option<KeyPattern<'q>>,
    has_invalid_number: bool,
}

impl<'q> Sorting<'q> {
    /// Copies the elements of a key: all, or those of the window where nothing is to be sorted.
    fn begin(
        cx: &mut Context<'_>,
        key: &Key<'_>,
        request: &Request<'q>,
    ) -> Result<Self, CommandError> {
        let mut sorting = Sorting {
            texts: Texts::default(),
            elements: Vec::new(),
            window: 0..0,
            is_sorted: !request.unsorted,
            alpha: request.alpha,
            by: request.by,
            has_invalid_number: false,
        };
        let in_script = cx.in_script;
        let Some(entry) = cx.read(key) else { return Ok(sorting) };
        let value = entry.value();
        let is_packed_zset = if let Ok(list) = ListRef::of(value) {
            sorting.copy_list(list, request);
            false
        } else if let Ok(set) = SetRef::of(value) {
            sorting.copy_set(set, request, in_script);
            false
        } else {
            sorting.copy_zset(ZSetRef::of(value)?, request);
            matches!(value, ValueRef::Packed(..))
        };
        if is_packed_zset {
            leave_listpack(cx, key);
        }
        Ok(sorting)
    }

    fn copy_list(&mut self, list: ListRef<'_>, request: &Request<'q>) {
        let len = list.len() as usize;
        let mut wanted = self.expect(len, request);
        let (first, end) = if request.descending && !self.is_sorted {
            (len.saturating_sub(wanted.start + 1), End::Head)
        } else {
            (wanted.start, End::Tail)
        };
        if wanted.is_empty() {
            return;
        }
        let mut long = Vec::new();
        list.visit(first as u64, end, |item| {
            match item {
                Item::Int(value) => self.push(Element::Int(value)),
                Item::Str(bytes) => self.push(Element::Str(bytes)),
                Item::Big(_) => self.push(Element::Str(item.to_slice(&mut long))),
            }
            wanted.start += 1;
            if wanted.is_empty() { Walk::Stop } else { Walk::On }
        });
    }

    /// What is stored, or what a script sees, must not depend on the order of a table: it is sorted in
    /// any case.
    fn copy_set(&mut self, set: SetRef<'_>, request: &Request<'q>, in_script: bool) {
        if !self.is_sorted && (request.store.is_some() || in_script) {
            (self.is_sorted, self.alpha, self.by) = (true, true, None);
        }
        let wanted = self.expect(set.len(), request);
        let mut at = 0;
        set.visit(|member| {
            if at >= wanted.start && at < wanted.end {
                self.push(member);
            }
            at += 1;
            at < wanted.end
        });
    }

    fn copy_zset(&mut self, set: ZSetRef<'_>, request: &Request<'q>) {
        let len = set.len();
        let wanted = self.expect(len as usize, request);
        let (from, to) = (wanted.start as u64, wanted.end as u64);
        let descending = request.descending && !self.is_sorted;
        let ranks = if descending { (len - to, len - from) } else { (from, to) };
        set.visit(ranks, descending, |pair| self.push(pair.member));
    }

    /// There are `len` elements: fixes the window and tells which of them are to be copied.
    fn expect(&mut self, len: usize, request: &Request<'q>) -> Range<usize> {
        let window = request.window(len);
        self.window = if self.is_sorted { window.clone() } else { 0..window.len() };
        if self.is_sorted { 0..len } else { window }
    }

    /// Copies an element; a number in its place is read along.
    fn push(&mut self, element: Element<'_>) {
        let text = match element {
            Element::Str(bytes) => self.texts.push(bytes),
            Element::Int(value) => self.texts.push(itoa::Buffer::new().format(value).as_bytes()),
        };
        let rank = match (self.alpha, &self.by, element) {
            (true, None, _) => Rank::Itself,
            (true, Some(_), _) => Rank::Value(None),
            (false, Some(_), _) => Rank::Score(0.0),
            (false, None, Element::Int(value)) => Rank::Score(value as f64),
            (false, None, Element::Str(bytes)) => Rank::Score(self.number(bytes)),
        };
        self.elements.push(Sorted { text, rank });
    }

    /// Looks up what the elements are compared by.
    fn look_up_ranks(&mut self, cx: &mut Context<'_>, pattern: &KeyPattern<'_>) {
        let mut name = Vec::new();
        for at in 0..self.elements.len() {
            let element = self.texts.get(self.elements[at].text);
            let Some(value) = look_up(cx, pattern, element, &mut name) else { continue };
            self.elements[at].rank = match value {
                value if self.alpha => Rank::Value(Some(self.texts.push(&value.to_bytes()))),
                StringRef::Int(value) => Rank::Score(value as f64),
                value => Rank::Score(self.number(&value.to_bytes())),
            };
        }
    }

    /// Reads a number; what is none is noticed.
    fn number(&mut self, text: &[u8]) -> f64 {
        let number = parse_score(text);
        self.has_invalid_number |= number.is_none();
        number.unwrap_or(0.0)
    }

    /// Puts the elements of the window where they belong.
    fn arrange(&mut self, descending: bool, is_stored: bool) {
        let Sorting { texts, elements, window, .. } = self;
        let compare = |one: &Sorted, other: &Sorted| {
            let order = compare(texts, one, other, is_stored);
            let order = if descending { order.reverse() } else { order };
            // What is equal stays in its order.
            order.then(one.text.from.cmp(&other.text.from))
        };
        if window.start >= window.end {
            return;
        }
        if window.start > 0 {
            elements.select_nth_unstable_by(window.start, compare);
        }
        let rest = &mut elements[window.start..];
        if window.len() < rest.len() {
            rest.select_nth_unstable_by(window.len(), compare);
        }
        rest[..window.len()].sort_unstable_by(compare);
    }

    /// The elements of the window.
    fn result(&self) -> impl Iterator<Item = &[u8]> {
        self.elements[self.window.clone()].iter().map(|element| self.texts.get(element.text))
    }
}

/// Orders two elements. What is stored is ordered by all bytes; what is given, as C's strings are.
fn compare(texts: &Texts, one: &Sorted, other: &Sorted, is_stored: bool) -> Ordering {
    let by_text = |one: Span, other: Span| {
        let (one, other) = (texts.get(one), texts.get(other));
        if is_stored { one.cmp(other) } else { c_string(one).cmp(c_string(other)) }
    };
    match (one.rank, other.rank) {
        (Rank::Score(a), Rank::Score(b)) => {
            let order = a.partial_cmp(&b).unwrap_or(Ordering::Equal);
            order.then_with(|| texts.get(one.text).cmp(texts.get(other.text)))
        }
        (Rank::Value(Some(a)), Rank::Value(Some(b))) => by_text(a, b),
        (Rank::Value(a), Rank::Value(b)) => a.is_some().cmp(&b.is_some()),
        _ => by_text(one.text, other.text),
    }
}

/// A number as stock servers read it here: without spaces; the empty string is 0.
fn parse_score(text: &[u8]) -> Option<f64> {
    match c_string(text) {
        [] => Some(0.0),
        text => {
            let number: f64 = std::str::from_utf8(text).ok()?.parse().ok()?;
            (!number.is_nan()).then_some(number)
        }
    }
}

/// A sorted set that is sorted leaves its listpack. Source: OBJECT ENCODING after SORT.
fn leave_listpack(cx: &mut Context<'_>, key: &Key<'_>) {
    let limits = zset::Limits { entries: 0, value: 0, hash_key: cx.hasher.hash_key() };
    let Some(mut entry) = cx.write(key) else { return };
    if let Ok(mut set) = ZSetMut::of(&mut entry) {
        set.expect(usize::MAX, 0, &limits);
    }
}
