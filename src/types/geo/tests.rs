//! Positions: unit tests. The figures were answered by Redis 8.0.6.

use proptest::prelude::*;

use super::*;

const PALERMO: Position = Position { longitude: 13.361389, latitude: 38.115556 };
const CATANIA: Position = Position { longitude: 15.087269, latitude: 37.502669 };

fn printed(distance: f64) -> String {
    let mut text = Vec::new();
    write_distance(&mut text, distance);
    String::from_utf8(text).expect("digits")
}

#[test]
fn known_places_are_where_redis_has_them() {
    assert_eq!(PALERMO.to_score() as u64, 3_479_099_956_230_698);
    assert_eq!(CATANIA.to_score() as u64, 3_479_447_370_796_909);
    let palermo = Position::from_score(PALERMO.to_score());
    let catania = Position::from_score(CATANIA.to_score());
    assert_eq!(palermo.to_geohash(), *b"sqc8b49rny0");
    assert_eq!(catania.to_geohash(), *b"sqdtr74hyu0");
    assert_eq!(printed(palermo.distance(catania)), "166274.1516");
    assert_eq!(format!("{}", palermo.longitude), "13.361389338970184");
}

#[test]
fn distances_have_four_digits() {
    let cases = [
        (0.0, "0.0000"),
        (0.00005, "0.0000"),
        (0.00015, "0.0001"),
        (12.34567, "12.3457"),
        (f64::NAN, "-922337203685477.5808"),
        (f64::INFINITY, "-922337203685477.5808"),
    ];
    for (distance, expected) in cases {
        assert_eq!(printed(distance), expected);
    }
}

#[test]
fn a_polygon_is_what_is_between_its_sides() {
    let corner = |longitude: f64, latitude: f64| Position { longitude, latitude };
    let search = Search::polygon(vec![
        corner(13.0, 37.0),
        corner(16.0, 37.0),
        corner(16.0, 39.0),
        corner(13.0, 39.0),
    ]);
    let matcher = search.matcher();
    assert!(matcher.matches(PALERMO).is_some() && matcher.matches(CATANIA).is_some());
    assert!(matcher.matches(corner(12.9, 38.0)).is_none());
    assert!(matcher.matches(corner(14.0, 39.1)).is_none());
}

fn position() -> impl Strategy<Value = Position> {
    (-180.0..=180.0, -85.05..=85.05)
        .prop_map(|(longitude, latitude)| Position { longitude, latitude })
}

proptest! {
    #[test]
    fn scores_lead_back(position in position()) {
        let back = Position::from_score(position.to_score());
        prop_assert!((back.longitude - position.longitude).abs() < 1e-5);
        prop_assert!((back.latitude - position.latitude).abs() < 1e-5);
        prop_assert_eq!(back.to_score() as u64, position.to_score() as u64);
    }

    #[test]
    fn latitudes_alone_decide_nothing_else(
        from in position(), to in position(), near in any::<bool>(), part in 0.9999f64..1.0001,
    ) {
        // On one meridian the latitudes are the distance, and at the antipode it may be no number.
        let longitude = if near { from.longitude } else { from.longitude + 180.0 };
        for to in [to, Position { longitude, ..to }, Position { longitude, latitude: -from.latitude }] {
            let distance = from.distance(to);
            for radius in [distance * part, distance, latitude_distance(from.latitude, to.latitude) * part, 0.0] {
                prop_assert!(!Center::new(from).is_beyond(radius, to) || distance > radius);
            }
        }
    }

    #[test]
    fn every_wanted_position_lies_in_a_cell(
        center in position(), towards in position(), radius in 0.0f64..2e6, share in 0.0f64..1.0,
    ) {
        // Near the poles and the date line a stock server misses some, and so do we.
        prop_assume!(center.latitude.abs() < 60.0 && center.longitude.abs() < 120.0);
        let near = Position {
            longitude: center.longitude + (towards.longitude / 18.0) * share,
            latitude: center.latitude + (towards.latitude / 18.0) * share,
        };
        let search = Search { center, unit: 1.0, form: Form::Circle { radius } };
        let score = near.to_score();
        if search.matcher().matches(Position::from_score(score)).is_some() {
            let cells = search.cells();
            let found = cells.iter().any(|cell| {
                let (first, past) = cell.scores();
                (first..past).contains(&score)
            });
            prop_assert!(found, "{search:?} {near:?} {cells:?}");
        }
    }

    #[test]
    fn any_score_is_some_position(score: f64, other in position()) {
        prop_assume!(!score.is_nan());
        let position = Position::from_score(score);
        prop_assert!(position.is_valid());
        let _ = printed(position.distance(other));
        position.to_geohash();
    }

    #[test]
    fn any_search_has_few_cells(center in position(), radius in 0.0f64..f64::MAX, unit in 0.3f64..2000.0) {
        let circle = Search { center, unit, form: Form::Circle { radius } };
        prop_assert!((1..=9).contains(&circle.cells().len()));
        let form = Form::Rectangle { width: radius, height: radius / 7.0 };
        let rectangle = Search { center, unit, form };
        prop_assert!((1..=9).contains(&rectangle.cells().len()));
    }
}
