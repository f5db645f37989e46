//! Certificates for a test, by an authority of its own, and a client that trusts it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};
use tollgate_server::config::{Millis, Tls};

/// The authority, and where its files are.
pub struct Authority {
    dir: TempDir,
    issuer: Issuer<'static, KeyPair>,
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}

impl Authority {
    /// An authority whose certificate is in [`Self::ca_file`].
    ///
    /// # Panics
    /// When the file cannot be written.
    #[must_use]
    pub fn new() -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.distinguished_name.push(DnType::CommonName, "An authority of tests");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = params.self_signed(&key).expect("a certificate");
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::write(dir.path().join("ca.pem"), certificate.pem()).expect("a file");
        Self { dir, issuer: Issuer::new(params, key) }
    }

    /// The authority's certificate.
    #[must_use]
    pub fn ca_file(&self) -> PathBuf {
        self.dir.path().join("ca.pem")
    }

    /// Where its files are.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// A new certificate for this machine, with its key: PEM both, the authority's certificate behind the first.
    ///
    /// # Panics
    /// Never.
    #[must_use]
    pub fn pair(&self) -> (String, String) {
        let key = KeyPair::generate().expect("a key");
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let mut params = CertificateParams::new(names).expect("names");
        params.distinguished_name.push(DnType::CommonName, "A gateway of tests");
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        let ca = std::fs::read_to_string(self.ca_file()).expect("a file");
        (certificate.pem() + &ca, key.serialize_pem())
    }

    /// Writes a new pair as `name.pem` and `name.key`, and returns the configuration that names it.
    ///
    /// # Panics
    /// When the files cannot be written.
    #[must_use]
    pub fn install(&self, name: &str) -> Tls {
        let (certificate, key) = self.pair();
        let file = |kind: &str| self.dir.path().join(format!("{name}.{kind}"));
        let (certificate_file, key_file) = (file("pem"), file("key"));
        std::fs::write(&certificate_file, certificate).expect("a file");
        std::fs::write(&key_file, key).expect("a file");
        let handshake_timeout_ms = Millis::try_from(10_000).expect("a time within bounds");
        Tls { certificate_file, key_file, handshake_timeout_ms }
    }

    /// The configuration of a client that trusts this authority and speaks `protocols`.
    ///
    /// # Panics
    /// Never.
    #[must_use]
    pub fn client(&self, protocols: &[&str]) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        let ca = CertificateDer::from_pem_file(self.ca_file()).expect("a certificate");
        roots.add(ca).expect("an authority");
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let builder = builder.with_safe_default_protocol_versions().expect("versions");
        let mut client = builder.with_root_certificates(roots).with_no_client_auth();
        client.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        client
    }

    /// A connection to `addr` by TLS.
    ///
    /// # Panics
    /// When there is none to be had.
    pub async fn connect(&self, addr: SocketAddr, protocols: &[&str]) -> TlsStream<TcpStream> {
        handshake(addr, &Arc::new(self.client(protocols))).await
    }
}

/// A connection to `addr` on these terms.
///
/// # Panics
/// When there is none to be had.
pub async fn handshake(addr: SocketAddr, client: &Arc<ClientConfig>) -> TlsStream<TcpStream> {
    let stream = TcpStream::connect(addr).await.expect("a server that listens");
    let name = ServerName::try_from("localhost").expect("a name");
    let shaken = TlsConnector::from(Arc::clone(client)).connect(name, stream).await;
    shaken.expect("a server that speaks TLS and proves who it is")
}

/// The certificate that the server presented on this connection.
///
/// # Panics
/// Before the end of the handshake.
#[must_use]
pub fn shown(stream: &TlsStream<TcpStream>) -> Vec<u8> {
    let chain = stream.get_ref().1.peer_certificates().expect("a certificate");
    chain.first().expect("one at least").to_vec()
}
