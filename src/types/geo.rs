//! Positions on the earth as scores of sorted sets: geohashes of 52 bits, areas, distances.
//! Invariant: the same operations on doubles in the same order as a stock server's, so that results
//! are equal to the last digit. Nothing here fails: any score decodes to some position.
//! Source: Redis' commands of the group `geo`, Valkey 9's BYPOLYGON; Niemeyer's geohash; Franklin,
//! "PNPOLY"; the haversine formula.
//!
//! ```text
//! geohash: | ... lon 2 | lat 2 | lon 1 | lat 1 | lon 0 | lat 0 |   a bit of either, in turn
//! cell:    the upper 2 * step bits of a geohash: all positions that begin with them
//! ```

use std::f64::consts::PI;

/// A place on the earth, in degrees.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Position {
    /// East is positive.
    pub longitude: f64,
    /// North is positive.
    pub latitude: f64,
}

impl Position {
    /// True if the position can be stored: not too near to the poles.
    pub fn is_valid(self) -> bool {
        (-LONGITUDE_MAX..=LONGITUDE_MAX).contains(&self.longitude)
            && (-LATITUDE_MAX..=LATITUDE_MAX).contains(&self.latitude)
    }

    /// The score that stands for a valid position.
    pub fn to_score(self) -> f64 {
        Cell::around(self, STEP_MAX, LATITUDE_MAX).bits as f64
    }

    /// The position that a score stands for: the middle of the smallest cell.
    pub fn from_score(score: f64) -> Self {
        let area = Cell { bits: score_bits(score), step: STEP_MAX }.area();
        let middle = |low: f64, high: f64, max: f64| f64::midpoint(low, high).clamp(-max, max);
        Self {
            longitude: middle(area.west, area.east, LONGITUDE_MAX),
            latitude: middle(area.south, area.north, LATITUDE_MAX),
        }
    }

    /// The eleven characters that other software knows this position by. The last one is always 0,
    /// for which 52 bits leave nothing.
    pub fn to_geohash(self) -> [u8; 11] {
        // The usual geohash covers latitudes to the poles.
        let bits = Cell::around(self, STEP_MAX, 90.0).bits;
        let mut text = [ALPHABET[0]; 11];
        for (index, letter) in text[..10].iter_mut().enumerate() {
            *letter = ALPHABET[(bits >> (47 - 5 * index)) as usize & 31];
        }
        text
    }

    /// Meters to another position along the great circle.
    pub fn distance(self, other: Self) -> f64 {
        Center::new(self).distance(other)
    }
}

/// A position that distances are measured from, with what they have in common.
#[derive(Clone, Copy, Debug)]
struct Center {
    position: Position,
    /// In radians.
    latitude: f64,
    /// The latitude's cosine.
    cosine: f64,
}

impl Center {
    fn new(position: Position) -> Self {
        let latitude = radians(position.latitude);
        Self { position, latitude, cosine: latitude.cos() }
    }

    /// Meters to a position along the great circle.
    fn distance(&self, other: Position) -> f64 {
        let v = ((radians(other.longitude) - radians(self.position.longitude)) / 2.0).sin();
        if v == 0.0 {
            return latitude_distance(self.position.latitude, other.latitude);
        }
        let latitude = radians(other.latitude);
        let u = ((latitude - self.latitude) / 2.0).sin();
        let a = u * u + self.cosine * latitude.cos() * v * v;
        2.0 * EARTH_RADIUS_METERS * a.sqrt().asin()
    }

    /// True only if the distance is a number above `meters`, as the latitudes alone tell.
    fn is_beyond(&self, meters: f64, other: Position) -> bool {
        let latitude = radians(other.latitude);
        // Where latitudes mirror each other there may be antipodes, whose distance may be no number.
        (self.latitude + latitude).abs() > MIRRORED_RADIANS
            && EARTH_RADIUS_METERS * (latitude - self.latitude).abs() > meters * (1.0 + ROUNDING)
    }
}

/// A square of the geohash grid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cell {
    bits: u64,
    step: u32,
}

/// The edges of an area, in degrees.
#[derive(Clone, Copy, Debug)]
struct Area {
    west: f64,
    south: f64,
    east: f64,
    north: f64,
}

impl Cell {
    /// The cell around a position, where latitudes run to `latitude_max`.
    fn around(position: Position, step: u32, latitude_max: f64) -> Self {
        let place =
            |degrees: f64, max: f64| ((degrees + max) / (max + max) * (1u64 << step) as f64) as u32;
        let longitude = place(position.longitude, LONGITUDE_MAX);
        let latitude = place(position.latitude, latitude_max);
        Self { bits: spread(latitude) | spread(longitude) << 1, step }
    }

    fn area(self) -> Area {
        let (latitude, longitude) = (gather(self.bits), gather(self.bits >> 1));
        let edge = |place: u32, max: f64| {
            -max + f64::from(place) / (1u64 << self.step) as f64 * (max + max)
        };
        Area {
            west: edge(longitude, LONGITUDE_MAX),
            south: edge(latitude, LATITUDE_MAX),
            east: edge(longitude.wrapping_add(1), LONGITUDE_MAX),
            north: edge(latitude.wrapping_add(1), LATITUDE_MAX),
        }
    }

    /// The cell so many cells to the east and to the north, -1 to 1 each, around the edges.
    fn neighbor(self, east: i32, north: i32) -> Self {
        let used = u64::MAX >> (64 - self.step * 2);
        let moved = |mine: u64, by: i32| {
            // The others' bits are filled, or emptied, so that a carry runs through them.
            let others = !mine & used;
            let own = self.bits & mine;
            let own = match by {
                0 => return own,
                1 => own.wrapping_add(others + 1),
                _ => (own | others).wrapping_sub(others + 1),
            };
            own & mine & used
        };
        Self { bits: moved(LONGITUDE_BITS, east) | moved(LATITUDE_BITS, north), step: self.step }
    }

    /// The scores of all positions in the cell: from the first to before the second.
    pub fn scores(self) -> (f64, f64) {
        let shift = 2 * (STEP_MAX - self.step);
        ((self.bits << shift) as f64, ((self.bits + 1) << shift) as f64)
    }
}

/// The form of a search.
#[derive(Clone, Debug)]
pub enum Form {
    /// All within a distance of the center.
    Circle {
        /// In the search's unit.
        radius: f64,
    },
    /// All in a rectangle around the center.
    Rectangle {
        /// In the search's unit.
        width: f64,
        /// In the search's unit.
        height: f64,
    },
    /// All inside of the polygon; its centroid is the center.
    Polygon(Vec<Position>),
}

/// What is searched for.
#[derive(Clone, Debug)]
pub struct Search {
    /// Where it is.
    pub center: Position,
    /// Meters of one unit.
    pub unit: f64,
    /// Which positions are wanted.
    pub form: Form,
}

impl Search {
    /// All inside of a polygon. `vertices` is not empty.
    pub fn polygon(vertices: Vec<Position>) -> Self {
        Self { center: centroid(&vertices), unit: 1.0, form: Form::Polygon(vertices) }
    }

    /// What tells of positions whether they are wanted.
    pub fn matcher(&self) -> Matcher<'_> {
        Matcher { center: Center::new(self.center), unit: self.unit, form: &self.form }
    }

    /// The cells that hold all wanted positions, in the order in which they are searched.
    pub fn cells(&self) -> Vec<Cell> {
        let bounds = self.bounds();
        let mut step = self.step(bounds);
        let mut cell = Cell::around(self.center, step, LATITUDE_MAX);
        // At the edge of a cell even its neighbors may be too small.
        let falls_short = cell.neighbor(0, 1).area().north < bounds.north
            || cell.neighbor(0, -1).area().south > bounds.south
            || cell.neighbor(1, 0).area().east < bounds.east
            || cell.neighbor(-1, 0).area().west > bounds.west;
        if step > 1 && falls_short {
            step -= 1;
            cell = Cell::around(self.center, step, LATITUDE_MAX);
        }
        let area = cell.area();
        let is_useless = |east: i32, north: i32| {
            step >= 2
                && (north < 0 && area.south < bounds.south
                    || north > 0 && area.north > bounds.north
                    || east < 0 && area.west < bounds.west
                    || east > 0 && area.east > bounds.east)
        };
        let mut cells = vec![cell];
        for (east, north) in NEIGHBORS {
            if is_useless(east, north) {
                continue;
            }
            let neighbor = cell.neighbor(east, north);
            // Large cells have the same neighbor on both sides. Only neighbors are compared, and
            // only with the one before: a stock server's results come so often, too.
            if cells.len() == 1 || cells.last() != Some(&neighbor) {
                cells.push(neighbor);
            }
        }
        cells
    }

    /// The smallest area in degrees that holds the form. Its sides may lie beyond the earth's.
    fn bounds(&self) -> Area {
        let (width, height) = match &self.form {
            Form::Circle { radius } => (self.unit * radius, self.unit * radius),
            Form::Rectangle { width, height } => {
                (self.unit * (width / 2.0), self.unit * (height / 2.0))
            }
            Form::Polygon(vertices) => return Area::around(vertices),
        };
        let Position { longitude, latitude } = self.center;
        let up = degrees(height / EARTH_RADIUS_METERS);
        // Meridians are closest where the form is nearest to a pole.
        let nearest = if latitude < 0.0 { latitude - up } else { latitude + up };
        let across = degrees(width / EARTH_RADIUS_METERS / radians(nearest).cos());
        Area {
            west: longitude - across,
            south: latitude - up,
            east: longitude + across,
            north: latitude + up,
        }
    }

    /// How fine a grid may be so that a cell and its neighbors hold the form.
    fn step(&self, bounds: Area) -> u32 {
        let radius = match &self.form {
            Form::Circle { radius } => *radius,
            Form::Rectangle { width, height } => {
                ((width / 2.0) * (width / 2.0) + (height / 2.0) * (height / 2.0)).sqrt()
            }
            Form::Polygon(_) => bounds
                .corners()
                .map(|corner| self.center.distance(corner))
                .into_iter()
                .reduce(|most, one| if one > most { one } else { most })
                .unwrap_or(0.0),
        };
        let mut meters = radius * self.unit;
        if meters == 0.0 {
            return STEP_MAX;
        }
        let mut step = -1i32;
        while meters < MERCATOR_MAX {
            meters *= 2.0;
            step += 1;
        }
        // Toward the poles cells are narrower.
        let latitude = self.center.latitude.abs();
        step -= i32::from(latitude > 66.0) + i32::from(latitude > 80.0);
        step.clamp(1, STEP_MAX as i32) as u32
    }
}

/// Tells of positions whether a search wants them.
pub struct Matcher<'a> {
    center: Center,
    unit: f64,
    form: &'a Form,
}

impl Matcher<'_> {
    /// The distance from the center if the position is wanted, in meters.
    pub fn matches(&self, position: Position) -> Option<f64> {
        match self.form {
            Form::Circle { radius } => {
                let radius = radius * self.unit;
                if self.center.is_beyond(radius, position) {
                    return None;
                }
                let distance = self.center.distance(position);
                // A distance that is no number, between antipodes, is not too far.
                let is_too_far = distance > radius;
                (!is_too_far).then_some(distance)
            }
            Form::Rectangle { width, height } => {
                let center = self.center.position;
                let up = latitude_distance(position.latitude, center.latitude);
                if up > height * self.unit / 2.0 {
                    return None;
                }
                let across = Position { longitude: center.longitude, ..position };
                if position.distance(across) > width * self.unit / 2.0 {
                    return None;
                }
                Some(self.center.distance(position))
            }
            Form::Polygon(vertices) => {
                is_inside(vertices, position).then(|| self.center.distance(position))
            }
        }
    }
}

impl Area {
    fn around(vertices: &[Position]) -> Self {
        let nothing = Self {
            west: LONGITUDE_MAX,
            south: LATITUDE_MAX,
            east: -LONGITUDE_MAX,
            north: -LATITUDE_MAX,
        };
        vertices.iter().fold(nothing, |area, vertex| Self {
            west: area.west.min(vertex.longitude),
            south: area.south.min(vertex.latitude),
            east: area.east.max(vertex.longitude),
            north: area.north.max(vertex.latitude),
        })
    }

    fn corners(self) -> [Position; 4] {
        [
            Position { longitude: self.west, latitude: self.north },
            Position { longitude: self.east, latitude: self.north },
            Position { longitude: self.west, latitude: self.south },
            Position { longitude: self.east, latitude: self.south },
        ]
    }
}

/// The middle of the vertices, seen from the center of the earth.
fn centroid(vertices: &[Position]) -> Position {
    let (mut x, mut y, mut z) = (0.0, 0.0, 0.0);
    for vertex in vertices {
        let (longitude, latitude) = (radians(vertex.longitude), radians(vertex.latitude));
        x += latitude.cos() * longitude.cos();
        y += latitude.cos() * longitude.sin();
        z += latitude.sin();
    }
    Position {
        longitude: degrees(f64::atan2(y, x)),
        latitude: degrees(f64::atan2(z, (x * x + y * y).sqrt())),
    }
}

/// True if a ray from the position to the east crosses an odd number of sides.
fn is_inside(vertices: &[Position], position: Position) -> bool {
    let befores = vertices.iter().cycle().skip(vertices.len().saturating_sub(1));
    let crossed = vertices.iter().zip(befores).filter(|(one, before)| {
        (one.latitude > position.latitude) != (before.latitude > position.latitude)
            && position.longitude
                < (before.longitude - one.longitude) * (position.latitude - one.latitude)
                    / (before.latitude - one.latitude)
                    + one.longitude
    });
    crossed.count() % 2 == 1
}

/// Meters between two latitudes on one meridian.
fn latitude_distance(one: f64, other: f64) -> f64 {
    EARTH_RADIUS_METERS * (radians(other) - radians(one)).abs()
}

fn radians(degrees: f64) -> f64 {
    degrees * RADIANS
}

fn degrees(radians: f64) -> f64 {
    radians / RADIANS
}

/// Appends a distance as replies have it: four digits behind the point.
pub fn write_distance(out: &mut Vec<u8>, distance: f64) {
    let scaled = (distance * 1e4).round_ties_even();
    // What no integer holds becomes the smallest one, as on the processors that stock runs on.
    let scaled = if (-TWO_63..TWO_63).contains(&scaled) { scaled as i64 } else { i64::MIN };
    if scaled < 0 {
        out.push(b'-');
    }
    let (whole, part) = (scaled.unsigned_abs() / 10_000, scaled.unsigned_abs() % 10_000);
    out.extend_from_slice(format!("{whole}.{part:04}").as_bytes());
}

/// The geohash of a score, which may be any double: what C makes of it on x86-64 and most others.
fn score_bits(score: f64) -> u64 {
    if score < TWO_63 {
        return score as i64 as u64;
    }
    let above = score - TWO_63;
    let above = if above < TWO_63 { above as u64 } else { 1 << 63 };
    above ^ 1 << 63
}

/// Every bit of `value` moved to twice its place.
fn spread(value: u32) -> u64 {
    let mut bits = u64::from(value);
    for (shift, mask) in
        [(16, MASKS[0]), (8, MASKS[1]), (4, MASKS[2]), (2, MASKS[3]), (1, MASKS[4])]
    {
        bits = (bits | bits << shift) & mask;
    }
    bits
}

/// The bits at even places of `value`, together.
fn gather(value: u64) -> u32 {
    let mut bits = value & MASKS[4];
    for (shift, mask) in [(1, MASKS[3]), (2, MASKS[2]), (4, MASKS[1]), (8, MASKS[0]), (16, !0)] {
        bits = (bits | bits >> shift) & mask;
    }
    bits as u32
}

/// Longitudes run from its negative to it.
pub const LONGITUDE_MAX: f64 = 180.0;
/// Latitudes run from its negative to it. Source: EPSG:900913, which a square map needs.
pub const LATITUDE_MAX: f64 = 85.051_128_78;

/// Bits of a longitude, and of a latitude: what a double can hold of both.
const STEP_MAX: u32 = 26;
const EARTH_RADIUS_METERS: f64 = 6_372_797.560_856;
/// Half of the earth on a Mercator map, in meters.
const MERCATOR_MAX: f64 = 20_037_726.37;
const RADIANS: f64 = PI / 180.0;
/// Latitudes whose sum is larger are not those of antipodes, by far.
const MIRRORED_RADIANS: f64 = 0.01;
/// More than what rounding may make of a distance, as a part of it.
const ROUNDING: f64 = 1e-6;
const ALPHABET: &[u8; 32] = b"0123456789bcdefghjkmnpqrstuvwxyz";
const TWO_63: f64 = (1u64 << 63) as f64;
const LATITUDE_BITS: u64 = 0x5555_5555_5555_5555;
const LONGITUDE_BITS: u64 = !LATITUDE_BITS;
const MASKS: [u64; 5] = [
    0x0000_ffff_0000_ffff,
    0x00ff_00ff_00ff_00ff,
    0x0f0f_0f0f_0f0f_0f0f,
    0x3333_3333_3333_3333,
    LATITUDE_BITS,
];
/// East and north of a cell's neighbors, in the order in which Redis searches them.
const NEIGHBORS: [(i32, i32); 8] =
    [(0, 1), (0, -1), (1, 0), (-1, 0), (1, 1), (-1, 1), (1, -1), (-1, -1)];

#[cfg(test)]
mod tests;
