//! Encrypted connections. A server that was told to encrypt must not start without.

use super::*;
use crate::config::choices::{TlsAuthClients, TlsAuthClientsUser};

pub(super) const DIRECTIVES: &[Directive] = &[
    int("tls-port", 0, 65535, "0"),
    optional_text("tls-cert-file"),
    optional_text("tls-key-file"),
    optional_text("tls-key-file-pass").sensitive(),
    optional_text("tls-client-cert-file"),
    optional_text("tls-client-key-file"),
    optional_text("tls-client-key-file-pass").sensitive(),
    optional_text("tls-dh-params-file"),
    optional_text("tls-ca-cert-file"),
    optional_text("tls-ca-cert-dir"),
    choice("tls-auth-clients", TlsAuthClients::CHOICES, "yes"),
    choice("tls-auth-clients-user", TlsAuthClientsUser::CHOICES, "off"),
    yes_no("tls-replication", "no"),
    yes_no("tls-cluster", "no"),
    optional_text("tls-protocols"),
    optional_text("tls-ciphers"),
    optional_text("tls-ciphersuites"),
    yes_no("tls-prefer-server-ciphers", "no"),
    yes_no("tls-session-caching", "yes"),
    int("tls-session-cache-size", 0, INT_MAX, "20480"),
    int("tls-session-cache-timeout", 0, INT_MAX, "300"),
    int("tls-auto-reload-interval", 0, INT_MAX, "0"),
];
