//! The words of a search: where from, in which form, what is answered.
//! Invariant: words are looked at in their order, and the first that is wrong is answered, as a stock
//! server does. Source: GEORADIUS, GEOSEARCH of Redis 8.0.6; BYPOLYGON of Valkey 9.

use super::{member_position, position, refuse, unit};
use crate::base::number;
use crate::command::{Args, CommandError, Context, Outcome};
use crate::resp::reply::Reply;
use crate::store::key::Key;
use crate::types::geo::{Form, Position, Search};

/// Which command it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    /// GEORADIUS: around a position.
    Radius,
    /// GEORADIUSBYMEMBER: around a member.
    RadiusByMember,
    /// GEOSEARCH: all in options.
    Search,
    /// GEOSEARCHSTORE: the same with a destination first.
    SearchStore,
}

/// In which order members are answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// The nearest first.
    Ascending,
    /// The farthest first.
    Descending,
}

/// What a request asks for.
#[derive(Debug, Default)]
pub(super) struct Query {
    from: Option<Position>,
    form: Option<Form>,
    unit: f64,
    pub(super) with_distance: bool,
    pub(super) with_hash: bool,
    pub(super) with_position: bool,
    pub(super) order: Option<Order>,
    /// The most members; None is all.
    pub(super) count: Option<u64>,
    /// The first that are found will do.
    pub(super) any: bool,
    /// The word that names the destination.
    pub(super) store: Option<usize>,
    /// Distances become scores, not geohashes.
    pub(super) stores_distance: bool,
}

impl Query {
    /// Reads all words. The source at `key` is there if `exists`; without it there is nobody to ask
    /// for a member's position, and nothing is searched.
    pub(super) fn parse(
        cx: &mut Context<'_>,
        args: Args<'_>,
        (key, exists): (&Key<'_>, bool),
        (style, may_store): (Style, bool),
        reply: &mut Reply<'_>,
    ) -> Result<Self, CommandError> {
        let query = Self::default();
        let mut parser = Parser { args, key, exists, style, may_store, origin: None, query };
        let first = match style {
            Style::Radius => {
                parser.query.from = Some(position(args, 2, reply)?);
                parser.circle(4, reply)?;
                6
            }
            Style::RadiusByMember => {
                if exists {
                    parser.member(cx, 2, reply)?;
                    parser.circle(3, reply)?;
                }
                5
            }
            Style::Search => 2,
            Style::SearchStore => {
                parser.query.store = Some(1);
                3
            }
        };
        let mut at = first;
        while at < args.len() {
            at += parser.option(cx, at, reply)?;
        }
        parser.finish(reply)
    }

    /// What is searched for.
    pub(super) fn search(&mut self) -> Option<Search> {
        match self.form.take()? {
            Form::Polygon(vertices) => Some(Search::polygon(vertices)),
            form => Some(Search { center: self.from?, unit: self.unit, form }),
        }
    }
}

struct Parser<'p, 'q> {
    args: Args<'q>,
    key: &'p Key<'p>,
    exists: bool,
    style: Style,
    may_store: bool,
    origin: Option<Origin>,
    query: Query,
}

/// What says where GEOSEARCH searches.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Origin {
    Member,
    Position,
}

impl Parser<'_, '_> {
    fn is_search(&self) -> bool {
        matches!(self.style, Style::Search | Style::SearchStore)
    }

    /// Reads the option at word `at`; returns its words.
    fn option(
        &mut self,
        cx: &mut Context<'_>,
        at: usize,
        reply: &mut Reply<'_>,
    ) -> Result<usize, CommandError> {
        let args = self.args;
        let left = args.len() - at - 1;
        let is = |word| args.is(at, word);
        let (is_search, query) = (self.is_search(), &mut self.query);
        match () {
            () if is("WITHDIST") => query.with_distance = true,
            () if is("WITHHASH") => query.with_hash = true,
            () if is("WITHCOORD") => query.with_position = true,
            () if is("ANY") => query.any = true,
            () if is("ASC") => query.order = Some(Order::Ascending),
            () if is("DESC") => query.order = Some(Order::Descending),
            () if is("COUNT") && left >= 1 => {
                let count = u64::try_from(args.integer(at + 1)?).unwrap_or(0);
                if count == 0 {
                    return Err(refuse(reply, "ERR COUNT must be > 0"));
                }
                query.count = Some(count);
                return Ok(2);
            }
            () if is_search => return self.search_option(cx, at, left, reply),
            () if (is("STORE") || is("STOREDIST")) && left >= 1 && self.may_store => {
                query.store = Some(at + 1);
                query.stores_distance = is("STOREDIST");
                return Ok(2);
            }
            () => return Err(CommandError::Syntax),
        }
        Ok(1)
    }

    /// An option that only GEOSEARCH and GEOSEARCHSTORE have.
    fn search_option(
        &mut self,
        cx: &mut Context<'_>,
        at: usize,
        left: usize,
        reply: &mut Reply<'_>,
    ) -> Result<usize, CommandError> {
        let args = self.args;
        let is = |word| args.is(at, word);
        let (is_circle, is_box, is_polygon) = match &self.query.form {
            Some(Form::Circle { .. }) => (true, false, false),
            Some(Form::Rectangle { .. }) => (false, true, false),
            Some(Form::Polygon(_)) => (false, false, true),
            None => (false, false, false),
        };
        match () {
            () if is("STOREDIST") && self.style == Style::SearchStore => {
                self.query.stores_distance = true;
                Ok(1)
            }
            () if is("FROMMEMBER")
                && left >= 1
                && self.origin != Some(Origin::Position)
                && !is_polygon =>
            {
                if self.exists {
                    self.member(cx, at + 1, reply)?;
                }
                self.origin = Some(Origin::Member);
                Ok(2)
            }
            () if is("FROMLONLAT")
                && left >= 2
                && self.origin != Some(Origin::Member)
                && !is_polygon =>
            {
                self.query.from = Some(position(args, at + 1, reply)?);
                self.origin = Some(Origin::Position);
                Ok(3)
            }
            () if is("BYRADIUS") && left >= 2 && !is_box && !is_polygon => {
                self.circle(at + 1, reply)?;
                Ok(3)
            }
            () if is("BYBOX") && left >= 3 && !is_circle && !is_polygon => {
                self.rectangle(at + 1, reply)?;
                Ok(4)
            }
            () if is("BYPOLYGON")
                && left >= 2
                && !is_circle
                && !is_box
                && self.origin.is_none() =>
            {
                self.polygon(at + 1, reply)
            }
            () => Err(CommandError::Syntax),
        }
    }

    /// A center that is a member.
    fn member(&mut self, cx: &mut Context<'_>, at: usize, reply: &mut Reply<'_>) -> Outcome {
        let found = member_position(cx, self.key, self.args.get(at));
        if found.is_none() {
            return Err(refuse(reply, "ERR could not decode requested zset member"));
        }
        self.query.from = found;
        Ok(())
    }

    /// A radius and its unit.
    fn circle(&mut self, at: usize, reply: &mut Reply<'_>) -> Outcome {
        let Some(radius) = number::parse_f64(self.args.get(at)) else {
            return Err(refuse(reply, "ERR need numeric radius"));
        };
        if radius < 0.0 {
            return Err(refuse(reply, "ERR radius cannot be negative"));
        }
        self.query.unit = unit(self.args, at + 1, reply)?;
        self.query.form = Some(Form::Circle { radius });
        Ok(())
    }

    /// A width, a height and their unit.
    fn rectangle(&mut self, at: usize, reply: &mut Reply<'_>) -> Outcome {
        let Some(width) = number::parse_f64(self.args.get(at)) else {
            return Err(refuse(reply, "ERR need numeric width"));
        };
        let Some(height) = number::parse_f64(self.args.get(at + 1)) else {
            return Err(refuse(reply, "ERR need numeric height"));
        };
        if width < 0.0 || height < 0.0 {
            return Err(refuse(reply, "ERR height or width cannot be negative"));
        }
        self.query.unit = unit(self.args, at + 2, reply)?;
        self.query.form = Some(Form::Rectangle { width, height });
        Ok(())
    }

    /// A number of vertices, and the vertices; returns the words with the option's own.
    fn polygon(&mut self, at: usize, reply: &mut Reply<'_>) -> Result<usize, CommandError> {
        let count = self.args.integer32(at);
        let count = count.map_err(|_| refuse(reply, "ERR invalid number of vertices"))?;
        let count = usize::try_from(count).unwrap_or(0);
        if count < 3 || (self.args.len() - at - 1) / 2 < count {
            let text = "ERR GEOSEARCH BYPOLYGON must have at least 3 vertices";
            return Err(refuse(reply, text));
        }
        let mut vertices = Vec::with_capacity(count);
        for vertex in 0..count {
            vertices.push(position(self.args, at + 1 + vertex * 2, reply)?);
        }
        self.query.form = Some(Form::Polygon(vertices));
        Ok(2 + count * 2)
    }

    /// Refuses what does not go together.
    fn finish(self, reply: &mut Reply<'_>) -> Result<Query, CommandError> {
        let (is_search, query) = (self.is_search(), self.query);
        let with_anything = query.with_distance || query.with_hash || query.with_position;
        if query.store.is_some() && with_anything {
            let what = match self.style {
                Style::SearchStore => "GEOSEARCHSTORE",
                _ => "STORE option in GEORADIUS",
            };
            let with = "WITHDIST, WITHHASH and WITHCOORD";
            let text = format!("ERR {what} is not compatible with {with} options");
            return Err(refuse(reply, &text));
        }
        let is_polygon = matches!(query.form, Some(Form::Polygon(_)));
        let missing = match () {
            () if is_search && self.origin.is_none() && !is_polygon => "FROMMEMBER or FROMLONLAT",
            () if is_search && query.form.is_none() => "BYRADIUS and BYBOX",
            () => "",
        };
        if !missing.is_empty() {
            let mut text =
                format!("ERR exactly one of {missing} can be specified for ").into_bytes();
            text.extend_from_slice(self.args.get(0));
            reply.error(text);
            return Err(CommandError::Written);
        }
        if query.any && query.count.is_none() {
            return Err(refuse(reply, "ERR the ANY argument requires COUNT argument"));
        }
        Ok(query)
    }
}
