//! Where the server listens, and what it asks of its sockets.

use super::*;

pub(super) const DIRECTIVES: &[Directive] = &[
    Directive::new("bind", Kind::Addresses, "* -::*"),
    int("port", 0, 65535, "6379"),
    optional_text("unixsocket").immutable(),
    Directive::new("unixsocketperm", Kind::FileMode, "0").immutable(),
    optional_text("unixsocketgroup").immutable().restates(),
    int("tcp-backlog", 0, INT_MAX, "511").immutable(),
    int("tcp-keepalive", 0, INT_MAX, "300"),
    yes_no("protected-mode", "yes"),
    optional_text("bind-source-addr"),
    int("socket-mark-id", 0, UINT_MAX, "0").immutable(),
    // One core accepts for all of them, as many as are waiting.
    int("max-new-connections-per-cycle", 1, 1000, "10").inert(),
    int("max-new-tls-connections-per-cycle", 1, 1000, "1").inert(),
    yes_no("mptcp", "no").immutable().restates(),
    Directive::new("rdma-bind", Kind::Addresses, "").refused(RDMA),
    int("rdma-port", 0, 65535, "0").refused(RDMA),
    int("rdma-rx-size", 64 << 10, 16 << 20, "1048576").immutable().restates().pending(),
    int("rdma-completion-vector", -1, 1024, "-1").immutable().restates().pending(),
];

const RDMA: &str = "RDMA";
