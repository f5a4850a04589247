//! Limits that make collections change their form early, so that few bytes reach every form.

use ironring::base::siphash::HashKey;
use ironring::persist::rdb::Limits;
use ironring::types::hash::HashLimits;
use ironring::types::{list, set, zset};

/// Small ones.
pub fn small() -> Limits {
    let hash_key = HashKey { k0: 5, k1: 6 };
    Limits {
        list: list::Limits { fill: 4, depth: 0, packed_threshold: 0 },
        set: set::Limits { intset_entries: 4, listpack_entries: 4, listpack_value: 8, hash_key },
        hash: HashLimits { entries: 4, value: 8, key: hash_key },
        sorted_set: zset::Limits { entries: 4, value: 8, hash_key },
    }
}
