//! Who gets in: certificates that are asked for or not, and the users that they name.

use super::client::{Identity, TlsClient};
use super::{Secure, with_servers};

/// Whether somebody can do anything at all.
fn gets_in(secure: &Secure, identity: Identity) -> bool {
    let client = TlsClient::connect(secure.port, &secure.files, identity);
    client.is_ok_and(|mut client| client.call(&["PING"]).is_ok())
}

#[test]
fn certificates_are_asked_for_as_the_directive_says() {
    let cases =
        [("yes", false, true, false), ("optional", true, true, false), ("no", true, true, true)];
    for (directive, nobody, ours, strangers) in cases {
        with_servers(&[("tls-auth-clients", directive)], |secure| {
            assert_eq!(gets_in(secure, Identity::Nobody), nobody, "{directive}, no certificate");
            assert_eq!(gets_in(secure, Identity::Named("client")), ours, "{directive}, ours");
            assert_eq!(gets_in(secure, Identity::Named("stranger")), strangers, "{directive}");
        });
    }
    with_servers(&[], |secure| {
        assert!(!gets_in(secure, Identity::Nobody));
        assert_eq!(secure.config_set(&[("tls-auth-clients", "no")]), "+OK");
        assert!(gets_in(secure, Identity::Nobody));
    });
}

/// What `openssl x509 -req` makes unless it is told of extensions.
#[test]
fn certificates_of_version_1_are_judged_like_others() {
    for protocol in ["TLSv1.2", "TLSv1.3"] {
        with_servers(&[("tls-protocols", protocol), ("tls-auth-clients-user", "CN")], |secure| {
            let mut admin = secure.server.client();
            let alice = ["ACL", "SETUSER", "alice", "on", "nopass", "+@all"];
            assert_eq!(admin.call(&alice).expect("a reply"), b"+OK\r\n");
            let files = &secure.files;
            files.reissue_as_version_1("client", "ca", &["-days", "10"]);
            let mut client = secure.client();
            assert!(client.text(&["ACL", "WHOAMI"]).ends_with("alice"), "{protocol}");
            files.reissue_as_version_1("client", "ca", &["-days", "-1"]);
            assert!(!gets_in(secure, Identity::Named("client")), "{protocol}, not in its time");
            files.reissue_as_version_1("client", "stranger", &["-days", "10"]);
            assert!(!gets_in(secure, Identity::Named("client")), "{protocol}, of a stranger");
            // One that says it is of the authority, and is signed by another key.
            files.forge_authority();
            files.reissue_as_version_1("client", "forger", &["-days", "10"]);
            assert!(!gets_in(secure, Identity::Named("client")), "{protocol}, forged");
            // The right certificate, shown by somebody who does not have its key.
            files.reissue_as_version_1("client", "ca", &["-days", "10"]);
            std::fs::copy(files.path("other.key"), files.path("client.key")).expect("a copy");
            assert!(!gets_in(secure, Identity::Named("client")), "{protocol}, another key");
        });
    }
}

/// A server, its authority and its clients may be one: a certificate that has signed itself.
#[test]
fn an_authority_may_come_itself() {
    with_servers(&[], |secure| {
        assert!(gets_in(secure, Identity::Named("ca")));
        secure.files.forge_authority();
        assert!(!gets_in(secure, Identity::Named("forger")));
    });
}

#[test]
fn a_certificate_logs_in_the_user_that_it_names() {
    for (from, user) in [("CN", "alice"), ("URI", "urn:bob")] {
        let options = [("tls-auth-clients-user", from), ("requirepass", "secret")];
        with_servers(&options[..1], |secure| {
            let mut admin = secure.server.client();
            let words = ["ACL", "SETUSER", user, "on", "+acl|whoami", "+ping", "nopass"];
            // Before the user is there, the client stays who it was.
            assert!(secure.client().text(&["ACL", "WHOAMI"]).ends_with("default"));
            let log = admin.call(&["ACL", "LOG"]).expect("a reply");
            let log = String::from_utf8_lossy(&log).into_owned();
            assert!(log.contains("tls-cert") && log.contains(user), "{log}");
            assert_eq!(admin.call(&words).expect("a reply"), b"+OK\r\n");
            let mut client = secure.client();
            assert!(client.text(&["ACL", "WHOAMI"]).ends_with(user));
            assert!(client.text(&["GET", "k"]).starts_with("-NOPERM"));
            assert_eq!(admin.call(&["ACL", "SETUSER", user, "off"]).expect("a reply"), b"+OK\r\n");
            assert!(secure.client().text(&["ACL", "WHOAMI"]).ends_with("default"));
            let denied = secure.server.info("stats", "acl_access_denied_tls_cert");
            assert_eq!(denied.as_deref(), Some("2"));
        });
    }
}

#[test]
fn without_that_directive_a_certificate_names_nobody() {
    with_servers(&[], |secure| {
        let words = ["ACL", "SETUSER", "alice", "on", "nopass", "+@all"];
        assert_eq!(secure.server.client().call(&words).expect("a reply"), b"+OK\r\n");
        assert!(secure.client().text(&["ACL", "WHOAMI"]).ends_with("default"));
    });
}
