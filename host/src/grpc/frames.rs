//! The headers of the HTTP/2 frames that a connection sends, as they pass: how fast frames come that are no
//! part of a call, how long a frame or a call's headers take, and how large frames are. The library reads
//! the frames themselves; it does not bound these.

use std::time::Instant;

use crate::ledger::{Account, Charge, Room};

use super::{
    authority::Authority,
    connections::End,
    peer::{Arriving, Peer},
};

const PREFACE: u32 = 24;
const HEADER: usize = 9;

/// The buffer for frames that every connection has in any case.
const FREE: usize = 16 << 10;
/// What a connection takes from its first call on: the buffer for frames, and what a few calls are let in with
/// that are not charged themselves (see `peer`).
const CALLS: usize = 48 << 10;
/// What HTTP/2 takes for a call and for a frame in its tables, and what is in `CALLS` of that.
const TABLE_CALL: usize = 512;
const TABLE_FRAME: usize = 320;
const FREE_TABLES: usize = 8 << 10;
/// What a call's headers take whose frames have not all come, at most: the library makes fields of those that
/// have, and a field of a few bytes takes 140.
const BLOCK: usize = 640 << 10;
/// The buffer's charge grows by steps.
const STEP: usize = 32 << 10;
/// A frame of data with less is as good as empty, unless it is the last one.
const EMPTY: u32 = 64;
/// Frames beside its data that a call may need: its windows, a ping that measures the way, its end.
const FOR_CALL: u32 = 4;
/// Bytes sent for which a caller may send a frame more: a window.
const FOR_BYTES: usize = 1 << 10;
/// What may come at once, in seconds of the rate.
const BURST: u32 = 10;

mod kind {
    pub const DATA: u8 = 0;
    pub const HEADERS: u8 = 1;
    pub const RST_STREAM: u8 = 3;
    pub const SETTINGS: u8 = 4;
    pub const PING: u8 = 6;
    pub const CONTINUATION: u8 = 9;
}

mod flag {
    /// Of data and headers.
    pub const END_STREAM: u8 = 1;
    /// Of settings and pings.
    pub const ACK: u8 = 1;
    /// Of headers and continuations.
    pub const END_HEADERS: u8 = 4;
}

/// How many frames may come, at a rate and in bursts.
#[derive(Debug)]
struct Bucket {
    left: u32,
    rate: u32,
    /// When it was last filled.
    filled: Instant,
}

impl Bucket {
    fn new(rate: u32) -> Self {
        Self { left: rate.saturating_mul(BURST), rate, filled: Instant::now() }
    }

    fn add(&mut self, frames: u32) {
        self.left = self.left.saturating_add(frames).min(self.rate.saturating_mul(BURST));
    }

    /// Whether one more may come. The clock is looked at only when none is left.
    fn take(&mut self) -> bool {
        if self.left == 0 {
            let now = Instant::now();
            let earned = f64::from(self.rate) * (now - self.filled).as_secs_f64();
            if earned >= 1.0 {
                self.add(earned as u32);
                self.filled = now;
            }
        }
        let some = self.left > 0;
        self.left = self.left.saturating_sub(1);
        some
    }
}

/// Where in the stream of frames the next byte is.
#[derive(Debug)]
enum At {
    /// Bytes of the preface that are left.
    Preface(u32),
    /// Bytes of a frame's header that have come.
    Header(usize),
    /// Bytes of a frame that are left.
    Payload(u32),
}

/// Follows a connection's frames.
#[derive(Debug)]
pub struct Meter {
    at: At,
    /// The header of the frame that comes, as far as it has come.
    header: [u8; HEADER],
    /// A call's headers go on in the next frame.
    in_headers: bool,
    /// The first settings have come.
    begun: bool,
    /// What the connection was last told.
    told: Arriving,
    control: Bucket,
    resets: Bucket,
    /// Bytes sent that have not earned a frame yet.
    sent: usize,
    /// Calls that were begun, and frames of calls, since the connection's task was last run.
    begun_calls: usize,
    frames: usize,
    /// What HTTP/2's tables of calls and of their frames take. They grow and never shrink.
    tables: Charge,
    /// What the connection takes from its first call on.
    calls: Charge,
    has_called: bool,
    /// For a call's headers whose frames have not all come.
    block: Charge,
    /// Of the call whose headers come.
    authority: Authority,
    /// The library's buffer for frames, as large as the largest of those that followed each other.
    buffer: Option<Charge>,
}

impl Meter {
    pub fn new(peer: &Peer) -> Self {
        let bounds = &peer.connections.bounds;
        Self {
            at: At::Preface(PREFACE),
            header: [0; HEADER],
            in_headers: false,
            begun: false,
            told: peer.arriving(),
            control: Bucket::new(bounds.control_frames),
            resets: Bucket::new(bounds.resets),
            sent: 0,
            begun_calls: 0,
            frames: 0,
            tables: peer.connections.ledger.nothing(Account::Connections),
            calls: peer.connections.ledger.nothing(Account::Connections),
            has_called: false,
            block: peer.connections.ledger.nothing(Account::Connections),
            authority: Authority::default(),
            buffer: None,
        }
    }

    /// Follows the bytes that have come, and mends them where the library would not understand them. An error
    /// ends the connection.
    pub fn read(&mut self, mut bytes: &mut [u8], peer: &Peer) -> Result<(), End> {
        // Whether the frame that is not whole at the end began with these bytes.
        let mut anew = false;
        while !bytes.is_empty() {
            match &mut self.at {
                At::Preface(left) => {
                    let some = bytes.len().min(*left as usize);
                    *left -= some as u32;
                    bytes = &mut bytes[some..];
                    if *left == 0 {
                        self.at = At::Header(0);
                    }
                }
                At::Header(have) => {
                    anew |= *have == 0;
                    let some = bytes.len().min(HEADER - *have);
                    self.header[*have..*have + some].copy_from_slice(&bytes[..some]);
                    *have += some;
                    bytes = &mut bytes[some..];
                    if *have == HEADER {
                        self.begins(peer)?;
                        self.at = At::Payload(self.length());
                        self.ends_if_whole(peer)?;
                    }
                }
                At::Payload(left) => {
                    let some = bytes.len().min(*left as usize);
                    *left -= some as u32;
                    let (payload, rest) = bytes.split_at_mut(some);
                    bytes = rest;
                    if matches!(self.header[3], kind::HEADERS | kind::CONTINUATION) {
                        self.authority.mend(payload);
                    }
                    self.ends_if_whole(peer)?;
                }
            }
        }
        match self.at {
            At::Payload(left) => self.holds((self.length() - left) as usize, peer),
            // The library takes another buffer when a large one is of no more use.
            At::Header(0) if self.length() as usize <= FREE => self.buffer = None,
            _ => {}
        }
        self.tell(anew, peer);
        self.charge_tables(peer);
        Ok(())
    }

    /// The connection's task runs again: its calls have had their turn.
    pub fn runs(&mut self) {
        self.begun_calls = 0;
        self.frames = 0;
    }

    /// Frames of calls that came since then.
    pub fn frames(&self) -> usize {
        self.frames
    }

    /// Bytes of the frame that comes, as far as is known.
    pub fn missing(&self) -> usize {
        match self.at {
            At::Payload(left) => left as usize,
            At::Preface(_) | At::Header(_) => 0,
        }
    }

    /// Notes how large HTTP/2's tables may have become: it has the frames that came, and keeps a call until
    /// it is answered.
    fn charge_tables(&mut self, peer: &Peer) {
        let calls = (self.begun_calls + peer.underway()).next_power_of_two();
        let frames = self.frames.next_power_of_two();
        let bytes = (calls * TABLE_CALL + frames * TABLE_FRAME).saturating_sub(FREE_TABLES);
        if bytes > self.tables.bytes() {
            self.tables.add(bytes - self.tables.bytes());
        }
    }

    /// Bytes were sent: for these the caller may send frames, too.
    pub fn wrote(&mut self, bytes: usize) {
        self.sent += bytes;
        if self.sent >= FOR_BYTES {
            self.control.add((self.sent / FOR_BYTES) as u32);
            self.sent %= FOR_BYTES;
        }
    }

    fn length(&self) -> u32 {
        let [high, middle, low, ..] = self.header;
        u32::from_be_bytes([0, high, middle, low])
    }

    /// The header of a frame has come.
    fn begins(&mut self, peer: &Peer) -> Result<(), End> {
        let [.., kind, flags, _, _, _, _] = self.header;
        if kind == kind::DATA {
            self.frames += 1;
        }
        match kind {
            kind::HEADERS => {
                self.control.add(FOR_CALL);
                self.begun_calls += 1;
                self.frames += 1;
                self.has_called = true;
                self.authority.begins();
                self.in_headers = flags & flag::END_HEADERS == 0;
                return Ok(());
            }
            kind::DATA if self.length() >= EMPTY || flags & flag::END_STREAM != 0 => return Ok(()),
            // Answers to what was asked of it.
            kind::SETTINGS | kind::PING if flags & flag::ACK != 0 => return Ok(()),
            kind::CONTINUATION => self.in_headers &= flags & flag::END_HEADERS == 0,
            kind::RST_STREAM if !self.resets.take() => {
                // Whoever also waits for answers has earned more.
                self.resets.add(peer.take_answered());
                if !self.resets.take() {
                    return Err(End::Resets);
                }
            }
            _ => {}
        }
        if self.control.take() { Ok(()) } else { Err(End::Flood) }
    }

    /// Looks whether the frame is whole.
    fn ends_if_whole(&mut self, peer: &Peer) -> Result<(), End> {
        if !matches!(self.at, At::Payload(0)) {
            return Ok(());
        }
        self.holds(self.length() as usize, peer);
        if !self.begun && self.header[3] == kind::SETTINGS {
            self.begun = true;
            peer.begins();
        }
        self.at = At::Header(0);
        Ok(())
    }

    /// Whether there is room for what comes next, as far as is known. If not it is to be left unread for a
    /// while: what has come of the frame is charged, and there is one more for each worker at most that was
    /// let in with the same room.
    pub fn has_room(&mut self, peer: &Peer) -> bool {
        if self.has_called
            && self.calls.bytes() == 0
            && self.calls.grow(CALLS, Room::UnderWay).is_err()
        {
            return false;
        }
        match self.in_headers {
            true if self.block.bytes() == 0 && self.block.grow(BLOCK, Room::UnderWay).is_err() => {
                return false;
            }
            false => self.block.shrink_to(0),
            true => {}
        }
        match self.at {
            At::Payload(_) if self.length() as usize > FREE => {
                let more = (self.length() as usize).saturating_sub(self.charged());
                more == 0 || peer.connections.ledger.has_room(more, Room::New)
            }
            _ => true,
        }
    }

    /// Bytes of a frame that are charged, or need not be.
    fn charged(&self) -> usize {
        FREE + self.buffer.as_ref().map_or(0, Charge::bytes)
    }

    /// Notes how many bytes of a frame have come.
    fn holds(&mut self, bytes: usize, peer: &Peer) {
        let charged = self.charged();
        if bytes <= charged {
            return;
        }
        let ledger = &peer.connections.ledger;
        let charge = self.buffer.get_or_insert_with(|| ledger.nothing(Account::Messages));
        charge.add((bytes - charged).next_multiple_of(STEP));
    }

    /// Tells the connection what arrives.
    fn tell(&mut self, anew: bool, peer: &Peer) {
        let whole = matches!(self.at, At::Header(0)) && !self.in_headers;
        let headers = !self.begun || self.in_headers || self.header[3] == kind::HEADERS;
        let arriving = match self.told {
            // The first bytes have one time, together.
            told @ Arriving::Headers(_) if !self.begun => told,
            Arriving::Nothing if whole => return,
            _ if whole => Arriving::Nothing,
            // So have a call's headers, in however many frames they come.
            told @ Arriving::Headers(_) if headers && (!anew || self.in_headers) => told,
            told @ Arriving::Frame(_) if !headers && !anew => told,
            _ if headers => Arriving::Headers(Instant::now()),
            _ => Arriving::Frame(Instant::now()),
        };
        if arriving != self.told {
            self.told = arriving;
            peer.arrives(arriving);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, thread::sleep, time::Duration};

    use super::*;
    use crate::grpc::peer::tests::peer;

    const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

    fn frame(kind: u8, flags: u8, length: usize) -> Vec<u8> {
        let length_bytes = (length as u32).to_be_bytes();
        let mut frame = length_bytes[1..].to_vec();
        frame.extend([kind, flags, 0, 0, 0, 1]);
        frame.extend(vec![0; length]);
        frame
    }

    impl Meter {
        fn reads(&mut self, bytes: &[u8], peer: &Peer) -> Result<(), End> {
            self.read(&mut bytes.to_vec(), peer)
        }
    }

    /// A connection whose beginning has come.
    fn begun() -> (Arc<Peer>, Meter) {
        let peer = peer();
        let mut meter = Meter::new(&peer);
        meter.reads(&[PREFACE, &frame(kind::SETTINGS, 0, 6)].concat(), &peer).unwrap();
        assert_eq!(peer.arriving(), Arriving::Nothing);
        (peer, meter)
    }

    /// How many of these frames come through.
    fn through(meter: &mut Meter, peer: &Peer, frame: &[u8]) -> (usize, Option<End>) {
        let most = 100_000;
        let failed = (0..most).find_map(|n| Some((n, meter.reads(frame, peer).err()?)));
        failed.map_or((most, None), |(n, end)| (n, Some(end)))
    }

    #[test]
    fn the_beginning_has_one_time_however_it_comes() {
        let peer = peer();
        let began = peer.arriving();
        let mut meter = Meter::new(&peer);
        let bytes = [PREFACE, &frame(kind::SETTINGS, 0, 6)].concat();
        for byte in &bytes[..bytes.len() - 1] {
            meter.reads(&[*byte], &peer).unwrap();
            assert_eq!(peer.arriving(), began);
        }
        meter.reads(&bytes[bytes.len() - 1..], &peer).unwrap();
        assert_eq!(peer.arriving(), Arriving::Nothing);
    }

    #[test]
    fn headers_have_one_time_in_however_many_frames() {
        let (peer, mut meter) = begun();
        meter.reads(&frame(kind::HEADERS, 0, 10), &peer).unwrap();
        let began = peer.arriving();
        assert!(matches!(began, Arriving::Headers(_)));
        for _ in 0..3 {
            sleep(Duration::from_millis(2));
            meter.reads(&frame(kind::CONTINUATION, 0, 10), &peer).unwrap();
            assert_eq!(peer.arriving(), began);
        }
        meter.reads(&frame(kind::CONTINUATION, flag::END_HEADERS, 10), &peer).unwrap();
        assert_eq!(peer.arriving(), Arriving::Nothing);
    }

    #[test]
    fn each_frame_of_data_has_its_time() {
        let (peer, mut meter) = begun();
        let data = frame(kind::DATA, 0, 1000);
        let mut last = Arriving::Nothing;
        meter.reads(&data[..500], &peer).unwrap();
        for _ in 0..3 {
            let began = peer.arriving();
            assert!(matches!(began, Arriving::Frame(_)) && began != last, "{began:?}");
            last = began;
            meter.reads(&data[500..600], &peer).unwrap();
            assert_eq!(peer.arriving(), began);
            sleep(Duration::from_millis(2));
            meter.reads(&[&data[600..], &data[..500]].concat(), &peer).unwrap();
        }
        meter.reads(&data[500..], &peer).unwrap();
        assert_eq!(peer.arriving(), Arriving::Nothing);
    }

    #[test]
    fn floods_are_seen() {
        for (kind, flags, length) in [
            (kind::PING, 0, 8),
            (kind::SETTINGS, 0, 0),
            (kind::DATA, 0, 0),
            (kind::DATA, 0, 10),
            (kind::CONTINUATION, 0, 0),
            (2, 0, 5),
            (8, 0, 4),
            (100, 0, 0),
        ] {
            let (peer, mut meter) = begun();
            let (n, end) = through(&mut meter, &peer, &frame(kind, flags, length));
            assert_eq!(end, Some(End::Flood), "{kind}");
            assert!((9_000..20_000).contains(&n), "{kind}: {n}");
        }
    }

    #[test]
    fn calls_earn_what_they_need() {
        let (peer, mut meter) = begun();
        let call = [
            frame(kind::HEADERS, flag::END_HEADERS, 50),
            frame(kind::DATA, flag::END_STREAM, 5),
            frame(8, 0, 4),
            frame(8, 0, 4),
            frame(kind::PING, 0, 8),
            frame(kind::PING, flag::ACK, 8),
        ];
        assert_eq!(through(&mut meter, &peer, &call.concat()), (100_000, None));
        // A window for each kilobyte that was sent.
        for _ in 0..100_000 {
            meter.wrote(1 << 10);
            meter.reads(&frame(8, 0, 4), &peer).unwrap();
        }
    }

    #[test]
    fn rapid_resets_are_seen() {
        let call = [frame(kind::HEADERS, flag::END_HEADERS, 50), frame(kind::RST_STREAM, 0, 4)];
        let (peer, mut meter) = begun();
        let (n, end) = through(&mut meter, &peer, &call.concat());
        assert_eq!(end, Some(End::Resets));
        assert!((1_900..4_000).contains(&n), "{n}");
        // Who is answered as often as not may go on.
        let (peer, mut meter) = begun();
        for _ in 0..100_000 {
            peer.call().answered();
            meter.reads(&call.concat(), &peer).unwrap();
        }
    }

    #[test]
    fn large_frames_wait_for_room() {
        let (peer, mut meter) = begun();
        let ledger = &peer.connections.ledger;
        let others = ledger.count(Account::Guests, ledger.limit() - (128 << 10));
        assert!(meter.has_room(&peer), "its frames are small so far");
        let data = frame(kind::DATA, 0, 256 << 10);
        meter.reads(&data[..HEADER], &peer).unwrap();
        assert!(!meter.has_room(&peer));
        drop(others);
        assert!(meter.has_room(&peer));
        meter.reads(&data[HEADER..], &peer).unwrap();
        let _others = ledger.count(Account::Guests, ledger.limit());
        meter.reads(&data[..HEADER], &peer).unwrap();
        assert!(meter.has_room(&peer), "the buffer is there");
    }

    #[test]
    fn large_frames_are_charged_as_they_come() {
        let (peer, mut meter) = begun();
        let ledger = &peer.connections.ledger;
        let data = frame(kind::DATA, 0, 256 << 10);
        meter.reads(&data[..1000], &peer).unwrap();
        assert_eq!(ledger.used(), 0, "an announced length is no memory");
        meter.reads(&data[1000..100_000], &peer).unwrap();
        assert_eq!(ledger.used(), 96 << 10);
        meter.reads(&data[100_000..], &peer).unwrap();
        assert_eq!(ledger.used(), 256 << 10);
        meter.reads(&data, &peer).unwrap();
        assert_eq!(ledger.used(), 256 << 10, "the buffer is the same");
        meter.reads(&frame(kind::PING, 0, 8), &peer).unwrap();
        assert_eq!(ledger.used(), 0);
        meter.reads(&data[..data.len() - 1], &peer).unwrap();
        assert_eq!(ledger.used(), 256 << 10);
        drop(meter);
        assert_eq!(ledger.used(), 0);
    }
}
