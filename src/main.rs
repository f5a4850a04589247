//! The `ironring` binary.

fn main() {}
