//! How much memory the data may take, and how it is given back.

use super::super::choices::MaxmemoryPolicy;
use super::*;

pub(super) const DIRECTIVES: &[Directive] = &[
    memory("maxmemory", 0, u64::MAX, "0"),
    choice("maxmemory-policy", MaxmemoryPolicy::CHOICES, "noeviction"),
    int("maxmemory-samples", 1, 64, "5"),
    int("maxmemory-eviction-tenacity", 0, 100, "10"),
    int("lfu-log-factor", 0, INT_MAX, "10"),
    int("lfu-decay-time", 0, INT_MAX, "1"),
    int("active-expire-effort", 1, 10, "1"),
    yes_no("lazyfree-lazy-eviction", "no"),
    yes_no("lazyfree-lazy-expire", "no"),
    yes_no("lazyfree-lazy-server-del", "no"),
    yes_no("lazyfree-lazy-user-del", "no"),
    yes_no("lazyfree-lazy-user-flush", "no"),
    yes_no("activerehashing", "yes").inert(),
    // Defragmentation is the allocator's business here.
    yes_no("activedefrag", "no").inert(),
    memory("active-defrag-ignore-bytes", 1, LONG_MAX_BYTES, "100mb").inert(),
    int("active-defrag-threshold-lower", 0, 1000, "10").inert(),
    int("active-defrag-threshold-upper", 0, 1000, "100").inert(),
    int("active-defrag-cycle-min", 1, 99, "1").inert(),
    int("active-defrag-cycle-max", 1, 99, "25").inert(),
    int("active-defrag-cycle-us", 0, 100_000, "500").inert(),
    int("active-defrag-max-scan-fields", 1, LONG_MAX, "1000").inert(),
];
