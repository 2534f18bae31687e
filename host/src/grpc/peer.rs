//! One connection as its parts see it: the bytes that come and go, its calls, their replies, and the times
//! that it is held to.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use http::HeaderMap;
use tokio::sync::OwnedSemaphorePermit;
use tonic::Status;

use crate::ledger::{Account, Charge, Room};

use super::{
    connections::{Connections, End},
    origin::Origin,
    status,
};

/// Bytes that a connection may have under way to its caller without a charge: a few small replies, which are
/// gone at once, do without the ledger.
const FREE: usize = 16 << 10;
/// What a part of a reply takes in HTTP/2 beside its bytes: its stream, its frames, their fields.
const PART: usize = 2 << 10;

/// Parts of replies that may wait for a caller who takes none, before nothing more is read of its calls.
const MOST_PARTS: u32 = 64;

/// What a call takes beside its message: its task, its state in HTTP/2 and in the services.
const CALL: usize = 8 << 10;
/// Calls of a connection at a time that are not charged for that, and bytes of headers: most have no more.
const FREE_CALLS: usize = 4;
const FREE_HEADERS: usize = 4 << 10;

/// What is arriving, and since when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arriving {
    Nothing,
    /// The connection's first bytes, or a call's headers.
    Headers(Instant),
    /// Another frame.
    Frame(Instant),
}

/// All that is known of a connection. It lives as long as the longest-lived of its parts.
#[derive(Debug)]
pub struct Peer {
    pub connections: Arc<Connections>,
    pub origin: Origin,
    opened: Instant,
    /// Calls that have not ended.
    calls: AtomicUsize,
    /// When the last of them ended, in milliseconds from the beginning.
    last_call: AtomicU64,
    /// Calls that were answered to their end since somebody asked.
    answered: AtomicU32,
    /// Its first bytes have come.
    begun: AtomicBool,
    /// What arrives: 0 for nothing, else the milliseconds until then, doubled, 1 for headers, and 2.
    arriving: AtomicU64,
    /// Bytes of replies that HTTP/2 has taken and the socket has not, and what it keeps beside them.
    unsent: AtomicUsize,
    /// How many parts of replies these are: those that were there at the last turn, and those that came
    /// after it; which of both is which changes with each turn.
    parts: [AtomicU32; 2],
    turn: AtomicU8,
    /// Bytes read since the connection's task was last run.
    read: AtomicUsize,
    /// Why the connection ends, as its bytes have it.
    end: OnceLock<End>,
}

impl Peer {
    pub fn new(connections: Arc<Connections>, origin: Origin) -> Arc<Self> {
        let peer = Self {
            connections,
            origin,
            opened: Instant::now(),
            calls: AtomicUsize::new(0),
            last_call: AtomicU64::new(0),
            answered: AtomicU32::new(0),
            begun: AtomicBool::new(false),
            arriving: AtomicU64::new(0),
            unsent: AtomicUsize::new(0),
            parts: Default::default(),
            turn: AtomicU8::new(0),
            read: AtomicUsize::new(0),
            end: OnceLock::new(),
        };
        peer.arrives(Arriving::Headers(peer.opened));
        Arc::new(peer)
    }

    fn since(&self, at: Instant) -> u64 {
        at.saturating_duration_since(self.opened).as_millis() as u64
    }

    /// One more call, until what is returned is gone.
    pub fn call(self: &Arc<Self>) -> PeerCall {
        let before = self.calls.fetch_add(1, Relaxed);
        PeerCall { peer: self.clone(), before, _charge: None, _reflection: None }
    }

    pub fn calls(&self) -> usize {
        self.calls.load(Relaxed)
    }

    /// Calls that HTTP/2 has: those that have not ended, and those whose answer the socket has not taken.
    pub fn underway(&self) -> usize {
        self.calls() + self.parts() as usize
    }

    /// When the last call ended, or the connection began.
    pub fn idle_since(&self) -> Instant {
        self.opened + Duration::from_millis(self.last_call.load(Relaxed))
    }

    /// How many calls were answered since this was last asked.
    pub fn take_answered(&self) -> u32 {
        self.answered.swap(0, Relaxed)
    }

    /// Notes that the first bytes have come.
    pub fn begins(&self) {
        self.begun.store(true, Relaxed);
    }

    pub fn has_begun(&self) -> bool {
        self.begun.load(Relaxed)
    }

    /// Notes what arrives.
    pub fn arrives(&self, what: Arriving) {
        let noted = match what {
            Arriving::Nothing => 0,
            Arriving::Headers(since) => 2 * self.since(since) + 3,
            Arriving::Frame(since) => 2 * self.since(since) + 2,
        };
        self.arriving.store(noted, Relaxed);
    }

    pub fn arriving(&self) -> Arriving {
        let noted = self.arriving.load(Relaxed);
        let Some(noted) = noted.checked_sub(2) else { return Arriving::Nothing };
        let since = self.opened + Duration::from_millis(noted / 2);
        if noted % 2 == 1 { Arriving::Headers(since) } else { Arriving::Frame(since) }
    }

    /// Notes why the connection ends.
    pub fn ends(&self, end: End) {
        let _ = self.end.set(end);
    }

    pub fn end(&self) -> Option<End> {
        self.end.get().copied()
    }

    /// The connection's task runs again.
    pub fn runs(&self) {
        self.read.store(0, Relaxed);
    }

    /// Notes bytes that were read, and gives those since the connection's task was last run.
    pub fn reads(&self, bytes: usize) -> usize {
        let before = self.read.load(Relaxed);
        self.read.store(before + bytes, Relaxed);
        before
    }

    /// Notes a part of a reply that HTTP/2 gets, until what is returned is gone. `bytes` are those that
    /// have no charge; these and what the part takes are charged where there are many.
    pub fn sends(self: &Arc<Self>, bytes: usize) -> Unsent {
        let bytes = PART + bytes;
        let before = self.unsent.fetch_add(bytes, Relaxed);
        let turn = self.turn.load(Relaxed);
        self.parts[usize::from(turn)].fetch_add(1, Relaxed);
        let charge = (before + bytes > FREE)
            // They are there already.
            .then(|| self.connections.ledger.count(Account::Replies, bytes));
        Unsent { peer: self.clone(), bytes, turn, _charge: charge }
    }

    /// Bytes of parts of replies that the socket has not taken.
    fn unsent(&self) -> usize {
        self.unsent.load(Relaxed)
    }

    /// Whether too many parts wait for there to be more while the socket takes none. Where memory might become
    /// short, a few are too many.
    pub fn has_enough_to_send(&self) -> bool {
        self.unsent() > FREE
            && (self.parts() >= MOST_PARTS || self.connections.ledger.is_half_full())
    }

    fn parts(&self) -> u32 {
        self.parts.iter().map(|parts| parts.load(Relaxed)).sum()
    }

    /// Whether anything has a time to keep.
    pub fn is_watched(&self) -> bool {
        self.arriving.load(Relaxed) != 0 || self.is_sending()
    }

    pub fn is_sending(&self) -> bool {
        self.parts() > 0
    }

    /// Begins another turn. Whether a part of a reply has been there since before the last one.
    pub fn next_turn(&self) -> bool {
        let next = 1 - self.turn.load(Relaxed);
        self.turn.store(next, Relaxed);
        self.parts[usize::from(next)].load(Relaxed) > 0
    }
}

/// A call of a connection, with what it holds beside its message.
#[derive(Debug)]
pub struct PeerCall {
    peer: Arc<Peer>,
    /// Calls that the connection had already.
    before: usize,
    _charge: Option<Charge>,
    _reflection: Option<OwnedSemaphorePermit>,
}

impl PeerCall {
    pub fn peer(&self) -> &Arc<Peer> {
        &self.peer
    }

    /// Makes room for a call of these headers, or says why there is none.
    pub fn admit(&mut self, path: &str, headers: &HeaderMap) -> Result<(), Status> {
        let Connections { ledger, reflections, .. } = &*self.peer.connections;
        if path.starts_with("/grpc.reflection.") {
            let permit = reflections.clone().try_acquire_owned();
            let many = |_| Status::resource_exhausted("too many calls of reflection are under way");
            self._reflection = Some(permit.map_err(many)?);
        }
        let bytes = headers.iter().map(|(name, value)| name.as_str().len() + value.len());
        let bytes: usize = bytes.sum();
        let takes_replies = self.peer.unsent() <= FREE;
        if !takes_replies && ledger.used() > ledger.for_new_work() {
            // Replies that wait for their caller leave room for others.
            return Err(status::no_room(ledger.refuse(Account::Replies, CALL + bytes)));
        }
        if self.before >= FREE_CALLS || bytes > FREE_HEADERS || !takes_replies {
            let charge = ledger.charge(Account::Messages, CALL + bytes, Room::Little);
            self._charge = Some(charge.map_err(status::no_room)?);
        }
        Ok(())
    }

    /// It has been answered to its end.
    pub fn answered(&self) {
        self.peer.answered.fetch_add(1, Relaxed);
    }
}

impl Drop for PeerCall {
    fn drop(&mut self) {
        if self.peer.calls.fetch_sub(1, Relaxed) == 1 {
            self.peer.last_call.store(self.peer.since(Instant::now()), Relaxed);
        }
    }
}

/// A part of a reply that the socket has not taken.
#[derive(Debug)]
pub struct Unsent {
    peer: Arc<Peer>,
    bytes: usize,
    turn: u8,
    _charge: Option<Charge>,
}

impl Drop for Unsent {
    fn drop(&mut self) {
        self.peer.unsent.fetch_sub(self.bytes, Relaxed);
        self.peer.parts[usize::from(self.turn)].fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::connections::tests::bounds;
    use super::*;

    pub fn peer() -> Arc<Peer> {
        let connections = Connections::new(bounds(), crate::ledger::Ledger::new(1 << 30));
        Peer::new(connections, Origin::UnixSocket)
    }

    #[test]
    fn what_arrives_is_remembered() {
        let peer = peer();
        assert!(matches!(peer.arriving(), Arriving::Headers(_)), "the first bytes");
        peer.arrives(Arriving::Frame(peer.opened + Duration::from_millis(1234)));
        let since = peer.opened + Duration::from_millis(1234);
        assert_eq!(peer.arriving(), Arriving::Frame(since));
        peer.arrives(Arriving::Nothing);
        assert_eq!(peer.arriving(), Arriving::Nothing);
    }

    #[test]
    fn parts_that_stay_for_a_whole_turn_are_seen() {
        let peer = peer();
        let stays = peer.sends(100);
        assert!(!peer.next_turn(), "it came after the last turn");
        drop(peer.sends(100));
        assert!(peer.next_turn());
        drop(stays);
        assert!(!peer.is_sending());
        let _another = peer.sends(100);
        assert!(!peer.next_turn());
    }

    #[test]
    fn many_small_parts_are_charged() {
        let peer = peer();
        let parts: Vec<_> = (0..20).map(|_| peer.sends(1000)).collect();
        let charged = peer.connections.ledger.used_for(Account::Replies);
        assert_eq!(charged, 15 * (PART + 1000), "all but five");
        drop(parts);
        assert_eq!(peer.connections.ledger.used(), 0);
    }
}
