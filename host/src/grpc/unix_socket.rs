//! A Unix socket to listen on: its file, which a server that was killed leaves behind, and who may connect.

use std::{
    fs, io,
    os::unix::{
        fs::{FileTypeExt, MetadataExt, PermissionsExt},
        net::{SocketAddr, UnixStream},
    },
    path::{Path, PathBuf},
};

use rustix::fs::{Mode, fchmod};
use socket2::{Domain, SockAddr, Socket, Type};
use tokio::net::UnixListener;

use super::sockets::{BACKLOG, BindError};

/// Listens until it is dropped, and removes its file then.
#[derive(Debug)]
pub struct UnixSocket {
    pub listener: UnixListener,
    path: PathBuf,
    /// The file's device and number: another server may have put its own in the place.
    file: Option<(u64, u64)>,
}

impl UnixSocket {
    /// Listens on a file that is made here, which those may connect to that `mode` lets write to it. A file of
    /// a server that is gone is replaced.
    pub fn bind(path: &Path, mode: u32) -> Result<Self, BindError> {
        let fails = |e: io::Error| BindError::new(format!("cannot listen on {}: {e}", shown(path)));
        clear(path)?;
        let address = SockAddr::unix(path).map_err(|_| {
            // Of `sockaddr_un`, with the zero at its end.
            let most = "a Unix socket's path has at most 107 bytes";
            BindError::new(format!("cannot listen on {}: {most}", shown(path)))
        })?;
        let listen = || {
            let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
            // The file gets what the socket has, less the umask: it is never open to more than it should be.
            fchmod(&socket, Mode::from_raw_mode(mode))?;
            socket.bind(&address)?;
            fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
            socket.listen(BACKLOG)?;
            socket.set_nonblocking(true)?;
            UnixListener::from_std(socket.into())
        };
        let listener = listen().map_err(fails)?;
        Ok(Self { listener, path: path.to_owned(), file: identity(path) })
    }

    pub fn url(&self) -> String {
        shown(&self.path)
    }
}

impl Drop for UnixSocket {
    fn drop(&mut self) {
        if self.file.is_some() && identity(&self.path) == self.file {
            // Whoever starts a server here removes it, if it stays.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// As it is written in settings and by clients.
fn shown(path: &Path) -> String {
    format!("unix:{}", path.display())
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    let file = fs::symlink_metadata(path).ok()?;
    Some((file.dev(), file.ino()))
}

/// Removes the socket of a server that is gone.
fn clear(path: &Path) -> Result<(), BindError> {
    let Ok(file) = fs::symlink_metadata(path) else { return Ok(()) };
    let url = shown(path);
    if !file.file_type().is_socket() {
        return Err(BindError::new(format!(
            "cannot listen on {url}: there is something else at that path, which stays as it is"
        )));
    }
    let connected =
        SocketAddr::from_pathname(path).and_then(|address| UnixStream::connect_addr(&address));
    match connected {
        Ok(_) => Err(BindError::new(format!(
            "{url} is taken: stop the program that listens there, or choose another path with --listen"
        ))),
        Err(e) if e.kind() == io::ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(|e| {
                BindError::new(format!("{url} is left from a server that is gone, and stays: {e}"))
            })
        }
        Err(e) => Err(BindError::new(format!("cannot listen on {url}: {e}"))),
    }
}
