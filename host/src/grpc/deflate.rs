//! Replies to callers who compress: compressed as their requests were.

use std::{
    collections::VecDeque,
    io::{self, Write},
    sync::Arc,
};

use bytes::Bytes;
use flate2::{
    Compression,
    write::{GzEncoder, ZlibEncoder},
};
use tokio::sync::Semaphore;
use tonic::Status;

use crate::ledger::Room;

use super::{
    decode::elsewhere,
    encode::{PREFIX, prefix},
    inflate::Encoding,
    reply::Reply,
    status, zstd,
};

/// A shorter message would gain nothing.
const WORTH_IT: usize = 512;
/// As much is compressed on the worker's thread: it takes half a millisecond.
const HERE: usize = 32 << 10;

/// A reply in this encoding, where it is long enough.
pub async fn deflate(
    reply: Reply,
    encoding: Encoding,
    long: &Arc<Semaphore>,
) -> Result<Reply, Status> {
    let bytes: usize = reply.pieces.iter().map(Bytes::len).sum();
    if bytes < PREFIX + WORTH_IT {
        return Ok(reply);
    }
    let Reply { pieces, mut charge, batch, .. } = reply;
    if let Some(charge) = &mut charge {
        // Both are there for a while.
        charge.grow(bytes, Room::UnderWay).map_err(status::no_room)?;
    }
    let compressed = match bytes {
        0..HERE => compressed(pieces, encoding),
        _ => Box::pin(elsewhere(long, move || Ok(compressed(pieces, encoding)))).await?,
    };
    let compressed = compressed.map_err(|e| Status::internal(format!("compressing: {e}")))?;
    if let Some(charge) = &mut charge {
        charge.shrink_to(compressed.len());
    }
    let pieces = VecDeque::from([compressed]);
    Ok(Reply { pieces, charge, batch, encoding: Some(encoding) })
}

/// The message in gRPC's frame, compressed.
fn compressed(pieces: VecDeque<Bytes>, encoding: Encoding) -> io::Result<Bytes> {
    let mut framed = vec![0; PREFIX];
    framed = match encoding {
        Encoding::Gzip => {
            let to = GzEncoder::new(framed, Compression::fast());
            write(pieces, to, GzEncoder::finish)?
        }
        Encoding::Zstd => write(pieces, zstd::encoder(framed)?, zstd::Encoder::finish)?,
        _ => write(pieces, ZlibEncoder::new(framed, Compression::fast()), ZlibEncoder::finish)?,
    };
    let length = framed.len() - PREFIX;
    u32::try_from(length).map_err(io::Error::other)?;
    framed[..PREFIX].copy_from_slice(&prefix(true, length));
    Ok(framed.into())
}

/// Writes what follows the frame's beginning.
fn write<W: Write>(
    pieces: VecDeque<Bytes>,
    mut to: W,
    finish: impl FnOnce(W) -> io::Result<Vec<u8>>,
) -> io::Result<Vec<u8>> {
    let mut skip = PREFIX;
    for mut piece in pieces {
        let message = piece.split_off(skip.min(piece.len()));
        skip -= piece.len();
        to.write_all(&message)?;
    }
    finish(to)
}
