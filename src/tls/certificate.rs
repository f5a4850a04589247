//! What a certificate says: its public key, until when it holds, and whom it names.
//!
//! Invariant: a certificate that cannot be read names nobody; whether it is to be trusted was decided
//! before. Source: RFC 5280.

use x509_cert::Certificate;
use x509_cert::der::asn1::ObjectIdentifier;
use x509_cert::der::{Decode, Encode};
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

use crate::config::choices::TlsAuthClientsUser;

/// id-at-commonName.
const COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");

/// What INFO shows of a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Its serial number in hexadecimal digits.
    pub serial: String,
    /// The last second at which it holds, Unix time.
    pub expires: i64,
}

/// The names of users that a client's certificate offers.
pub fn users_of(certificate: &[u8], from: TlsAuthClientsUser) -> Vec<Vec<u8>> {
    let Ok(certificate) = Certificate::from_der(certificate) else { return Vec::new() };
    match from {
        TlsAuthClientsUser::Off => Vec::new(),
        TlsAuthClientsUser::Cn => common_name(&certificate).into_iter().collect(),
        TlsAuthClientsUser::Uri => uris(&certificate),
    }
}

/// The first common name of the subject, as it is written.
fn common_name(certificate: &Certificate) -> Option<Vec<u8>> {
    let mut parts = certificate.tbs_certificate.subject.0.iter().flat_map(|part| part.0.iter());
    let name = parts.find(|part| part.oid == COMMON_NAME)?;
    Some(name.value.value().to_vec())
}

fn uris(certificate: &Certificate) -> Vec<Vec<u8>> {
    let names = certificate.tbs_certificate.get::<SubjectAltName>();
    let names = names.ok().flatten().map_or(Vec::new(), |(_, names)| names.0);
    let uri = |name| match name {
        GeneralName::UniformResourceIdentifier(uri) => Some(uri.as_bytes().to_vec()),
        _ => None,
    };
    names.into_iter().filter_map(uri).collect()
}

/// What INFO shows of a certificate; None if it cannot be read.
pub(super) fn facts_of(certificate: &[u8]) -> Option<Facts> {
    let content = Certificate::from_der(certificate).ok()?.tbs_certificate;
    let serial = content.serial_number.as_bytes();
    let digits = serial.iter().skip_while(|byte| **byte == 0).map(|byte| format!("{byte:02X}"));
    let expires = content.validity.not_after.to_unix_duration().as_secs();
    Some(Facts { serial: digits.collect(), expires: i64::try_from(expires).ok()? })
}

/// The public key of a certificate, DER.
pub(super) fn public_key(certificate: &[u8]) -> Option<Vec<u8>> {
    let content = Certificate::from_der(certificate).ok()?.tbs_certificate;
    content.subject_public_key_info.to_der().ok()
}
