//! What the tls-* directives say, with the files that they name.
//!
//! Invariant: all or nothing: a context is made of files that fit each other, or is not made, with a
//! line in the log that says why. Read from the disk here and nowhere else, when an operator asks.
//! Source: tls-* in redis.conf of Redis 8.0 and its log lines.

use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;

use pkcs8::der::{Decode, SecretDocument};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, RootCertStore, ServerConfig, SupportedProtocolVersion};

use super::certificate::{self, Facts};
use super::ciphers;
use super::direct::Authorities;
use super::session_cache::SessionCache;
use super::verify::{Clients, Servers};
use crate::base::sys;
use crate::config::Config;
use crate::config::choices::{TlsAuthClients, TlsAuthClientsUser};
use crate::observe::log;

/// Everything that a connection needs to begin.
#[derive(Debug)]
pub struct Context {
    /// For those who connect to us.
    pub server: Arc<ServerConfig>,
    /// For those whom we connect to; None where no authority says whom to trust.
    pub client: Option<Arc<ClientConfig>>,
    /// Which part of a client's certificate names its user.
    pub users_from: TlsAuthClientsUser,
    /// The server's certificate.
    pub server_certificate: Option<Facts>,
    /// That of the other side, if it is another one.
    pub client_certificate: Option<Facts>,
    /// The authority that ends first.
    pub authority: Option<Facts>,
    /// The files as they were before they were read.
    stamps: Vec<Stamp>,
}

/// A file, and what changes when it is written or replaced: device and number, length, and time of
/// the last change in seconds and nanoseconds. None if it cannot be looked at.
type Stamp = (PathBuf, Option<(u64, u64, u64, i64, i64)>);

/// The files do not fit; the log says why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unusable;

/// A certificate with its chain and its key.
struct Identity {
    key: CertifiedKey,
    facts: Option<Facts>,
}

impl Context {
    /// True if this configuration needs one.
    pub fn is_needed(config: &Config) -> bool {
        config.tls_port != 0 || config.tls_replication || config.tls_cluster
    }

    /// What the files say now, if any of them has changed since they were read and they fit each other.
    pub fn reloaded(&self, config: &Config) -> Option<Context> {
        if self.stamps == stamps(config) {
            return None;
        }
        let context = Context::load(config).ok()?;
        log::notice("TLS materials reloaded successfully");
        Some(context)
    }

    /// Reads the files that a configuration names.
    pub fn load(config: &Config) -> Result<Context, Unusable> {
        let stamps = stamps(config);
        let missing = |name: &str| refuse(format!("No {name} configured!"));
        if config.tls_cert_file.is_empty() {
            return missing("tls-cert-file");
        }
        if config.tls_key_file.is_empty() {
            return missing("tls-key-file");
        }
        let has_authorities =
            !config.tls_ca_cert_file.is_empty() || !config.tls_ca_cert_dir.is_empty();
        let checks_peers = config.tls_auth_clients != TlsAuthClients::No
            || config.tls_cluster
            || config.tls_replication;
        if checks_peers && !has_authorities {
            return refuse(
                "Either tls-ca-cert-file or tls-ca-cert-dir must be specified when tls-cluster, tls-replication or tls-auth-clients are enabled!",
            );
        }
        if !config.tls_dh_params_file.is_empty() {
            log::notice(
                "'tls-dh-params-file' has no effect: only key exchanges over elliptic curves are offered",
            );
        }
        let (provider, versions) = rules(config)?;
        let own = Identity::read(
            &provider,
            (&config.tls_cert_file, &config.tls_key_file, &config.tls_key_file_pass),
        )?;
        let (authorities, authority) = authorities(config, &provider)?;
        let server_certificate = own.facts.clone();
        let mut client_certificate = None;
        let client = if authorities.anchors.is_empty() {
            None
        } else {
            let has_other =
                !config.tls_client_cert_file.is_empty() && !config.tls_client_key_file.is_empty();
            let shown = if has_other {
                let pass = &config.tls_client_key_file_pass;
                let (cert, key) = (&config.tls_client_cert_file, &config.tls_client_key_file);
                let other = Identity::read(&provider, (cert, key, pass))?;
                client_certificate = other.facts;
                other.key
            } else {
                own.key.clone()
            };
            Some(client_side(&provider, &versions, &authorities, shown)?)
        };
        let server = server_side(config, (&provider, &versions), &authorities, own.key)?;
        let users_from = config.tls_auth_clients_user;
        Ok(Context {
            server,
            client,
            users_from,
            server_certificate,
            client_certificate,
            authority,
            stamps,
        })
    }
}

fn refuse<T>(reason: impl Into<String>) -> Result<T, Unusable> {
    log::warning(reason.into());
    Err(Unusable)
}

fn failed<T>(what: &str, reason: &dyn std::fmt::Display) -> Result<T, Unusable> {
    refuse(format!("{what}: {reason}"))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn read(path: &[u8]) -> std::io::Result<Vec<u8>> {
    use std::os::unix::ffi::OsStrExt;
    std::fs::read(std::ffi::OsStr::from_bytes(path))
}

/// The state of all files that a configuration names.
fn stamps(config: &Config) -> Vec<Stamp> {
    let named = [
        &config.tls_cert_file,
        &config.tls_key_file,
        &config.tls_client_cert_file,
        &config.tls_client_key_file,
        &config.tls_ca_cert_file,
    ];
    let mut paths: Vec<PathBuf> =
        named.into_iter().filter(|name| !name.is_empty()).map(|name| text(name).into()).collect();
    if !config.tls_ca_cert_dir.is_empty() {
        paths.extend(files_in(&config.tls_ca_cert_dir).unwrap_or_default());
    }
    let stamp = |path: PathBuf| {
        let data = std::fs::metadata(&path).ok();
        let state =
            data.map(|one| (one.dev(), one.ino(), one.len(), one.mtime(), one.mtime_nsec()));
        (path, state)
    };
    paths.into_iter().map(stamp).collect()
}

type Versions = Vec<&'static SupportedProtocolVersion>;

/// The cipher suites and versions that may be used.
fn rules(config: &Config) -> Result<(Arc<CryptoProvider>, Versions), Unusable> {
    let (mut with_tls12, mut with_tls13) = (false, false);
    let names = text(&config.tls_protocols);
    for name in names.split(' ').filter(|_| !names.is_empty()) {
        match name.to_ascii_lowercase().as_str() {
            "tlsv1.2" => with_tls12 = true,
            "tlsv1.3" => with_tls13 = true,
            old @ ("tlsv1" | "tlsv1.1") => {
                log::warning(format!(
                    "{old} is specified in tls-protocols but not supported: it is not safe"
                ));
            }
            _ => {
                return refuse(
                    "Invalid tls-protocols specified. Use a combination of 'TLSv1', 'TLSv1.1', 'TLSv1.2' and 'TLSv1.3'.",
                );
            }
        }
    }
    if names.is_empty() {
        (with_tls12, with_tls13) = (true, true);
    }
    let (list, suites) = (text(&config.tls_ciphers), text(&config.tls_ciphersuites));
    let (tls12, tls13) = (ciphers::tls12(&list), ciphers::tls13(&suites));
    if tls12.is_empty() {
        return refuse(format!("Failed to configure ciphers: {list}"));
    }
    if tls13.is_empty() {
        return refuse(format!("Failed to configure ciphersuites: {suites}"));
    }
    let mut versions = Vec::new();
    let mut provider = rustls::crypto::ring::default_provider();
    provider.cipher_suites.clear();
    if with_tls13 {
        versions.push(&TLS13);
        provider.cipher_suites.extend(tls13);
    }
    if with_tls12 {
        versions.push(&TLS12);
        provider.cipher_suites.extend(tls12);
    }
    if versions.is_empty() {
        return refuse("No protocol of tls-protocols is supported: use 'TLSv1.2' and 'TLSv1.3'.");
    }
    Ok((Arc::new(provider), versions))
}

impl Identity {
    /// Reads a certificate with its chain, and its key.
    fn read(
        provider: &CryptoProvider,
        (cert_file, key_file, pass): (&[u8], &[u8], &[u8]),
    ) -> Result<Identity, Unusable> {
        let cert_name = format!("Failed to load certificate: {}", text(cert_file));
        let key_name = format!("Failed to load private key: {}", text(key_file));
        let chain = match read(cert_file) {
            Ok(pem) => CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>(),
            Err(error) => return failed(&cert_name, &sys::reason(&error)),
        };
        let chain = match chain {
            Ok(chain) if chain.is_empty() => return failed(&cert_name, &"no certificate in it"),
            Ok(chain) => chain,
            Err(error) => return failed(&cert_name, &error),
        };
        let key = match read(key_file) {
            Ok(pem) => private_key(&pem, pass).or_else(|reason| failed(&key_name, &reason))?,
            Err(error) => return failed(&key_name, &sys::reason(&error)),
        };
        let key = provider.key_provider.load_private_key(key);
        let key = key.or_else(|error| failed(&key_name, &error))?;
        let own = key.public_key();
        let certified = certificate::public_key(&chain[0]);
        if let (Some(own), Some(certified)) = (own, &certified)
            && own.as_ref() != certified.as_slice()
        {
            return failed(&key_name, &"key values mismatch");
        }
        if certified.is_none() {
            return failed(&cert_name, &"it cannot be read");
        }
        let facts = certificate::facts_of(&chain[0]);
        Ok(Identity { key: CertifiedKey::new(chain, key), facts })
    }
}

/// The first private key of a PEM file, decrypted with `pass` where it has to be.
fn private_key(pem: &[u8], pass: &[u8]) -> Result<PrivateKeyDer<'static>, String> {
    let text = String::from_utf8_lossy(pem);
    if let Some(start) = text.find("-----BEGIN ENCRYPTED PRIVATE KEY-----") {
        if pass.is_empty() {
            return Err("it is encrypted, and there is no password".to_owned());
        }
        let wrong = |error: &dyn std::fmt::Display| format!("it cannot be decrypted: {error}");
        let (_, document) =
            SecretDocument::from_pem(first_block(&text[start..])).map_err(|error| wrong(&error))?;
        let locked = pkcs8::EncryptedPrivateKeyInfo::from_der(document.as_bytes());
        let locked = locked.map_err(|error| wrong(&error))?;
        let key = locked.decrypt(pass).map_err(|error| wrong(&error))?;
        return Ok(PrivatePkcs8KeyDer::from(key.as_bytes().to_vec()).into());
    }
    if text.contains("Proc-Type: 4,ENCRYPTED") {
        return Err(
            "its encryption is not supported: convert it with `openssl pkcs8 -topk8`".into()
        );
    }
    PrivateKeyDer::from_pem_slice(pem).map_err(|error| error.to_string())
}

/// The text up to the end of its first PEM block.
fn first_block(text: &str) -> &str {
    const END: &str = "-----END ENCRYPTED PRIVATE KEY-----";
    text.find(END).map_or(text, |end| &text[..end + END.len()])
}

/// The authorities that are trusted, and the facts of the one that ends first.
fn authorities(
    config: &Config,
    provider: &CryptoProvider,
) -> Result<(Arc<Authorities>, Option<Facts>), Unusable> {
    const FAILED: &str = "Failed to configure CA certificate(s) file/directory";
    let (mut store, mut certificates) = (RootCertStore::empty(), Vec::new());
    let mut first: Option<Facts> = None;
    let mut add = |pem: &[u8]| -> Result<usize, String> {
        let mut added = 0;
        for certificate in CertificateDer::pem_slice_iter(pem) {
            let certificate = certificate.map_err(|error| error.to_string())?;
            let facts = certificate::facts_of(&certificate);
            store.add(certificate.clone()).map_err(|error| error.to_string())?;
            certificates.push(certificate);
            first = first.take().into_iter().chain(facts).min_by_key(|facts| facts.expires);
            added += 1;
        }
        Ok(added)
    };
    if !config.tls_ca_cert_file.is_empty() {
        let pem = read(&config.tls_ca_cert_file);
        let pem = pem.or_else(|error| failed(FAILED, &sys::reason(&error)))?;
        let added = add(&pem).or_else(|error| failed(FAILED, &error))?;
        if added == 0 {
            return failed(FAILED, &"no certificate in it");
        }
    }
    if !config.tls_ca_cert_dir.is_empty() {
        let files = files_in(&config.tls_ca_cert_dir);
        for file in files.or_else(|error| failed(FAILED, &sys::reason(&error)))? {
            // As with stock servers: what is no certificate is nobody's authority.
            let _ = std::fs::read(file).map(|pem| add(&pem));
        }
    }
    let algorithms = provider.signature_verification_algorithms;
    Ok((Arc::new(Authorities { anchors: Arc::new(store), certificates, algorithms }), first))
}

fn files_in(directory: &[u8]) -> std::io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(text(directory))? {
        let path = entry?.path();
        if path.is_file() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn server_side(
    config: &Config,
    (provider, versions): (&Arc<CryptoProvider>, &Versions),
    authorities: &Arc<Authorities>,
    own: CertifiedKey,
) -> Result<Arc<ServerConfig>, Unusable> {
    const FAILED: &str = "Failed to configure TLS";
    let builder = ServerConfig::builder_with_provider(provider.clone());
    let builder = builder.with_protocol_versions(versions);
    let builder = builder.or_else(|error| failed(FAILED, &error))?;
    let builder = if config.tls_auth_clients == TlsAuthClients::No {
        builder.with_no_client_auth()
    } else {
        let anchors = authorities.anchors.clone();
        let verifier = WebPkiClientVerifier::builder_with_provider(anchors, provider.clone());
        let verifier = match config.tls_auth_clients {
            TlsAuthClients::Optional => verifier.allow_unauthenticated(),
            TlsAuthClients::Yes | TlsAuthClients::No => verifier,
        };
        let webpki = verifier.build().or_else(|error| failed(FAILED, &error))?;
        let authorities = authorities.clone();
        builder.with_client_cert_verifier(Arc::new(Clients { authorities, webpki }))
    };
    let mut server = builder.with_cert_resolver(Arc::new(SingleCertAndKey::from(own)));
    server.ignore_client_order = config.tls_prefer_server_ciphers;
    if config.tls_session_caching {
        let (size, seconds) = (config.tls_session_cache_size, config.tls_session_cache_timeout);
        server.session_storage = Arc::new(SessionCache::new(size, seconds));
    } else {
        server.session_storage = Arc::new(NoServerSessionStorage {});
        server.send_tls13_tickets = 0;
    }
    Ok(Arc::new(server))
}

fn client_side(
    provider: &Arc<CryptoProvider>,
    versions: &Versions,
    authorities: &Arc<Authorities>,
    shown: CertifiedKey,
) -> Result<Arc<ClientConfig>, Unusable> {
    let builder = ClientConfig::builder_with_provider(provider.clone());
    let builder = builder.with_protocol_versions(versions);
    let builder = builder.or_else(|error| failed("Failed to configure TLS", &error))?;
    let verifier = Servers { authorities: authorities.clone() };
    let builder = builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier));
    Ok(Arc::new(builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(shown)))))
}
