//! The tree against a sorted vector.

use std::cmp::Ordering;
use std::collections::HashMap;

use proptest::prelude::*;

use super::*;

/// The order of elements as keys of a model.
fn order(a: &(f64, Vec<u8>), b: &(f64, Vec<u8>)) -> Ordering {
    a.0.partial_cmp(&b.0).unwrap().then_with(|| a.1.cmp(&b.1))
}

#[derive(Default)]
struct Both {
    tree: Tree,
    model: Vec<(f64, Vec<u8>)>,
    /// Where the tree says that each member is.
    leaves: HashMap<Vec<u8>, LeafId>,
}

impl Both {
    fn insert(&mut self, score: f64, member: &[u8]) {
        let pair = (score, member.to_vec());
        if self.leaves.contains_key(member) {
            return;
        }
        let at = self.model.binary_search_by(|it| order(it, &pair)).unwrap_err();
        self.model.insert(at, pair);
        let Both { tree, leaves, .. } = self;
        let moved = &mut |member: &[u8], from, to: Option<LeafId>| {
            assert_eq!(leaves.insert(member.to_vec(), to.expect("a leaf")), Some(from));
        };
        let id = tree.insert(&Element { score, member }, member.len() as u8, moved);
        self.leaves.insert(member.to_vec(), id);
    }

    fn remove(&mut self, at: usize) {
        let (score, member) = self.model.remove(at);
        self.leaves.remove(&member);
        let Both { tree, leaves, .. } = self;
        let moved = &mut |member: &[u8], from, to: Option<LeafId>| {
            assert_eq!(leaves.insert(member.to_vec(), to.expect("a leaf")), Some(from));
        };
        assert!(tree.remove(&Element { score, member: &member }, moved));
    }

    fn remove_range(&mut self, from: usize, to: usize) {
        let expected: Vec<_> = self.model.drain(from..to).collect();
        let mut seen = Vec::new();
        let Both { tree, leaves, .. } = self;
        let moved = &mut |member: &[u8], from, to: Option<LeafId>| {
            let was = if let Some(to) = to {
                leaves.insert(member.to_vec(), to)
            } else {
                seen.push(member.to_vec());
                leaves.remove(member)
            };
            assert_eq!(was, Some(from));
        };
        tree.remove_range(from as u64, to as u64, moved);
        assert!(seen.iter().eq(expected.iter().map(|(_, member)| member)));
    }

    fn check(&self) {
        check(&self.tree, &self.model);
        for (member, id) in &self.leaves {
            let leaf = self.tree.leaf(*id);
            assert!(leaf.marked(member.len() as u8).any(|at| leaf.member(at) == member));
        }
    }
}

fn check(tree: &Tree, model: &[(f64, Vec<u8>)]) {
    assert_eq!(tree.len(), model.len() as u64);
    let owned = |it: Element<'_>| (it.score, it.member.to_vec());
    assert!(tree.elements().map(owned).eq(model.iter().cloned()));
    assert!(tree.elements().rev().map(owned).eq(model.iter().rev().cloned()));
    for (from, to) in [(0, model.len()), (model.len() / 3, model.len() / 2)] {
        let mut seen = Vec::new();
        tree.visit(from as u64, to as u64, |it| seen.push(owned(it)));
        assert_eq!(seen, model[from..to]);
    }
    for (rank, (score, member)) in model.iter().enumerate() {
        let element = Element { score: *score, member };
        assert_eq!(tree.rank(&element), Some(rank as u64));
        assert_eq!(tree.nth(rank as u64).map(owned), Some((*score, member.clone())));
        let before = tree.count_before(|it| it.order(&element) == Ordering::Less);
        assert_eq!(before, rank as u64);
        let through = tree.count_before(|it| it.order(&element) != Ordering::Greater);
        assert_eq!(through, rank as u64 + 1);
        let below = tree.count_before(|it| it.score() < *score);
        assert_eq!(below, model.iter().take_while(|it| it.0 < *score).count() as u64);
    }
}

#[derive(Clone, Debug)]
enum Step {
    Insert(f64, Vec<u8>),
    Many(f64, u32),
    Remove(usize),
    RemoveRange(usize, usize),
    Clone,
}

fn member() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => prop::collection::vec(any::<u8>(), 0..20),
        2 => (0u32..500).prop_map(|n| format!("element:{n:012}").into_bytes()),
        // Longer than any separator, and told apart only behind it.
        2 => (0u32..50).prop_map(|n| format!("{}{n}", "x".repeat(200)).into_bytes()),
        1 => (0u32..9).prop_map(|n| format!("{n}{}", "y".repeat(1500)).into_bytes()),
        1 => (0u32..9).prop_map(|n| format!("{n}{}", "z".repeat(70_000)).into_bytes()),
    ]
}

fn score() -> impl Strategy<Value = f64> {
    prop_oneof![
        Just(0.0),
        Just(-0.0),
        Just(f64::INFINITY),
        Just(f64::NEG_INFINITY),
        (-3i32..3).prop_map(f64::from),
        -1e9..1e9,
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (score(), member()).prop_map(|(score, member)| Step::Insert(score, member)),
        2 => (score(), 0u32..400).prop_map(|(score, count)| Step::Many(score, count)),
        3 => any::<usize>().prop_map(Step::Remove),
        1 => (any::<usize>(), 0usize..600).prop_map(|(at, len)| Step::RemoveRange(at, len)),
        1 => Just(Step::Clone),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, ..ProptestConfig::default() })]

    #[test]
    fn agrees_with_a_sorted_vector(steps in prop::collection::vec(step(), 0..80)) {
        let mut both = Both::default();
        let mut clones = Vec::new();
        for (number, step) in steps.into_iter().enumerate() {
            match step {
                Step::Insert(score, member) => both.insert(score, &member),
                Step::Many(score, count) => {
                    for at in 0..count {
                        let spread = if number % 2 == 0 { 0.0 } else { f64::from(at % 7) };
                        let member = format!("{}:{number}", at.wrapping_mul(7919) % 1000);
                        both.insert(score + spread, member.as_bytes());
                    }
                }
                Step::Remove(at) if !both.model.is_empty() => both.remove(at % both.model.len()),
                Step::RemoveRange(at, len) => {
                    let from = at % (both.model.len() + 1);
                    both.remove_range(from, (from + len).min(both.model.len()));
                }
                Step::Clone => clones.push((both.tree.clone(), both.model.clone())),
                Step::Remove(_) => {}
            }
        }
        both.check();
        for (tree, model) in &clones {
            check(tree, model);
        }
        while !both.model.is_empty() {
            let last = both.model.len() - 1;
            both.remove(last / 2);
        }
        both.check();
        for (mut tree, _) in clones {
            while tree.free_slice(3) == 0 {}
        }
    }
}

fn no_moves(_: &[u8], _: LeafId, _: Option<LeafId>) {}

/// `count` members of 16 bytes, scores by chance.
fn filled(count: u64, score: impl Fn(u64) -> f64) -> Tree {
    let mut tree = Tree::new();
    for number in 0..count {
        let member = format!("member:{number:09}");
        let element = Element { score: score(number), member: member.as_bytes() };
        tree.insert(&element, 0, &mut no_moves);
    }
    tree
}

fn mixed(number: u64) -> f64 {
    (number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20) as f64
}

#[test]
fn an_element_of_16_bytes_costs_at_most_34_bytes() {
    for (name, score) in [
        ("random", mixed as fn(u64) -> f64),
        ("ascending", |number| number as f64),
        ("equal", |_| 0.0),
    ] {
        let tree = filled(100_000, score);
        let each = tree.bytes() as f64 / 100_000.0;
        assert!(each < 34.0, "{name}: {each}");
    }
}

#[test]
fn a_tree_that_shrank_is_dense() {
    let mut tree = filled(50_000, mixed);
    for number in 0..50_000 {
        if number % 10 != 0 {
            let member = format!("member:{number:09}");
            let element = Element { score: mixed(number), member: member.as_bytes() };
            assert!(tree.remove(&element, &mut no_moves));
        }
    }
    let each = tree.bytes() as f64 / 5_000.0;
    assert!(each < 48.0, "{each}");
}

/// Sets the score of the element at a place of a leaf.
fn set_score(tree: &mut Tree, id: LeafId, at: usize, score: f64) -> bool {
    let member = tree.leaf(id).member(at).to_vec();
    tree.set_score(id, at, &Element { score, member: &member })
}

#[test]
fn a_score_changes_within_its_leaf() {
    let mut tree = filled(10, |number| number as f64);
    let id = LeafId(0);
    let moves = [(4, 4.5), (4, 5.5), (5, -1.0), (0, 100.0), (9, 2.5), (0, 0.5), (9, 9.5)];
    let mut model: Vec<_> = tree.elements().map(|it| (it.score, it.member.to_vec())).collect();
    for (at, score) in moves {
        assert!(set_score(&mut tree, id, at, score), "there is no other leaf");
        model[at].0 = score;
        model.sort_by(order);
        check(&tree, &model);
    }
    let mut large = filled(10_000, |number| number as f64);
    let last = large.leaf(LeafId(1)).count() - 1;
    let first_score = large.leaf(LeafId(1)).score(0);
    assert!(!set_score(&mut large, LeafId(1), 0, -1.0));
    assert!(!set_score(&mut large, LeafId(1), last, 1e9));
    let mut model: Vec<_> = large.elements().map(|it| (it.score, it.member.to_vec())).collect();
    for (at, to) in [(0, last as f64 - 0.5), (last, 3.5), (last - 1, 2.5)] {
        let changed = large.leaf(LeafId(1)).get(at);
        let changed = model.iter().position(|it| it.1 == changed.member).expect("it is there");
        assert!(set_score(&mut large, LeafId(1), at, first_score + to));
        model[changed].0 = first_score + to;
        model.sort_by(order);
        check(&large, &model);
    }
}

#[test]
#[should_panic(expected = "a score is a number")]
fn nan_is_refused() {
    Tree::new().insert(&Element { score: f64::NAN, member: b"a" }, 0, &mut no_moves);
}
