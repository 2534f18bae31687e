//! All connections: how many there may be, in all and of one address, and how each ended.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::sync::Semaphore;

use crate::{
    ledger::{Account, Charge, Ledger, Room},
    seldom::Seldom,
};

use super::origin::Origin;

/// Calls of reflection at a time, of all connections: a caller who reads no replies keeps the server from
/// reading requests, which then wait in HTTP/2's buffers, a window for each call.
const REFLECTIONS: usize = 32;

/// What a connection takes as long as nobody calls on it.
pub const OPEN: usize = 16 << 10;

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// By its caller, or by the network.
    Caller,
    /// With the server.
    Drained,
    /// Nobody called for long.
    Idle,
    /// Its beginning, its headers or a frame took too long to arrive.
    Slow,
    /// A ping was not answered.
    Silent,
    /// Its caller did not take what was sent.
    Untaken,
    /// Too many frames that are no part of a call.
    Flood,
    /// Too many calls that were cancelled.
    Resets,
    /// The handshake of TLS failed.
    Handshake,
    /// Its certificate is no longer let in.
    Revoked,
    /// There was no room for one more connection.
    Memory,
    /// There were too many connections.
    Full,
    /// There were too many connections of its address.
    Address,
}

impl End {
    const ALL: [Self; 13] = [
        Self::Caller,
        Self::Drained,
        Self::Idle,
        Self::Slow,
        Self::Silent,
        Self::Untaken,
        Self::Flood,
        Self::Resets,
        Self::Handshake,
        Self::Revoked,
        Self::Memory,
        Self::Full,
        Self::Address,
    ];

    /// For metrics.
    fn name(self) -> &'static str {
        match self {
            Self::Caller => "caller",
            Self::Drained => "drained",
            Self::Idle => "idle",
            Self::Slow => "slow",
            Self::Silent => "silent",
            Self::Untaken => "untaken",
            Self::Flood => "flood",
            Self::Resets => "resets",
            Self::Handshake => "handshake",
            Self::Revoked => "revoked",
            Self::Memory => "memory",
            Self::Full => "full",
            Self::Address => "address",
        }
    }
}

/// What connections may do.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Connections in all.
    pub connections: usize,
    /// Connections of one address.
    pub of_address: Option<usize>,
    /// Calls of a connection at a time.
    pub streams: u32,
    /// Frames a second that are no part of a call.
    pub control_frames: u32,
    /// Calls a second that are cancelled.
    pub resets: u32,
    /// For the first bytes, and for a call's headers.
    pub handshake: Duration,
    /// For one frame.
    pub frame: Duration,
    /// Without calls.
    pub idle: Duration,
    /// Until a silent caller is asked whether it is there.
    pub keepalive: Duration,
    /// For the answer to that.
    pub keepalive_answer: Duration,
    /// For a caller to take the next part of a reply.
    pub reply: Duration,
}

/// The connections of a server.
#[derive(Debug)]
pub struct Connections {
    pub bounds: Bounds,
    /// What connections hold is charged here.
    pub ledger: Arc<Ledger>,
    /// Set when the drain begins, before connections are told.
    pub draining: AtomicBool,
    pub reflections: Arc<Semaphore>,
    open: AtomicUsize,
    /// Of each address, where their number is bounded. An address without connections is not there.
    addresses: Mutex<HashMap<IpAddr, usize>>,
    /// By [`End::ALL`].
    ended: [AtomicU64; End::ALL.len()],
    /// Replies that were given up.
    untaken: AtomicU64,
    /// Those that were not let in, as the log says it.
    refusals: Seldom,
}

impl Connections {
    pub fn new(bounds: Bounds, ledger: Arc<Ledger>) -> Arc<Self> {
        Arc::new(Self {
            bounds,
            ledger,
            draining: AtomicBool::new(false),
            reflections: Arc::new(Semaphore::new(REFLECTIONS)),
            open: AtomicUsize::new(0),
            addresses: Mutex::default(),
            ended: Default::default(),
            untaken: AtomicU64::new(0),
            refusals: Seldom::default(),
        })
    }

    /// A place for one more, or why there is none.
    pub fn admit(self: &Arc<Self>, origin: Origin) -> Result<Place, End> {
        let open = self.open.fetch_add(1, Ordering::Relaxed);
        let charge = self.ledger.nothing(Account::Connections);
        let mut place = Place { connections: self.clone(), address: None, charge };
        if open >= self.bounds.connections {
            return Err(End::Full);
        }
        place.charge.grow(OPEN, Room::UnderWay).map_err(|_| End::Memory)?;
        if let Some(most) = self.bounds.of_address
            && let Some(ip) = origin.address()
        {
            let address = address(ip);
            let mut addresses = self.addresses.lock().unwrap_or_else(PoisonError::into_inner);
            let open = addresses.entry(address).or_default();
            if *open >= most {
                drop(addresses);
                return Err(End::Address);
            }
            *open += 1;
            place.address = Some(address);
        }
        Ok(place)
    }

    /// Notes that a connection was not let in, and says so in the log, once in a while.
    pub fn refuse(&self, end: End, origin: Origin) {
        self.count(end);
        let Some(times) = self.refusals.happens() else { return };
        let setting = match end {
            End::Address => "max_address_connections",
            End::Memory => "memory",
            _ => "max_connections",
        };
        tracing::warn!(
            "a connection of {origin} was refused: {} are open ({setting}; {times} times since this was last \
             said)",
            self.open()
        );
    }

    pub fn count(&self, end: End) {
        self.ended[end as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// A reply was given up, as its caller did not take it.
    pub fn count_untaken(&self) {
        self.untaken.fetch_add(1, Ordering::Relaxed);
    }

    /// Those that are open.
    pub fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// How many ended how.
    pub fn ended(&self) -> impl Iterator<Item = (&'static str, u64)> {
        End::ALL
            .map(|end| (end.name(), self.ended[end as usize].load(Ordering::Relaxed)))
            .into_iter()
    }

    pub fn untaken(&self) -> u64 {
        self.untaken.load(Ordering::Relaxed)
    }
}

/// What counts as one address: of IPv6, what one network has, whose owner can take any address in it.
fn address(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(ip) if !ip.is_loopback() => {
            let network = u128::from(ip) & !u128::from(u64::MAX);
            Ipv6Addr::from(network).into()
        }
        ip => ip,
    }
}

/// One connection among those that are open.
#[derive(Debug)]
pub struct Place {
    connections: Arc<Connections>,
    /// Where it is counted by address.
    address: Option<IpAddr>,
    charge: Charge,
}

impl Place {
    /// Takes more, before it has begun.
    pub fn takes(&mut self, bytes: usize) -> Result<(), End> {
        self.charge.grow(bytes, Room::UnderWay).map_err(|_| End::Memory)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Connections { open, addresses, .. } = &*self.connections;
        open.fetch_sub(1, Ordering::Relaxed);
        let Some(address) = self.address else { return };
        let mut addresses = addresses.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(open) = addresses.get_mut(&address) {
            *open -= 1;
            if *open == 0 {
                addresses.remove(&address);
            }
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Bounds that nothing in a test meets.
    pub fn bounds() -> Bounds {
        let long = Duration::from_secs(3600);
        Bounds {
            connections: 1000,
            of_address: None,
            streams: 1000,
            control_frames: 1000,
            resets: 200,
            handshake: long,
            frame: long,
            idle: long,
            keepalive: long,
            keepalive_answer: long,
            reply: long,
        }
    }

    #[test]
    fn places_are_given_back() {
        let bounds = Bounds { connections: 2, ..bounds() };
        let connections = Connections::new(bounds, Arc::default());
        let origin = Origin::UnixSocket;
        let places = [connections.admit(origin).unwrap(), connections.admit(origin).unwrap()];
        assert_eq!(connections.admit(origin).unwrap_err(), End::Full);
        assert_eq!(connections.open(), 2);
        drop(places);
        assert!(connections.admit(origin).is_ok());
        assert_eq!(connections.open(), 0);
    }

    #[test]
    fn a_network_of_ipv6_counts_as_one_address() {
        let bounds = Bounds { of_address: Some(1), ..bounds() };
        let connections = Connections::new(bounds, Arc::default());
        let admit = |ip: &str| connections.admit(Origin::Address(ip.parse().unwrap()));
        let _first = admit("2001:db8::1").unwrap();
        assert_eq!(admit("2001:db8::ffff:1").unwrap_err(), End::Address);
        let _other = admit("2001:db8:0:1::1").unwrap();
        let fourth = admit("192.0.2.1").unwrap();
        assert_eq!(admit("::ffff:192.0.2.1").unwrap_err(), End::Address);
        drop(fourth);
        assert!(admit("192.0.2.1").is_ok());
        assert_eq!(connections.addresses.lock().unwrap().len(), 2, "none is left behind");
    }
}
