//! Positions. Invariant: positions are far from each other, so that no order is one of equals.

use super::{Generator, Group};
use crate::support::reply::Rule;

pub(crate) const GROUP: Group = Group {
    name: "geo",
    since: (7, 0),
    lines: &[
        (14, "GEOADD $key $geoadd_options $places", Rule::Exact),
        (6, "GEOPOS $key $place $place", Rule::Exact),
        (4, "GEOHASH $key $place $place", Rule::Exact),
        (6, "GEODIST $key $place $place $some_unit", Rule::Exact),
        (10, "GEOSEARCH $key $from $by $search_options", Rule::Exact),
        (6, "GEOSEARCH $key $by $from $search_options", Rule::Exact),
        (6, "GEOSEARCHSTORE $key $key $from $by $search_options", Rule::Exact),
        (4, "GEOSEARCHSTORE $key $key $from $by STOREDIST", Rule::Exact),
        (6, "GEORADIUS $key $position $radius $unit $search_options", Rule::Exact),
        (4, "GEORADIUS $key $position $radius $unit STORE $key", Rule::Exact),
        (4, "GEORADIUSBYMEMBER $key $place $radius $unit $search_options", Rule::Exact),
        (3, "GEORADIUSBYMEMBER_RO $key $place $radius $unit $search_options", Rule::Exact),
        (3, "TYPE $key", Rule::Exact),
        (3, "OBJECT ENCODING $key", Rule::Exact),
        (2, "DEL $key", Rule::Exact),
        (1, "SET $key $value", Rule::Exact),
    ],
    expand,
};

fn expand(generator: &mut Generator<'_>, word: &str, argv: &mut Vec<Vec<u8>>) -> bool {
    match word {
        "geoadd_options" => generator.some_of(&["NX", "XX", "CH", "ch", "INCR"], 2, argv),
        "place" => argv.push(place(generator)),
        "places" => {
            for _ in 0..*generator.random.pick(&[&1, &1, &3, &150]) {
                position(generator, argv);
                argv.push(place(generator));
            }
        }
        "position" => position(generator, argv),
        "from" => {
            if generator.random.one_in(3) {
                argv.push(b"FROMMEMBER".to_vec());
                argv.push(place(generator));
            } else {
                argv.push(b"FROMLONLAT".to_vec());
                position(generator, argv);
            }
        }
        "by" => {
            let is_box = generator.random.one_in(2);
            argv.push(if is_box { b"BYBOX".to_vec() } else { b"BYRADIUS".to_vec() });
            (0..=usize::from(is_box)).for_each(|_| argv.push(generator.pick(RADII)));
            argv.push(generator.pick(UNITS));
        }
        "radius" => argv.push(generator.pick(RADII)),
        "unit" => argv.push(generator.pick(UNITS)),
        "some_unit" => generator.some_of(&["m", "km", "FT", "mi", "cm"], 1, argv),
        "search_options" => {
            let options = [
                "ASC",
                "DESC",
                "WITHDIST",
                "WITHCOORD",
                "WITHHASH",
                "COUNT 1",
                "COUNT 3 ANY",
                "COUNT 100",
                "COUNT 0",
                "ANY",
            ];
            generator.some_of(&options, 3, argv);
        }
        _ => return false,
    }
    true
}

fn place(generator: &mut Generator<'_>) -> Vec<u8> {
    format!("place{}", generator.random.below(200)).into_bytes()
}

fn position(generator: &mut Generator<'_>, argv: &mut Vec<Vec<u8>>) {
    if generator.random.one_in(30) {
        argv.push(generator.pick(&["181", "x", "-180", "inf"]));
        return argv.push(generator.pick(&["86", "y", "85.05112878", "0"]));
    }
    let mut degrees = |max: usize| {
        let thousandths = generator.random.below(max * 2000) as i64 - max as i64 * 1000;
        format!("{}", thousandths as f64 / 1000.0).into_bytes()
    };
    argv.push(degrees(180));
    argv.push(degrees(85));
}

const UNITS: &[&str] = &["m", "km", "ft", "mi", "KM", "km", "km", "x"];
const RADII: &[&str] = &["0", "1", "300", "1000.5", "2500", "9000", "20000", "50000", "-1", "x"];
