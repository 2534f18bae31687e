//! What the operator lets a guest reach outside the sandbox. Without a grant there is nothing: no
//! files, environment, arguments, sockets or stdin.

use std::{net::SocketAddr, path::PathBuf, sync::Arc};

use wasmtime_wasi::{FsPerms, WasiCtxBuilder, sockets::SocketAddrUse};

/// One model's grants.
#[derive(Clone, Debug, Default)]
pub struct Grants {
    /// The guest's path of a folder, and the folder. Read-only.
    pub folders: Vec<(String, PathBuf)>,
    /// Names and values.
    pub env: Vec<(String, String)>,
    /// Names or addresses, and ports, that a guest may connect to over TCP.
    pub hosts: Arc<[(String, u16)]>,
}

impl Grants {
    pub fn is_empty(&self) -> bool {
        self.folders.is_empty() && self.env.is_empty() && self.hosts.is_empty()
    }

    /// Opens the granted folders for a guest's WASI.
    pub fn open_folders(&self, wasi: &mut WasiCtxBuilder) -> wasmtime::Result<()> {
        for (guest, host) in &self.folders {
            wasi.preopened_dir(host, guest, FsPerms::ReadOnly)?;
        }
        Ok(())
    }

    /// Puts all other grants into a guest's WASI.
    pub fn apply(&self, wasi: &mut WasiCtxBuilder) {
        wasi.envs(&self.env).allow_udp(false).allow_tcp(!self.hosts.is_empty());
        if !self.hosts.is_empty() {
            let hosts = self.hosts.clone();
            wasi.allow_ip_name_lookup(true).socket_addr_check(move |address, use_| {
                let hosts = hosts.clone();
                // On a task of its own, as the lookup's future cannot be shared between threads.
                let check = tokio::spawn(async move { allowed(&hosts, address, use_).await });
                Box::pin(async move { check.await.unwrap_or(false) })
            });
        }
    }

    /// Whether it is the name of a granted host.
    pub fn names(&self, name: &str) -> bool {
        self.hosts.iter().any(|(host, _)| host == name)
    }
}

/// Whether a guest may use a socket with an address so.
async fn allowed(hosts: &[(String, u16)], address: SocketAddr, use_: SocketAddrUse) -> bool {
    match use_ {
        // Before each connection, an address of the system's choice.
        SocketAddrUse::TcpBind => address.ip().is_unspecified() && address.port() == 0,
        SocketAddrUse::TcpConnect => {
            for (host, port) in hosts {
                // Looked up at every connection: addresses behind a name change.
                if let Ok(mut found) = tokio::net::lookup_host((host.as_str(), *port)).await
                    && found.any(|a| a.ip().to_canonical() == address.ip().to_canonical())
                    && *port == address.port()
                {
                    return true;
                }
            }
            false
        }
        _ => false,
    }
}
