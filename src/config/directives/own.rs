//! Directives that only this server has.

use super::super::choices::IoBackend;
use super::*;

pub(super) const DIRECTIVES: &[Directive] = &[
    Directive::new("cores", Kind::IntOrEmpty { max: CORES_MAX }, "0").immutable().restates(),
    int("core-ports", 0, 65535, "0").immutable().restates().refused("one port for each core"),
    choice("io-backend", IoBackend::CHOICES, "auto").immutable().restates(),
    int("metrics-port", 0, 65535, "0").immutable().restates(),
    Directive::new("metrics-bind", Kind::Addresses, "127.0.0.1 -::1").immutable().restates(),
    memory("script-memory-limit", 0, LONG_MAX_BYTES, "256mb"),
];

/// As many processors as a Linux affinity mask of the usual size names.
const CORES_MAX: i64 = 1024;
