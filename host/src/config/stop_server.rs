//! Who may stop the server by calling StopServer.

use std::net::IpAddr;

use clap::ValueEnum;
use serde::Deserialize;

/// Who may stop the server by calling StopServer.
// The help text has no room for the values' own texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StopServer {
    /// Nobody: signals stop it.
    #[value(help = None::<&str>)]
    Never,
    /// Callers on this machine. Behind a proxy on this machine, every caller is one.
    #[value(help = None::<&str>)]
    Local,
    /// Every caller.
    #[value(help = None::<&str>)]
    Anyone,
}

impl StopServer {
    /// Where nothing is set. Beyond this machine a caller that seems to be local may be a proxy, which
    /// passes strangers on.
    pub(super) fn default_for(host: &[IpAddr]) -> Self {
        let local = host.iter().all(|address| address.to_canonical().is_loopback());
        if local { Self::Local } else { Self::Never }
    }

    /// What the old switch says. Off, it says nothing.
    pub(super) fn of_old_switch(allow_remote_stop: Option<bool>) -> Option<Self> {
        (allow_remote_stop == Some(true)).then_some(Self::Anyone)
    }
}
