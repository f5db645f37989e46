//! The certificate of a listener: read at the start, and again when its files change, without disturbing open
//! connections.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls::crypto::ring;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::NoServerSessionStorage;
use rustls::{InconsistentKeys, ServerConfig};
use tokio::signal::unix::{SignalKind, signal};
use tokio_rustls::TlsAcceptor;

use crate::config::{FILE_BYTES_MAX, Server, Tls, file};
use crate::telemetry::chain;

/// ALPN's name for HTTP/2.
pub(super) const HTTP2: &[u8] = b"h2";
const HTTP1: &[u8] = b"http/1.1";
/// How often the files are checked. Links are followed, so no way of replacing the files goes unnoticed.
const LOOK: Duration = Duration::from_secs(1);

/// A certificate with its key. New connections get the newest; those that are open keep theirs.
pub(crate) struct Certificate {
    files: Tls,
    /// The files as they were before they were read.
    read: Look,
    current: ArcSwap<ServerConfig>,
}

/// The certificates of the listeners, where they have one.
#[derive(Clone, Default)]
pub(crate) struct Certificates {
    /// The clients' listener.
    pub(crate) clients: Option<Arc<Certificate>>,
    /// The operators' listener.
    pub(crate) admin: Option<Arc<Certificate>>,
    /// The users' listener.
    pub(crate) users: Option<Arc<Certificate>>,
}

impl Certificates {
    /// Reads those that are configured.
    ///
    /// # Errors
    /// When a file cannot be read, holds nothing usable, or the two are not a pair.
    pub(crate) fn load(server: &Server) -> Result<Self, TlsError> {
        let load = |tls: &Option<Tls>| tls.as_ref().map(Certificate::load).transpose();
        let (clients, admin) = (load(&server.tls)?, load(&server.admin_tls)?);
        Ok(Self { clients, admin, users: load(&server.users_tls)? })
    }

    /// All of them, to be watched.
    pub(crate) fn each(self) -> impl Iterator<Item = Arc<Certificate>> {
        self.clients.into_iter().chain(self.admin).chain(self.users)
    }
}

/// Why a certificate cannot be used. The text names the file.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("reading {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It is not a PEM file.
    #[error("{} is no PEM file", path.display())]
    Pem {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: pem::Error,
    },
    /// It holds no certificate.
    #[error("{} holds no certificate", .0.display())]
    NoCertificate(PathBuf),
    /// It holds no key.
    #[error("{} holds no private key", .0.display())]
    NoKey(PathBuf),
    /// Its key needs a password.
    #[error("the key in {} is protected by a password; a server's key must not be", .0.display())]
    Encrypted(PathBuf),
    /// The two are not a pair.
    #[error("the key in {} is not that of the first certificate in {}", key.display(), certificate.display())]
    Mismatch {
        /// The file of the key.
        key: PathBuf,
        /// The file of the certificate.
        certificate: PathBuf,
    },
    /// rustls cannot use them.
    #[error("the certificate in {} cannot be used with the key in {}", certificate.display(), key.display())]
    Unusable {
        /// The file of the certificate.
        certificate: PathBuf,
        /// The file of the key.
        key: PathBuf,
        /// Why.
        #[source]
        source: rustls::Error,
    },
}

impl Certificate {
    /// Reads both files.
    fn load(files: &Tls) -> Result<Arc<Self>, TlsError> {
        let read = Look::at(files);
        let current = ArcSwap::from_pointee(config(files)?);
        Ok(Arc::new(Self { files: files.clone(), read, current }))
    }

    /// The acceptor for the next connection.
    pub(super) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(self.current.load_full())
    }

    /// Applies changes of the files, in an endless loop; SIGHUP reads them at once. Unusable files are logged once, and
    /// the old certificate stays.
    pub(crate) async fn watch(self: Arc<Self>) {
        let Ok(mut hangup) = signal(SignalKind::hangup()) else { return };
        let mut tried = self.read;
        let mut last = tried;
        loop {
            let told = tokio::select! {
                () = tokio::time::sleep(LOOK) => false,
                _ = hangup.recv() => true,
            };
            let look = self.look().await;
            // While new files are written, certificate and key may not match: they are read when they have stopped
            // changing.
            let rested = look == std::mem::replace(&mut last, look);
            if told || rested && look != tried {
                tried = look;
                // Nobody else waits for files that are read slowly.
                let own = Arc::clone(&self);
                let _panicked = tokio::task::spawn_blocking(move || own.take_up()).await;
            }
        }
    }

    async fn look(&self) -> Look {
        let files = self.files.clone();
        tokio::task::spawn_blocking(move || Look::at(&files)).await.unwrap_or(self.read)
    }

    fn take_up(&self) {
        let certificate = self.files.certificate_file.display();
        match config(&self.files) {
            Ok(config) => {
                self.current.store(Arc::new(config));
                tracing::info!(%certificate, "new connections get the new certificate");
            }
            Err(error) => {
                let error = chain(&error);
                tracing::error!(error, "the new certificate was refused; the one before stays in use");
            }
        }
    }
}

/// What shows that a file has changed, or may be read by others; `None` without a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Look([Option<(u64, u64, i64, i64)>; 2]);

impl Look {
    fn at(files: &Tls) -> Self {
        let mark = |is: Metadata| (is.dev(), is.ino(), is.ctime(), is.ctime_nsec());
        Self([&files.certificate_file, &files.key_file].map(|path| fs::metadata(path).ok().map(mark)))
    }
}

/// The settings of rustls: TLS 1.2 and 1.3, sessions resumed by tickets, no early data.
fn config(files: &Tls) -> Result<ServerConfig, TlsError> {
    let chain = certificates(&files.certificate_file)?;
    let key = key(&files.key_file)?;
    let make = || {
        let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth();
        let mut config = builder.with_single_cert(chain, key)?;
        config.alpn_protocols = vec![HTTP2.to_vec(), HTTP1.to_vec()];
        config.ticketer = ring::Ticketer::new()?;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        Ok(config)
    };
    make().map_err(|source| {
        let (certificate, key) = (files.certificate_file.clone(), files.key_file.clone());
        match source {
            rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
                TlsError::Mismatch { key, certificate }
            }
            source => TlsError::Unusable { certificate, key, source },
        }
    })
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    file::read(path, FILE_BYTES_MAX).map_err(|source| TlsError::Read { path: path.to_owned(), source })
}

/// The certificates in a file, at least one.
pub(super) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let text = read(path)?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    let chain = chain.map_err(|source| TlsError::Pem { path: path.to_owned(), source })?;
    if chain.is_empty() { Err(TlsError::NoCertificate(path.to_owned())) } else { Ok(chain) }
}

fn key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let text = zeroize::Zeroizing::new(read(path)?);
    warn_if_open(path);
    PrivateKeyDer::from_pem_slice(&text).map_err(|source| match source {
        pem::Error::NoItemsFound if memchr::memmem::find(&text, b"BEGIN ENCRYPTED").is_some() => {
            TlsError::Encrypted(path.to_owned())
        }
        pem::Error::NoItemsFound => TlsError::NoKey(path.to_owned()),
        source => TlsError::Pem { path: path.to_owned(), source },
    })
}

/// Logs a warning for a key that everyone on the machine may read, or others may write.
fn warn_if_open(path: &Path) {
    let mode = fs::metadata(path).map_or(0, |is| is.mode());
    if mode & 0o026 != 0 {
        let mode = format!("{:03o}", mode & 0o777);
        tracing::warn!(file = %path.display(), mode, "others than their owner may read or change this private key");
    }
}
