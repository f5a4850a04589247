//! Cluster mode: refused as such; how it would go is accepted.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::*;

pub(super) const DIRECTIVES: &[Directive] = &[
    yes_no("cluster-enabled", "no").immutable().refused("cluster mode"),
    text("cluster-config-file", "nodes.conf").immutable().pending(),
    choice("cluster-config-save-behavior", &[("sync", 0), ("best-effort", 1)], "sync").pending(),
    int("cluster-databases", 1, INT_MAX, "1").immutable().restates().pending(),
    int("cluster-port", 0, 65535, "0").immutable().pending(),
    int("cluster-node-timeout", 0, LONG_MAX, "15000").pending(),
    int("cluster-ping-interval", 0, LONG_MAX, "0").hidden().pending(),
    int("cluster-manual-failover-timeout", 1, INT_MAX, "5000").pending(),
    int("cluster-blacklist-ttl", 0, LONG_MAX, "60").pending(),
    int("cluster-replica-validity-factor", 0, INT_MAX, "10")
        .alias("cluster-slave-validity-factor")
        .pending(),
    yes_no("cluster-replica-no-failover", "no").alias("cluster-slave-no-failover").pending(),
    int("cluster-migration-barrier", 0, INT_MAX, "1").pending(),
    yes_no("cluster-allow-replica-migration", "yes").pending(),
    yes_no("cluster-require-full-coverage", "yes").pending(),
    yes_no("cluster-allow-reads-when-down", "no").pending(),
    yes_no("cluster-allow-pubsubshard-when-down", "yes").pending(),
    memory("cluster-link-sendbuf-limit", 0, u64::MAX, "0").pending(),
    yes_no("cluster-slot-stats-enabled", "no").pending(),
    int("cluster-slot-migration-log-max-len", 0, LONG_MAX, "1000").pending(),
    Directive::new("slot-migration-max-failover-repl-bytes", Kind::MemoryOrUnlimited, "0")
        .pending(),
    int("cluster-compatibility-sample-ratio", 0, 100, "0").pending(),
    optional_text("cluster-announce-ip").pending(),
    int("cluster-announce-port", 0, 65535, "0").pending(),
    int("cluster-announce-tls-port", 0, 65535, "0").pending(),
    int("cluster-announce-bus-port", 0, 65535, "0").pending(),
    optional_text("cluster-announce-hostname").pending().check(host_name),
    optional_text("cluster-announce-human-nodename").pending().check(node_name),
    optional_text("cluster-announce-client-ipv4").pending().check(ipv4),
    optional_text("cluster-announce-client-ipv6").pending().check(ipv6),
    int("cluster-announce-client-port", 0, 65535, "0").pending(),
    int("cluster-announce-client-tls-port", 0, 65535, "0").pending(),
    choice(
        "cluster-preferred-endpoint-type",
        &[("ip", 0), ("hostname", 1), ("unknown-endpoint", 2)],
        "ip",
    )
    .pending(),
];

/// Longest name of a host, and one more.
const HOST_NAME_BYTES: usize = 256;

fn host_name(value: Value) -> Result<Value, &'static str> {
    let name = bytes_of(&value);
    if name.len() >= HOST_NAME_BYTES {
        return Err("Hostnames must be less than 256 characters");
    }
    if !name.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.')) {
        return Err("Hostnames may only contain alphanumeric characters, hyphens or dots");
    }
    Ok(value)
}

/// Refuses what has a meaning in the cluster's own file.
fn node_name(value: Value) -> Result<Value, &'static str> {
    let special = |byte: &u8| b"!#$%&()*+:;<>?@[]^{|}~".contains(byte);
    if bytes_of(&value).iter().any(special) {
        return Err("Announced human node name contained invalid character");
    }
    Ok(value)
}

fn ipv4(value: Value) -> Result<Value, &'static str> {
    match bytes_of(&value) {
        b"" => Ok(value),
        text if parses::<Ipv4Addr>(text) => Ok(value),
        _ => Err("Invalid IPv4 address"),
    }
}

fn ipv6(value: Value) -> Result<Value, &'static str> {
    match bytes_of(&value) {
        b"" => Ok(value),
        text if parses::<Ipv6Addr>(text) => Ok(value),
        _ => Err("Invalid IPv6 address"),
    }
}

fn parses<T: std::str::FromStr>(text: &[u8]) -> bool {
    std::str::from_utf8(text).is_ok_and(|text| text.parse::<T>().is_ok())
}

fn bytes_of(value: &Value) -> &[u8] {
    let Value::Text(text) = value else { unreachable!("an announced name is text") };
    text
}
