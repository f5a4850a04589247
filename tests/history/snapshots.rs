//! A history so long that its check must be cheap: every write replaces all keys at once with a
//! value of its own, and every read sees all keys at once.
//!
//! Invariant: each state of the keyspace then has one name, the write that made it; a read that
//! sees two names has seen half of a command. What is left is one register whose writes are
//! distinct, and for that linearisability is decided by sorting: each write with its reads is a
//! cluster of time, and no two clusters may each have to come before the other. Source: Gibbons and
//! Korach, "Testing Shared Memories" (1997), section on a known write of every read.

use std::collections::BTreeMap;

/// When an operation was sent and when its reply was here, in any one unit.
pub(crate) type Span = (u64, u64);

/// Everything that is known of one write.
#[derive(Clone, Copy, Debug)]
struct Cluster {
    /// The first end of the write and its reads: it is over no later than this began.
    first_end: u64,
    /// The last begin of the write and its reads.
    last_begin: u64,
}

impl Cluster {
    fn of((begin, end): Span) -> Cluster {
        Cluster { first_end: end, last_begin: begin }
    }

    fn add(&mut self, (begin, end): Span) {
        self.first_end = self.first_end.min(end);
        self.last_begin = self.last_begin.max(begin);
    }
}

/// Checks writes and reads by the name of the write; name 0 is the state before all. The error names
/// two writes that each must have come first, or a read of what nobody had written yet.
/// O(n log n).
pub(crate) fn check(writes: &[(u64, Span)], reads: &[(u64, Span)]) -> Result<(), String> {
    let begins: BTreeMap<u64, u64> = writes.iter().map(|(name, span)| (*name, span.0)).collect();
    let mut clusters: BTreeMap<u64, Cluster> = BTreeMap::from([(0, Cluster::of((0, 0)))]);
    clusters.extend(writes.iter().map(|(name, span)| (*name, Cluster::of(*span))));
    for (name, span) in reads {
        if begins.get(name).is_some_and(|begin| span.1 < *begin) {
            return Err(format!("a read by {} saw write {name} before it began", span.1));
        }
        let Some(cluster) = clusters.get_mut(name) else {
            return Err(format!("a read at {span:?} saw {name}, which nobody wrote"));
        };
        cluster.add(*span);
    }
    // A cluster whose last begin comes after its first end must hold its value between the two; two
    // such zones must not overlap. One that has no such zone fits anywhere between its last begin
    // and its first end, unless a zone covers all of that.
    let mut zones: Vec<(u64, u64, u64)> = (clusters.iter())
        .filter(|(_, one)| one.first_end < one.last_begin)
        .map(|(name, one)| (one.first_end, one.last_begin, *name))
        .collect();
    zones.sort_unstable();
    for pair in zones.windows(2) {
        let [(_, end, one), (begin, _, other)] = [pair[0], pair[1]];
        if begin < end {
            return Err(format!("writes {one} and {other} were each seen before the other"));
        }
    }
    for (name, one) in clusters.iter().filter(|(_, one)| one.first_end >= one.last_begin) {
        let behind = zones.partition_point(|zone| zone.0 < one.last_begin);
        let covers = |zone: &&(u64, u64, u64)| zone.0 < one.last_begin && one.first_end < zone.1;
        if let Some(zone) = behind.checked_sub(1).map(|at| &zones[at]).filter(covers) {
            return Err(format!("write {name} came and went while {} was seen", zone.2));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_in_the_order_of_writes_are_fine() {
        let writes = [(1, (10, 20)), (2, (15, 30))];
        let reads = [(0, (1, 12)), (1, (16, 22)), (2, (23, 40))];
        assert_eq!(check(&writes, &reads), Ok(()));
    }

    #[test]
    fn a_value_does_not_come_back() {
        let writes = [(1, (10, 20)), (2, (11, 21))];
        assert_eq!(check(&writes, &[(1, (30, 31)), (1, (34, 35))]), Ok(()));
        assert!(check(&writes, &[(1, (30, 31)), (2, (32, 33)), (1, (34, 35))]).is_err());
    }

    #[test]
    fn what_was_written_is_not_overlooked() {
        assert!(check(&[(1, (10, 20))], &[(0, (21, 22))]).is_err());
        assert!(check(&[(1, (10, 20)), (2, (30, 40))], &[(1, (41, 50))]).is_err());
    }

    #[test]
    fn nobody_reads_the_future() {
        assert!(check(&[(1, (10, 20))], &[(1, (2, 9))]).is_err());
        assert!(check(&[], &[(7, (2, 9))]).is_err());
    }
}
