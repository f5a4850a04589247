//! The values of Redis' types. Invariant: no keys, no expiry, no reply; bytes in, bytes out.

