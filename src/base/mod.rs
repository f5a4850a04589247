//! What everything stands on. Invariant: no I/O, no Redis semantics, no other module of ours.
