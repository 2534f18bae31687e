//! `--listen unix:PATH`: calls through a Unix socket, who may connect, and the file's life.

use std::{
    fs::{self, File},
    os::unix::{
        fs::{FileTypeExt, PermissionsExt},
        net::UnixListener,
    },
    path::{Path, PathBuf},
    process::{Child, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use tempfile::{NamedTempFile, TempDir};
use tms::grpc::proto::server::EmptyArgs;
use tonic::transport::Endpoint;

use crate::harness::{Caller, Setup, json, pixels, setup::tms, until};

/// A server that listens on nothing else, killed when this is dropped.
struct Alone {
    child: Child,
    folder: TempDir,
    out: NamedTempFile,
}

impl Alone {
    /// The server, once it is ready.
    async fn start(setup: Setup) -> Option<Self> {
        let out = NamedTempFile::new().unwrap();
        let streams = (Stdio::from(out.reopen().unwrap()), Stdio::null());
        let (child, folder) = setup.spawn(streams.0, streams.1)?;
        let server = Self { child, folder, out };
        until("ready", async || server.said().ends_with('\n')).await;
        Some(server)
    }

    fn said(&self) -> String {
        fs::read_to_string(self.out.path()).unwrap()
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("tms.sock")
    }

    async fn exit(&mut self) -> Option<i32> {
        let mut status = None;
        until("the exit", async || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        })
        .await;
        status.unwrap().code()
    }
}

impl Drop for Alone {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn setup() -> Setup {
    Setup::new().guest("echo").workers(2)
}

/// In the folder that the server runs in.
fn listening() -> Setup {
    setup().arg("--listen").arg("unix:tms.sock")
}

/// A client of the socket.
async fn caller(socket: &Path) -> Caller {
    let endpoint = Endpoint::from_shared(format!("unix:{}", socket.display())).unwrap();
    Caller::on(endpoint.connect().await.unwrap())
}

/// Who may do what with a file.
fn mode(file: &Path) -> u32 {
    fs::metadata(file).unwrap().permissions().mode() & 0o777
}

#[tokio::test]
async fn a_socket_is_listened_on_alone_and_its_callers_are_local() {
    let Some(mut server) = Alone::start(listening()).await else { return };
    assert_eq!(server.said(), "ready: unix:tms.sock, 1 models, 2 workers\n");
    assert_eq!(mode(&server.socket()), 0o600);
    let caller = caller(&server.socket()).await;
    assert_eq!(caller.text("echo", "hi", "").await.unwrap(), "hi");
    // More than any buffer on the way.
    let large = pixels(1080, 1920, 3);
    let answer = caller.image("echo", large.clone()).await.unwrap();
    assert_eq!(answer.image.unwrap().data, large.data);
    let url = format!("unix:{}", server.socket().display());
    let call = tms().args(["call", "echo", "--text", "hi", "--address", &url]).output().unwrap();
    assert_eq!(String::from_utf8(call.stdout).unwrap(), "\"hi\"\n", "{:?}", call.stderr);
    // They may stop it, as they may on the loopback addresses.
    let stopping = json(caller.server().stop_server(EmptyArgs {}).await).unwrap();
    assert_eq!(stopping, json!({"stopping": true}));
    assert_eq!(server.exit().await, Some(0));
    assert!(!server.socket().exists(), "the file is gone");
}

#[tokio::test]
async fn a_port_and_sockets_beside_each_other() {
    let config = "listen = ['unix:a.sock', 'unix:b.sock']\nsocket_mode = '660'";
    let mut server = start!(setup().config(config).arg("--port").arg("0"));
    assert!(server.ready.starts_with("ready: grpc://127.0.0.1:"), "{}", server.ready);
    assert!(
        server.ready.contains(" and unix:a.sock and unix:b.sock, 1 models"),
        "{}",
        server.ready
    );
    for socket in ["a.sock", "b.sock"] {
        let socket = server.folder().join(socket);
        assert_eq!(mode(&socket), 0o660);
        assert_eq!(caller(&socket).await.text("echo", "hi", "").await.unwrap(), "hi");
    }
    assert_eq!(server.caller().await.text("echo", "hi", "").await.unwrap(), "hi");
    server.signal(Signal::TERM);
    assert_eq!(server.exit().await.code(), Some(0));
    assert!(!server.folder().join("a.sock").exists());
}

#[tokio::test]
async fn bounds_of_an_address_are_not_for_sockets() {
    let config = "listen = 'unix:tms.sock'\nmax_address_connections = 1";
    let server = start!(setup().config(config).arg("--port").arg("0"));
    let _taken = server.caller().await;
    let socket = server.folder().join("tms.sock");
    for caller in [caller(&socket).await, caller(&socket).await] {
        assert_eq!(caller.text("echo", "hi", "").await.unwrap(), "hi");
    }
}

#[tokio::test]
async fn what_a_killed_server_leaves_is_replaced() {
    let Some(mut killed) = Alone::start(listening()).await else { return };
    kill_process(Pid::from_child(&killed.child), Signal::KILL).unwrap();
    killed.exit().await;
    let left = killed.socket();
    assert!(left.exists());
    let url = format!("unix:{}", left.display());
    let next = Alone::start(setup().arg("--listen").arg(&url)).await.unwrap();
    assert_eq!(caller(&left).await.text("echo", "hi", "").await.unwrap(), "hi");
    // It is another one's: whoever ends later leaves it alone.
    drop(next);
}

#[tokio::test]
async fn a_server_leaves_the_socket_of_its_successor_alone() {
    let Some(mut first) = Alone::start(listening()).await else { return };
    let socket = first.socket();
    fs::remove_file(&socket).unwrap();
    let url = format!("unix:{}", socket.display());
    let _second = Alone::start(setup().arg("--listen").arg(&url)).await.unwrap();
    kill_process(Pid::from_child(&first.child), Signal::TERM).unwrap();
    assert_eq!(first.exit().await, Some(0));
    assert_eq!(caller(&socket).await.text("echo", "hi", "").await.unwrap(), "hi");
}

#[test]
fn a_path_that_is_taken_stays_as_it_is() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("taken");
    let refused = || {
        let url = format!("unix:{}", path.display());
        let reason = setup().arg("--listen").arg(&url).refused()?;
        Some(reason.replace(folder.path().to_str().unwrap(), "SOCKETS"))
    };
    let _server = UnixListener::bind(&path).unwrap();
    let Some(reason) = refused() else { return };
    assert_eq!(
        reason,
        "tms: unix:SOCKETS/taken is taken: stop the program that listens there, or choose another \
         path with --listen"
    );
    assert!(fs::symlink_metadata(&path).unwrap().file_type().is_socket());
    fs::remove_file(&path).unwrap();
    File::create(&path).unwrap();
    assert_eq!(
        refused().unwrap(),
        "tms: cannot listen on unix:SOCKETS/taken: there is something else at that path, which \
         stays as it is"
    );
    assert!(path.is_file());
}

#[test]
fn paths_and_modes_that_cannot_be() {
    let long = format!("unix:{}", "x".repeat(200));
    let Some(reason) = setup().arg("--listen").arg(&long).refused() else { return };
    let expected =
        format!("tms: cannot listen on {long}: a Unix socket's path has at most 107 bytes");
    assert_eq!(reason, expected);
    let missing = setup().arg("--listen").arg("unix:nowhere/tms.sock").refused().unwrap();
    assert_eq!(
        missing,
        "tms: cannot listen on unix:nowhere/tms.sock: No such file or directory (os error 2)"
    );
    for (config, expected) in [
        (
            "listen = '/run/tms.sock'",
            "expected the path of a Unix socket, such as unix:/run/tms.sock",
        ),
        ("listen = ['tcp:x']", "expected the path of a Unix socket, such as unix:/run/tms.sock"),
        ("socket_mode = 660", "expected a mode such as \"660\""),
        ("socket_mode = '1777'", "expected a mode such as \"660\""),
    ] {
        let reason = setup().config(config).refused().unwrap();
        assert!(reason.contains(expected), "{config}: {reason}");
    }
}
