//! Encrypted connections. A server that was told to encrypt must not start without.

use super::*;

pub(super) const DIRECTIVES: &[Directive] = &[
    int("tls-port", 0, 65535, "0").refused(TLS),
    optional_text("tls-cert-file").refused(TLS),
    optional_text("tls-key-file").refused(TLS),
    optional_text("tls-key-file-pass").sensitive().refused(TLS),
    optional_text("tls-client-cert-file").refused(TLS),
    optional_text("tls-client-key-file").refused(TLS),
    optional_text("tls-client-key-file-pass").sensitive().refused(TLS),
    optional_text("tls-dh-params-file").refused(TLS),
    optional_text("tls-ca-cert-file").refused(TLS),
    optional_text("tls-ca-cert-dir").refused(TLS),
    choice("tls-auth-clients", &[("no", 0), ("yes", 1), ("optional", 2)], "yes").refused(TLS),
    choice("tls-auth-clients-user", &[("CN", 0), ("URI", 1), ("off", 2)], "off").refused(TLS),
    yes_no("tls-replication", "no").refused(TLS),
    yes_no("tls-cluster", "no").refused(TLS),
    optional_text("tls-protocols").refused(TLS),
    optional_text("tls-ciphers").refused(TLS),
    optional_text("tls-ciphersuites").refused(TLS),
    yes_no("tls-prefer-server-ciphers", "no").refused(TLS),
    yes_no("tls-session-caching", "yes").refused(TLS),
    int("tls-session-cache-size", 0, INT_MAX, "20480").refused(TLS),
    int("tls-session-cache-timeout", 0, INT_MAX, "300").refused(TLS),
    int("tls-auto-reload-interval", 0, INT_MAX, "0").refused(TLS),
];

const TLS: &str = "TLS";
