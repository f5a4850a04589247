//! Certificates that webpki refuses and stock servers take: those of version 1, as `openssl x509 -req` makes them
//! unless it is told of extensions, and an authority's own, shown by whoever has its key.
//!
//! Invariant: nothing is trusted here but the authorities that the operator has named: a certificate is one of them,
//! byte for byte, or carries the signature of one of them. A certificate of version 1 vouches for no other.
//! Source: RFC 5280; what OpenSSL accepts by default.

use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{
    WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
    verify_tls13_signature_with_raw_key,
};
use rustls::pki_types::{CertificateDer, SubjectPublicKeyInfoDer, TrustAnchor, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, Error, RootCertStore};
use x509_cert::certificate::Version;
use x509_cert::der::asn1::BitString;
use x509_cert::der::{Decode, Encode, EncodeValue, Reader, SliceReader};
use x509_cert::spki::AlgorithmIdentifierOwned;
use x509_cert::{Certificate, TbsCertificate};

/// The authorities that were named.
#[derive(Debug)]
pub(super) struct Authorities {
    /// As webpki wants them.
    pub(super) anchors: Arc<RootCertStore>,
    /// Their certificates as they were read.
    pub(super) certificates: Vec<CertificateDer<'static>>,
    /// The signatures that are understood.
    pub(super) algorithms: WebPkiSupportedAlgorithms,
}

/// A public key: the identifier of its algorithm, without its frame, and its bits.
struct PublicKey {
    algorithm: Vec<u8>,
    bits: Vec<u8>,
}

impl Authorities {
    /// Whether a certificate is to be trusted; None if that is for webpki to say.
    pub(super) fn judge(
        &self,
        certificate: &CertificateDer<'_>,
        now: UnixTime,
    ) -> Option<Result<(), CertificateError>> {
        let parsed = Certificate::from_der(certificate).ok()?;
        let is_authority = self.certificates.iter().any(|known| known == certificate);
        if !is_authority && !is_version_1(&parsed) {
            return None;
        }
        Some(
            must_hold(&parsed.tbs_certificate, now)
                .and_then(|()| if is_authority { Ok(()) } else { self.must_have_signed(&parsed) }),
        )
    }

    fn must_have_signed(&self, certificate: &Certificate) -> Result<(), CertificateError> {
        let content = &certificate.tbs_certificate;
        if content.signature != certificate.signature_algorithm {
            return Err(CertificateError::BadEncoding);
        }
        let issuer = unframed(&content.issuer)?;
        // What an authority may only vouch for by name cannot be judged without the extensions of version 3.
        let named = |anchor: &&TrustAnchor<'_>| {
            anchor.subject.as_ref() == issuer && anchor.name_constraints.is_none()
        };
        let algorithm = unframed(&certificate.signature_algorithm)?;
        let message = content.to_der().map_err(|_| CertificateError::BadEncoding)?;
        let signature = certificate.signature.as_bytes().ok_or(CertificateError::BadEncoding)?;
        let mut failure = CertificateError::UnknownIssuer;
        for anchor in self.anchors.roots.iter().filter(named) {
            let key = PublicKey::parse(&anchor.subject_public_key_info)?;
            let is_signed = self
                .algorithms
                .all
                .iter()
                .filter(|known| known.signature_alg_id().as_ref() == algorithm)
                .filter(|known| known.public_key_alg_id().as_ref() == key.algorithm)
                .any(|known| known.verify_signature(&key.bits, &message, signature).is_ok());
            if is_signed {
                return Ok(());
            }
            failure = CertificateError::BadSignature;
        }
        Err(failure)
    }
}

impl Authorities {
    /// Checks a signature of a handshake of TLS 1.2.
    pub(super) fn verify_tls12(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let Some(certificate) = of_version_1(certificate) else {
            return verify_tls12_signature(message, certificate, signed, &self.algorithms);
        };
        let info = unframed(&certificate.tbs_certificate.subject_public_key_info)?;
        let key = PublicKey::parse(&info)?;
        let schemes = self.algorithms.mapping.iter().filter(|(name, _)| *name == signed.scheme);
        let is_signed = schemes
            .flat_map(|(_, known)| known.iter())
            .filter(|known| known.public_key_alg_id().as_ref() == key.algorithm)
            .any(|known| known.verify_signature(&key.bits, message, signed.signature()).is_ok());
        if !is_signed {
            return Err(CertificateError::BadSignature.into());
        }
        Ok(HandshakeSignatureValid::assertion())
    }

    /// Checks a signature of a handshake of TLS 1.3.
    pub(super) fn verify_tls13(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let Some(certificate) = of_version_1(certificate) else {
            return verify_tls13_signature(message, certificate, signed, &self.algorithms);
        };
        let info = certificate.tbs_certificate.subject_public_key_info.to_der();
        let info = info.map_err(|_| CertificateError::BadEncoding)?;
        let info = SubjectPublicKeyInfoDer::from(info);
        verify_tls13_signature_with_raw_key(message, &info, signed, &self.algorithms)
    }
}

impl PublicKey {
    /// Reads a SubjectPublicKeyInfo without its frame.
    fn parse(content: &[u8]) -> Result<PublicKey, CertificateError> {
        let bad = |_| CertificateError::BadEncoding;
        let mut reader = SliceReader::new(content).map_err(bad)?;
        let algorithm = AlgorithmIdentifierOwned::decode(&mut reader).map_err(bad)?;
        let bits = BitString::decode(&mut reader).map_err(bad)?;
        reader.finish(()).map_err(bad)?;
        let bits = bits.as_bytes().ok_or(CertificateError::BadEncoding)?.to_vec();
        Ok(PublicKey { algorithm: unframed(&algorithm)?, bits })
    }
}

fn is_version_1(certificate: &Certificate) -> bool {
    certificate.tbs_certificate.version == Version::V1
}

/// The encoding of a value without its tag and length.
fn unframed(value: &impl EncodeValue) -> Result<Vec<u8>, CertificateError> {
    let mut bytes = Vec::new();
    value.encode_value(&mut bytes).map_err(|_| CertificateError::BadEncoding)?;
    Ok(bytes)
}

fn must_hold(content: &TbsCertificate, now: UnixTime) -> Result<(), CertificateError> {
    let validity = &content.validity;
    if now.as_secs() < validity.not_before.to_unix_duration().as_secs() {
        return Err(CertificateError::NotValidYet);
    }
    if now.as_secs() > validity.not_after.to_unix_duration().as_secs() {
        return Err(CertificateError::Expired);
    }
    Ok(())
}

/// A certificate of version 1, whose signatures webpki cannot check either; None if it is another.
fn of_version_1(certificate: &CertificateDer<'_>) -> Option<Certificate> {
    Certificate::from_der(certificate).ok().filter(is_version_1)
}
