//! Messages that callers have compressed. What they become is charged as it comes, and bounded as any
//! message is.

use std::{
    io::{self, Read},
    sync::Arc,
};

use bytes::{Buf, Bytes};
use flate2::read::{MultiGzDecoder, ZlibDecoder};
use http::HeaderValue;
use tokio::sync::Semaphore;
use tonic::Status;

use crate::ledger::{Account, Charge, Ledger, NoRoom, Room};

use super::{
    decode::{Raw, elsewhere},
    error_details, status, zstd,
};

/// What callers may use, as replies say it.
pub const ACCEPTED: HeaderValue = HeaderValue::from_static("identity,gzip,deflate,zstd");

/// As much is inflated on the worker's thread.
const HERE: usize = 256 << 10;
/// As much is inflated at once.
const STEP: usize = 64 << 10;

/// How a message is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    Identity,
    Gzip,
    /// With zlib's header, as gRPC has it.
    Deflate,
    Zstd,
    /// Not taken.
    Unknown,
}

impl Encoding {
    pub fn of(name: &HeaderValue) -> Self {
        match name.as_bytes() {
            b"identity" => Self::Identity,
            b"gzip" => Self::Gzip,
            b"deflate" => Self::Deflate,
            b"zstd" => Self::Zstd,
            _ => Self::Unknown,
        }
    }

    /// Whether a message in it is another one than without.
    pub fn compresses(self) -> bool {
        matches!(self, Self::Gzip | Self::Deflate | Self::Zstd)
    }

    /// As a reply's header says it.
    pub fn name(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::Gzip => "gzip",
            Self::Deflate => "deflate",
            Self::Zstd => "zstd",
            Self::Identity | Self::Unknown => "identity",
        })
    }
}

/// A message on its way out of its compressed form.
struct Inflate {
    from: Box<dyn Read + Send>,
    to: Vec<u8>,
    /// For what has come so far.
    charge: Charge,
    /// For the compressed bytes.
    compressed: Option<Charge>,
    /// For what the decoder takes.
    _decoder: Charge,
    /// Bytes of a message.
    limit: usize,
}

/// Inflates a message; elsewhere, where it becomes large.
pub async fn inflate(
    raw: Raw,
    encoding: Encoding,
    limit: usize,
    ledger: &Arc<Ledger>,
    long: &Arc<Semaphore>,
) -> Result<Raw, Status> {
    let (from, compressed) = match raw {
        // It may wait for its turn, and must not keep what it was read with.
        Raw::Frame(bytes) => (Bytes::from(bytes.to_vec()), None),
        Raw::Own { bytes, charge } => (bytes.into(), Some(charge)),
    };
    let mut decoder = ledger.nothing(Account::Messages);
    let from: Box<dyn Read + Send> = match encoding {
        Encoding::Zstd => {
            let bytes = zstd::memory(&from)?;
            decoder.grow(bytes, Room::New).map_err(status::no_room)?;
            Box::new(zstd::Decoder::new(from).map_err(unreadable)?)
        }
        Encoding::Gzip => Box::new(MultiGzDecoder::new(from.reader())),
        Encoding::Deflate => Box::new(ZlibDecoder::new(from.reader())),
        Encoding::Identity | Encoding::Unknown => Box::new(from.reader()),
    };
    let charge = ledger.nothing(Account::Messages);
    let mut message =
        Inflate { from, to: Vec::new(), charge, compressed, _decoder: decoder, limit };
    if !message.go_on(HERE)? {
        let work = move || {
            message.go_on(usize::MAX)?;
            Ok(message)
        };
        message = elsewhere(long, work).await?;
    }
    drop(message.compressed);
    Ok(Raw::Own { bytes: message.to, charge: message.charge })
}

fn unreadable(error: io::Error) -> Status {
    Status::invalid_argument(format!("the compressed message cannot be read: {error}"))
}

impl Inflate {
    /// Goes on until there are about `until` bytes. Whether that is all.
    fn go_on(&mut self, until: usize) -> Result<bool, Status> {
        while self.to.len() < until {
            let before = self.to.len();
            // One more shows that it is too large.
            let step = STEP.min(self.limit.saturating_add(1) - before);
            let room = self.to.try_reserve(step);
            room.map_err(|_| status::no_room(NoRoom { bytes: step }))?;
            self.to.resize(before + step, 0);
            let read = self.from.read(&mut self.to[before..]).map_err(unreadable)?;
            self.to.truncate(before + read);
            if read == 0 {
                return Ok(true);
            }
            self.charge.grow(read, Room::New).map_err(status::no_room)?;
            if self.to.len() > self.limit {
                return Err(error_details::too_large("request", self.limit));
            }
        }
        Ok(false)
    }
}
