//! A client over an encrypted connection: sends words, reads whole replies.
//!
//! Invariant: nothing is read that was not asked for; every wait has a deadline.

use std::fs;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use super::DEADLINE;
use super::certificates::Certificates;
use super::support::client::encode;
use super::support::reply::complete_length;

/// What a client shows of itself.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Identity {
    /// No certificate.
    Nobody,
    /// The certificate of this name.
    Named(&'static str),
}

/// A connected client.
pub(crate) struct TlsClient {
    pub(crate) stream: StreamOwned<ClientConnection, TcpStream>,
    received: Vec<u8>,
}

/// The rules of a client that trusts the authority of `files`.
pub(crate) fn config(files: &Certificates, identity: Identity) -> ClientConfig {
    let read = |name: &str| fs::read(files.path(name)).expect("a file");
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(&read("ca.crt")).expect("PEM")).expect("an authority");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider);
    let builder = builder.with_safe_default_protocol_versions().expect("suites for both");
    let builder = builder.with_root_certificates(roots);
    match identity {
        Identity::Nobody => builder.with_no_client_auth(),
        Identity::Named(name) => {
            let certificate = CertificateDer::from_pem_slice(&read(&format!("{name}.crt")));
            let key = PrivateKeyDer::from_pem_slice(&read(&format!("{name}.key")));
            // Given like this, nobody looks at it here: it may have version 1, or another key.
            let key = builder.crypto_provider().key_provider.load_private_key(key.expect("PEM"));
            let shown = CertifiedKey::new(vec![certificate.expect("PEM")], key.expect("a key"));
            builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(shown)))
        }
    }
}

impl TlsClient {
    /// Connects and does the handshake; with TLS 1.3 what the server thinks of a certificate comes
    /// with the first reply.
    pub(crate) fn connect(
        port: u16,
        files: &Certificates,
        identity: Identity,
    ) -> io::Result<TlsClient> {
        TlsClient::connect_by(port, Arc::new(config(files, identity)))
    }

    pub(crate) fn connect_by(port: u16, config: Arc<ClientConfig>) -> io::Result<TlsClient> {
        let name = ServerName::try_from("127.0.0.1").expect("an address");
        let connection = ClientConnection::new(config, name).map_err(io::Error::other)?;
        let socket = TcpStream::connect(("127.0.0.1", port))?;
        socket.set_read_timeout(Some(DEADLINE))?;
        socket.set_write_timeout(Some(DEADLINE))?;
        socket.set_nodelay(true)?;
        let mut stream = StreamOwned::new(connection, socket);
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock)?;
        }
        Ok(TlsClient { stream, received: Vec::new() })
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)?;
        self.stream.flush()
    }

    pub(crate) fn call<A: AsRef<[u8]>>(&mut self, argv: &[A]) -> io::Result<Vec<u8>> {
        self.send(&encode(argv))?;
        self.read_reply()
    }

    /// The reply as text.
    pub(crate) fn text(&mut self, argv: &[&str]) -> String {
        let reply = self.call(argv).unwrap_or_else(|error| panic!("{argv:?}: {error}"));
        String::from_utf8_lossy(&reply).trim_end().to_owned()
    }

    /// One whole reply.
    pub(crate) fn read_reply(&mut self) -> io::Result<Vec<u8>> {
        let mut chunk = vec![0; 64 * 1024];
        loop {
            if let Some(length) = complete_length(&self.received).map_err(io::Error::other)? {
                return Ok(self.received.drain(..length).collect());
            }
            match self.stream.read(&mut chunk)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                count => self.received.extend_from_slice(&chunk[..count]),
            }
        }
    }
}
