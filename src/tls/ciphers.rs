//! OpenSSL's names of cipher suites, and its lists of them.
//!
//! Invariant: names that nobody here knows are skipped, as OpenSSL does; a list that leaves nothing
//! is an error of the operator. Source: openssl-ciphers(1), the names of RFC 8446 and RFC 5289.

use rustls::SupportedCipherSuite;
use rustls::crypto::ring::cipher_suite as ring;

/// A suite of TLS 1.2 under OpenSSL's name.
const TLS12: &[(&str, SupportedCipherSuite)] = &[
    ("ECDHE-ECDSA-AES256-GCM-SHA384", ring::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384),
    ("ECDHE-RSA-AES256-GCM-SHA384", ring::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384),
    ("ECDHE-ECDSA-CHACHA20-POLY1305", ring::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256),
    ("ECDHE-RSA-CHACHA20-POLY1305", ring::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256),
    ("ECDHE-ECDSA-AES128-GCM-SHA256", ring::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256),
    ("ECDHE-RSA-AES128-GCM-SHA256", ring::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256),
];

/// The same for TLS 1.3.
const TLS13: &[(&str, SupportedCipherSuite)] = &[
    ("TLS_AES_256_GCM_SHA384", ring::TLS13_AES_256_GCM_SHA384),
    ("TLS_CHACHA20_POLY1305_SHA256", ring::TLS13_CHACHA20_POLY1305_SHA256),
    ("TLS_AES_128_GCM_SHA256", ring::TLS13_AES_128_GCM_SHA256),
];

/// The suites of TLS 1.2 that an OpenSSL cipher list selects, in its order; an empty list is the
/// default.
pub(super) fn tls12(list: &str) -> Vec<SupportedCipherSuite> {
    let mut chosen: Vec<usize> = Vec::new();
    let mut banned: Vec<usize> = Vec::new();
    let list = if list.is_empty() { "DEFAULT" } else { list };
    for word in list.split([':', ',', ' ', ';']).filter(|word| !word.is_empty()) {
        let (sign, name) = match word.as_bytes()[0] {
            sign @ (b'!' | b'-' | b'+') => (sign, &word[1..]),
            _ => (b' ', word),
        };
        let named = (0..TLS12.len()).filter(|suite| is_named(TLS12[*suite].0, name));
        for suite in named {
            let place = chosen.iter().position(|one| *one == suite);
            match (sign, place) {
                (b'!', _) => {
                    banned.push(suite);
                    chosen.retain(|one| *one != suite);
                }
                (b'-', Some(place)) => drop(chosen.remove(place)),
                (b'+', Some(place)) => {
                    chosen.remove(place);
                    chosen.push(suite);
                }
                (b' ', None) if !banned.contains(&suite) => chosen.push(suite),
                _ => {}
            }
        }
    }
    chosen.into_iter().map(|suite| TLS12[suite].1).collect()
}

/// True if a word of a list means this suite: its name, or properties of it joined by `+`.
fn is_named(suite: &str, word: &str) -> bool {
    suite == word || word.split('+').all(|property| has_property(suite, property))
}

fn has_property(suite: &str, property: &str) -> bool {
    match property {
        "ALL" | "DEFAULT" | "HIGH" | "TLSv1.2" | "ECDHE" | "EECDH" | "kECDHE" | "kEECDH" => true,
        "ECDSA" | "aECDSA" => suite.contains("-ECDSA-"),
        "aRSA" => suite.contains("-RSA-"),
        "AES" => suite.contains("-AES"),
        "AESGCM" => suite.contains("-GCM-"),
        "AES128" => suite.contains("AES128"),
        "AES256" => suite.contains("AES256"),
        "CHACHA20" => suite.contains("CHACHA20"),
        _ => false,
    }
}

/// The suites of TLS 1.3 that a list names, in its order; an empty list is all of them.
pub(super) fn tls13(list: &str) -> Vec<SupportedCipherSuite> {
    if list.is_empty() {
        return TLS13.iter().map(|(_, suite)| *suite).collect();
    }
    let find = |name: &str| TLS13.iter().find(|(known, _)| *known == name);
    let mut chosen: Vec<SupportedCipherSuite> = Vec::new();
    for (_, suite) in list.split([':', ',']).filter_map(find) {
        if !chosen.iter().any(|one| one.suite() == suite.suite()) {
            chosen.push(*suite);
        }
    }
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(list: &str) -> Vec<&'static str> {
        let name = |suite: SupportedCipherSuite| {
            TLS12.iter().find(|(_, one)| one.suite() == suite.suite()).map_or("", |(name, _)| name)
        };
        tls12(list).into_iter().map(name).collect()
    }

    #[test]
    fn lists_select_as_openssl_does() {
        assert_eq!(names("").len(), TLS12.len());
        assert_eq!(names("DEFAULT:!AES128:-CHACHA20").len(), 2);
        assert_eq!(names("ECDSA+AESGCM+AES128"), ["ECDHE-ECDSA-AES128-GCM-SHA256"]);
        assert_eq!(
            names("ECDHE-RSA-AES128-GCM-SHA256:AES128-SHA256:ECDHE-RSA-AES256-GCM-SHA384"),
            ["ECDHE-RSA-AES128-GCM-SHA256", "ECDHE-RSA-AES256-GCM-SHA384"]
        );
        assert_eq!(names("!ALL:ECDHE-RSA-AES128-GCM-SHA256"), [""; 0]);
        assert_eq!(names("AES128-SHA256"), [""; 0]);
    }

    #[test]
    fn suites_of_tls13_are_taken_by_name() {
        assert_eq!(tls13("").len(), 3);
        assert_eq!(tls13("TLS_AES_128_GCM_SHA256:TLS_AES_128_CCM_SHA256").len(), 1);
        assert!(tls13("nothing").is_empty());
    }
}
