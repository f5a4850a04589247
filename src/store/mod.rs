//! The keyspace: keys, values, expiry. Invariant: time and chance are arguments; no I/O, no command.

