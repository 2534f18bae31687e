//! TLS: who is let in, and certificates that are replaced while the server serves.

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    time::Duration,
};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair,
};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

use crate::harness::{Server, Setup, client::Caller, until};

/// An authority, and what it has signed, as PEM.
struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key, as PEM.
struct Pair {
    certificate: String,
    key: String,
}

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn pem(&self) -> String {
        self.0.pem()
    }

    fn sign(&self, purpose: ExtendedKeyUsagePurpose) -> Pair {
        let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
        params.extended_key_usages.push(purpose);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        Pair { certificate: certificate.pem(), key: key.serialize_pem() }
    }

    fn server(&self) -> Pair {
        self.sign(ExtendedKeyUsagePurpose::ServerAuth)
    }

    fn caller(&self) -> Pair {
        self.sign(ExtendedKeyUsagePurpose::ClientAuth)
    }
}

/// The files of a server.
struct Files(tempfile::TempDir);

impl Files {
    fn new(pair: &Pair) -> Self {
        let files = Self(tempfile::tempdir().unwrap());
        files.put("cert.pem", &pair.certificate);
        files.put("key.pem", &pair.key);
        files
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// In the place of what was there, at once.
    fn put(&self, name: &str, pem: &str) {
        fs::write(self.path("new"), pem).unwrap();
        fs::rename(self.path("new"), self.path(name)).unwrap();
    }

    fn setup(&self) -> Setup {
        let text = |path: &Path| path.to_str().unwrap().to_owned();
        Setup::new()
            .guest("echo")
            .arg("--tls-cert")
            .arg(&text(&self.path("cert.pem")))
            .arg("--tls-key")
            .arg(&text(&self.path("key.pem")))
    }

    fn mutual(&self, authorities: &str) -> Setup {
        self.put("callers.pem", authorities);
        self.setup().arg("--tls-client-ca").arg(self.path("callers.pem").to_str().unwrap())
    }
}

/// A connection of a caller who trusts `authority`, and shows a certificate or none.
async fn connect(
    server: &Server,
    authority: &Authority,
    shows: Option<&Pair>,
) -> Result<Channel, tonic::transport::Error> {
    let mut tls = ClientTlsConfig::new()
        .ca_certificate(Certificate::from_pem(authority.pem()))
        .domain_name("localhost");
    if let Some(pair) = shows {
        tls = tls.identity(Identity::from_pem(&pair.certificate, &pair.key));
    }
    let url = format!("https://127.0.0.1:{}", server.port);
    Endpoint::from_shared(url).unwrap().tls_config(tls).unwrap().connect().await
}

async fn answers(channel: Channel) -> bool {
    Caller::on(channel).text("echo", "é", "").await.is_ok_and(|answer| answer == "é")
}

/// Whether such a caller is answered.
async fn is_let_in(server: &Server, authority: &Authority, shows: Option<&Pair>) -> bool {
    match connect(server, authority, shows).await {
        Ok(channel) => answers(channel).await,
        Err(_) => false,
    }
}

#[tokio::test]
async fn calls_are_encrypted() {
    let authority = Authority::new("one");
    let files = Files::new(&authority.server());
    let server = start!(files.setup());
    assert!(server.ready().contains("grpcs://127.0.0.1:"), "{}", server.ready());
    assert!(is_let_in(&server, &authority, None).await);
    assert!(!is_let_in(&server, &Authority::new("another"), None).await, "not its authority");
    // Without TLS nobody is understood.
    let plain = Endpoint::from_shared(format!("http://127.0.0.1:{}", server.port)).unwrap();
    let plain = plain.connect_lazy();
    assert!(!answers(plain).await);
    // Large messages pass, too.
    let channel = connect(&server, &authority, None).await.unwrap();
    let image = crate::harness::client::pixels(1080, 1920, 3);
    let reply = Caller::on(channel).image("echo", image.clone()).await.unwrap();
    assert_eq!(reply.image, Some(image));
}

#[tokio::test]
async fn callers_show_a_certificate() {
    let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
    let files = Files::new(&ours.server());
    let server = start!(files.mutual(&theirs.pem()));
    assert!(is_let_in(&server, &ours, Some(&theirs.caller())).await);
    assert!(!is_let_in(&server, &ours, None).await);
    assert!(!is_let_in(&server, &ours, Some(&ours.caller())).await);
    // A server's certificate does not let a caller in.
    assert!(!is_let_in(&server, &ours, Some(&theirs.server())).await);
}

#[tokio::test]
async fn certificates_are_replaced_under_load() {
    let (one, two) = (Authority::new("one"), Authority::new("two"));
    let files = Files::new(&one.server());
    let server = start!(files.setup());
    let open = connect(&server, &one, None).await.unwrap();
    let new = two.server();
    files.put("cert.pem", &new.certificate);
    // Until both are there, the old ones serve.
    server.logged("the certificates have changed, and are not taken").await;
    assert!(is_let_in(&server, &one, None).await);
    files.put("key.pem", &new.key);
    until("the new certificate", async || is_let_in(&server, &two, None).await).await;
    assert!(!is_let_in(&server, &one, None).await);
    // Connections that were open stay.
    assert!(answers(open).await);
}

#[tokio::test]
async fn a_removed_authority_closes_its_connections() {
    let (ours, stays, goes) =
        (Authority::new("ours"), Authority::new("stays"), Authority::new("goes"));
    let files = Files::new(&ours.server());
    let setup = files.mutual(&[stays.pem(), goes.pem()].concat()).metrics();
    let server = start!(setup);
    let (kept, lost) = (stays.caller(), goes.caller());
    let staying = connect(&server, &ours, Some(&kept)).await.unwrap();
    let going = connect(&server, &ours, Some(&lost)).await.unwrap();
    assert!(answers(staying.clone()).await && answers(going.clone()).await);
    files.put("callers.pem", &stays.pem());
    let is_closed = async || {
        let ended = ["reason=\"revoked\""];
        crate::harness::metrics::metric(&server, "tms_connections_closed_total", &ended) == 1.0
    };
    until("the connection's end", is_closed).await;
    assert!(!answers(going).await);
    assert!(answers(staying).await);
    assert!(!is_let_in(&server, &ours, Some(&lost)).await);
}

#[tokio::test]
async fn a_handshake_that_never_comes_ends() {
    let authority = Authority::new("one");
    let files = Files::new(&authority.server());
    let server = start!(files.setup().arg("--handshake-timeout").arg("200ms"));
    for beginning in [&b""[..], b"\x16\x03\x01\x02\x00", b"GET / HTTP/1.1\r\n\r\n"] {
        let mut socket = TcpStream::connect(("127.0.0.1", server.port)).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        socket.write_all(beginning).unwrap();
        let mut rest = Vec::new();
        // It is closed, or reset.
        let _ = socket.read_to_end(&mut rest).inspect_err(|e| {
            assert_eq!(e.kind(), std::io::ErrorKind::ConnectionReset, "{e}");
        });
    }
    assert!(is_let_in(&server, &authority, None).await);
}

#[test]
fn files_that_make_no_sense_are_refused() {
    let authority = Authority::new("one");
    let refused = |change: &dyn Fn(&Files)| {
        let files = Files::new(&authority.server());
        change(&files);
        let setup = files.setup();
        let message = setup.refused()?;
        Some(message.replace(files.0.path().to_str().unwrap(), "DIR"))
    };
    let Some(message) = refused(&|files| fs::remove_file(files.path("key.pem")).unwrap()) else {
        return;
    };
    let start = "tms: TLS cannot be served: ";
    let wanted = "`DIR/key.pem` cannot be read: No such file or directory (os error 2)";
    assert_eq!(message, format!("{start}{wanted}"));
    let message = refused(&|files| files.put("cert.pem", "nothing")).unwrap();
    assert_eq!(message, format!("{start}`DIR/cert.pem` has no certificate in PEM"));
    let message = refused(&|files| files.put("key.pem", "nothing")).unwrap();
    assert!(
        message.starts_with(&format!("{start}`DIR/key.pem` is not as it should be: no private"))
    );
    let message = refused(&|files| files.put("key.pem", &authority.server().key)).unwrap();
    assert!(message.starts_with(&format!("{start}the certificate and its key do not go together")));
    let setup = Setup::new().arg("--tls-cert").arg("cert.pem");
    let wanted = "--tls-cert and --tls-key go together, and --tls-client-ca with both";
    assert_eq!(setup.refused().unwrap(), format!("{start}{wanted}"));
}
