//! Where a connection comes from.

use std::{fmt, net::IpAddr};

/// The other end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    Address(IpAddr),
    /// Of this machine, by a file.
    UnixSocket,
    /// By the listener for curl and browsers: on this machine it may be any page that speaks there.
    Web(IpAddr),
}

impl Origin {
    /// From this machine.
    pub fn is_local(self) -> bool {
        match self {
            Self::Address(ip) => ip.to_canonical().is_loopback(),
            Self::UnixSocket => true,
            Self::Web(_) => false,
        }
    }

    /// Nothing where there is none.
    pub fn address(self) -> Option<IpAddr> {
        match self {
            Self::Address(ip) | Self::Web(ip) => Some(ip),
            Self::UnixSocket => None,
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(ip) | Self::Web(ip) => ip.fmt(f),
            Self::UnixSocket => f.write_str("a Unix socket"),
        }
    }
}

impl From<IpAddr> for Origin {
    fn from(ip: IpAddr) -> Self {
        Self::Address(ip)
    }
}
