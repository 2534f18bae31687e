//! TLS on the connections that come by TCP: certificates and, where the operator names some, the authorities
//! whose callers are let in. All of it is replaced when what is in the files changes.

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{net::TcpStream, sync::watch};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        RootCertStore, ServerConfig, ServerConnection,
        crypto::{CryptoProvider, ring},
        pki_types::{CertificateDer, PrivateKeyDer, UnixTime, pem::PemObject},
        server::{WebPkiClientVerifier, danger::ClientCertVerifier},
    },
    server::TlsStream,
};

/// How often the files are looked at: what swaps them may be a link, which no watch of a file sees.
const LOOK: Duration = Duration::from_secs(1);

/// Bytes of a file of certificates or of a key.
const LARGEST: u64 = 1 << 20;

/// Where certificates and keys are, all in PEM.
#[derive(Clone, Debug)]
pub struct TlsFiles {
    /// The server's certificate, and those between it and its authority.
    pub certificate: PathBuf,
    pub key: PathBuf,
    /// The authorities of callers' certificates: without one of these nobody is let in.
    pub client_authorities: Option<PathBuf>,
}

/// What is wrong with them.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("`{path}` cannot be read: {problem}")]
    Read { path: String, problem: String },
    #[error("`{path}` has no {what} in PEM")]
    Empty { path: String, what: &'static str },
    #[error("`{path}` is not as it should be: {problem}")]
    Wrong { path: String, problem: String },
    #[error("the certificate and its key do not go together: {0}")]
    Pair(String),
    #[error("--tls-cert and --tls-key go together, and --tls-client-ca with both")]
    Incomplete,
}

/// The certificates of now.
struct Current {
    http2: Arc<ServerConfig>,
    /// The same for curl and browsers.
    http1: Arc<ServerConfig>,
    /// Whether a caller's certificate is one of these authorities'; None where callers have none.
    callers: Option<Arc<dyn ClientCertVerifier>>,
}

/// TLS as it is now, and as it becomes.
pub struct Tls {
    files: TlsFiles,
    current: Mutex<Arc<Current>>,
    /// Told when they change.
    changed: watch::Sender<()>,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("files", &self.files).finish_non_exhaustive()
    }
}

/// What is spoken inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inside {
    Http2,
    Http1,
}

/// A caller's certificate, with those between it and its authority.
pub struct CallerCertificate(Vec<CertificateDer<'static>>);

impl TlsFiles {
    /// Those of the settings; None where there is to be no TLS.
    pub fn of(
        certificate: Option<PathBuf>,
        key: Option<PathBuf>,
        client_authorities: Option<PathBuf>,
    ) -> Result<Option<Self>, TlsError> {
        match (certificate, key, client_authorities) {
            (None, None, None) => Ok(None),
            (Some(certificate), Some(key), client_authorities) => {
                Ok(Some(Self { certificate, key, client_authorities }))
            }
            _ => Err(TlsError::Incomplete),
        }
    }
}

impl Tls {
    /// Reads the files. Fails where they make no sense.
    pub fn new(files: TlsFiles) -> Result<Arc<Self>, TlsError> {
        let contents = Contents::read(&files)?;
        let current = contents.current(&files)?;
        let (changed, _) = watch::channel(());
        let tls = Arc::new(Self { files, current: Mutex::new(Arc::new(current)), changed });
        Ok(tls)
    }

    /// Follows the files without end: what they hold is taken as soon as it makes sense.
    pub async fn follow(&self) {
        // What was last taken or refused.
        let mut seen = Contents::read(&self.files).ok();
        loop {
            tokio::time::sleep(LOOK).await;
            let files = self.files.clone();
            let read = tokio::task::spawn_blocking(move || Contents::read(&files)).await;
            // A file that is not there for a moment is being replaced.
            let Ok(Ok(contents)) = read else { continue };
            if seen.as_ref() == Some(&contents) {
                continue;
            }
            match contents.current(&self.files) {
                Ok(current) => {
                    *self.current.lock().unwrap_or_else(PoisonError::into_inner) =
                        Arc::new(current);
                    self.changed.send_replace(());
                    tracing::info!(
                        "the certificates have changed: new connections have the new ones"
                    );
                }
                Err(e) => tracing::error!("the certificates have changed, and are not taken: {e}"),
            }
            seen = Some(contents);
        }
    }

    fn current(&self) -> Arc<Current> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Shakes hands with a caller. Gives also the certificate that it has shown.
    pub async fn accept(
        &self,
        stream: TcpStream,
        inside: Inside,
    ) -> io::Result<(TlsStream<TcpStream>, Option<CallerCertificate>)> {
        let current = self.current();
        let config = match inside {
            Inside::Http2 => &current.http2,
            Inside::Http1 => &current.http1,
        };
        let acceptor = TlsAcceptor::from(config.clone());
        let stream = acceptor.accept(stream).await?;
        let (_, connection): (_, &ServerConnection) = stream.get_ref();
        if inside == Inside::Http2 && connection.alpn_protocol() != Some(b"h2") {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the caller speaks no HTTP/2"));
        }
        let shown = connection.peer_certificates();
        let shown = shown.map(|shown| shown.iter().map(|one| one.clone().into_owned()).collect());
        Ok((stream, shown.map(CallerCertificate)))
    }

    /// Waits until a caller's certificate is no longer one that is let in.
    pub async fn revoked(&self, certificate: &CallerCertificate) {
        let mut changed = self.changed.subscribe();
        loop {
            if !self.current().lets_in(certificate) {
                return;
            }
            if changed.changed().await.is_err() {
                std::future::pending().await
            }
        }
    }
}

impl Current {
    fn lets_in(&self, CallerCertificate(certificates): &CallerCertificate) -> bool {
        let Some(callers) = &self.callers else { return true };
        let Some((own, between)) = certificates.split_first() else { return false };
        callers.verify_client_cert(own, between, UnixTime::now()).is_ok()
    }
}

/// What is in the files.
#[derive(PartialEq, Eq)]
struct Contents {
    certificate: Vec<u8>,
    key: Vec<u8>,
    client_authorities: Option<Vec<u8>>,
}

impl Contents {
    fn read(files: &TlsFiles) -> Result<Self, TlsError> {
        Ok(Self {
            certificate: read(&files.certificate)?,
            key: read(&files.key)?,
            client_authorities: files.client_authorities.as_deref().map(read).transpose()?,
        })
    }

    fn current(&self, files: &TlsFiles) -> Result<Current, TlsError> {
        let chain = certificates(&files.certificate, &self.certificate)?;
        let key = PrivateKeyDer::from_pem_slice(&self.key).map_err(|e| TlsError::Wrong {
            path: files.key.display().to_string(),
            problem: format!("no private key in PEM ({e})"),
        })?;
        let provider: Arc<CryptoProvider> = Arc::new(ring::default_provider());
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(|e| TlsError::Pair(e.to_string()))?;
        let callers =
            match files.client_authorities.as_deref().zip(self.client_authorities.as_ref()) {
                Some((path, pem)) => Some(verifier(path, pem, provider)?),
                None => None,
            };
        let builder = match callers.clone() {
            Some(callers) => builder.with_client_cert_verifier(callers),
            None => builder.with_no_client_auth(),
        };
        let mut config =
            builder.with_single_cert(chain, key).map_err(|e| TlsError::Pair(e.to_string()))?;
        config.alpn_protocols = vec![b"h2".to_vec()];
        let mut http1 = config.clone();
        http1.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Current { http2: Arc::new(config), http1: Arc::new(http1), callers })
    }
}

fn verifier(
    path: &Path,
    pem: &[u8],
    provider: Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let wrong = |problem: String| TlsError::Wrong { path: path.display().to_string(), problem };
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path, pem)? {
        roots.add(certificate).map_err(|e| wrong(e.to_string()))?;
    }
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
    verifier.build().map_err(|e| wrong(e.to_string()))
}

fn certificates(path: &Path, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let path = path.display().to_string();
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match read {
        Ok(some) if some.is_empty() => Err(TlsError::Empty { path, what: "certificate" }),
        Ok(some) => Ok(some),
        Err(e) => Err(TlsError::Wrong { path, problem: e.to_string() }),
    }
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    let fail = |problem: String| TlsError::Read { path: path.display().to_string(), problem };
    let length = fs::metadata(path).map_err(|e| fail(e.to_string()))?.len();
    if length > LARGEST {
        return Err(fail(format!("it has {length} bytes, of which there may be {LARGEST}")));
    }
    fs::read(path).map_err(|e| fail(e.to_string()))
}
