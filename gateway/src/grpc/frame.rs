//! gRPC's framing: messages that begin with a flag (compressed or not) and four bytes of length, in pieces that begin and
//! end anywhere.
//!
//! INVARIANT: no more is held than one message of the largest size and the piece that came last.
//! INVARIANT: a message that came in one piece is shared with it, not copied.

use api::Code;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use prost::Message;

use crate::compress;
use crate::refusal::Refusal;

/// Bytes before a message.
pub(crate) const PREFIX_BYTES: usize = 5;

/// How the client compresses messages that it says are compressed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Encoding {
    /// It does not.
    Identity,
    /// With gzip, and it wants the answers so too.
    Gzip,
    /// With something else.
    Unknown(String),
}

impl Encoding {
    /// The encoding that a header names.
    pub(crate) fn of(name: Option<&http::HeaderValue>) -> Self {
        match name.map(http::HeaderValue::as_bytes) {
            None | Some(b"" | b"identity") => Self::Identity,
            Some(b"gzip") => Self::Gzip,
            Some(other) => Self::Unknown(String::from_utf8_lossy(other).into_owned()),
        }
    }
}

impl Encoding {
    /// Why a call is refused whose messages would be compressed so.
    pub(crate) fn refusal(&self) -> Option<Refusal> {
        let Self::Unknown(name) = self else { return None };
        let text = format!("grpc: Decompressor is not installed for grpc-encoding {name:?}");
        Some(Refusal::new(Code::Unimplemented, text))
    }
}

/// Takes pieces and gives messages.
pub(crate) struct Reader {
    /// What came in one piece and is not read yet.
    have: Bytes,
    /// The beginning of a message that comes in several; `have` is empty then.
    growing: BytesMut,
    /// Bytes without which the next message cannot be had, its prefix counted.
    needed: usize,
    bytes_max: usize,
    encoding: Encoding,
}

impl Reader {
    /// Reads messages of up to `bytes_max` bytes, compressed and not.
    pub(crate) fn new(bytes_max: usize, encoding: Encoding) -> Self {
        Self { have: Bytes::new(), growing: BytesMut::new(), needed: PREFIX_BYTES, bytes_max, encoding }
    }

    /// Takes a piece. Call [`Reader::next`] until it has nothing left first.
    pub(crate) fn push(&mut self, piece: Bytes) {
        if self.have.is_empty() && self.growing.is_empty() {
            self.have = piece;
            return;
        }
        if self.growing.is_empty() {
            self.growing.reserve(self.have.len() + piece.len());
            self.growing.extend_from_slice(&std::mem::take(&mut self.have));
        }
        self.growing.extend_from_slice(&piece);
    }

    /// The next message; `None` when there is no whole one.
    pub(crate) fn next(&mut self) -> Result<Option<Bytes>, Refusal> {
        if !self.growing.is_empty() {
            if self.growing.len() < PREFIX_BYTES {
                return Ok(None);
            }
            // It is refused by its length before it is there.
            self.needed = PREFIX_BYTES + self.length(&self.growing)?;
            if self.growing.len() < self.needed {
                return Ok(None);
            }
            self.have = self.growing.split().freeze();
        }
        if self.have.len() < PREFIX_BYTES {
            return Ok(None);
        }
        self.needed = PREFIX_BYTES + self.length(&self.have)?;
        if self.have.len() < self.needed {
            return Ok(None);
        }
        let compressed = self.have[0] != 0;
        let mut message = self.have.split_to(self.needed);
        message.advance(PREFIX_BYTES);
        if compressed { self.decompress(&message).map(Some) } else { Ok(Some(message)) }
    }

    /// Bytes of a message that is not here to its end.
    pub(crate) fn held(&self) -> usize {
        self.have.len() + self.growing.len()
    }

    /// Whether a message has begun and not ended.
    pub(crate) fn is_torn(&self) -> bool {
        !self.have.is_empty() || !self.growing.is_empty()
    }

    fn length(&self, have: &[u8]) -> Result<usize, Refusal> {
        let Some(&[compressed, a, b, c, d]) = have.first_chunk::<PREFIX_BYTES>() else { return Ok(0) };
        let length = u32::from_be_bytes([a, b, c, d]) as usize;
        if length > self.bytes_max {
            return Err(Refusal::message_too_large(length, self.bytes_max));
        }
        match (compressed, &self.encoding) {
            (0, _) | (1, Encoding::Gzip) => Ok(length),
            (1, encoding) => Err(encoding.refusal().unwrap_or_else(|| {
                Refusal::new(Code::Internal, "grpc: compressed flag set with identity or empty encoding")
            })),
            (flag, _) => {
                let text = format!("grpc: received unexpected payload format {flag}");
                Err(Refusal::new(Code::Internal, text))
            }
        }
    }

    fn decompress(&self, message: &[u8]) -> Result<Bytes, Refusal> {
        let bytes_max = self.bytes_max;
        match compress::gunzip(message, bytes_max) {
            Ok(Some(message)) => Ok(message),
            Ok(None) => {
                let more = bytes_max.saturating_add(1);
                let text = format!(
                    "grpc: received message after decompression larger than max ({more} vs. {bytes_max})"
                );
                Err(Refusal::new(Code::ResourceExhausted, text))
            }
            Err(error) => {
                let text = format!("grpc: failed to decompress the received message: {error}");
                Err(Refusal::new(Code::Internal, text))
            }
        }
    }
}

/// Appends a message with its prefix.
pub(crate) fn put(out: &mut BytesMut, message: &impl Message, gzip: bool) {
    let length = message.encoded_len();
    if gzip {
        return put_compressed(out, &message.encode_to_vec());
    }
    out.reserve(PREFIX_BYTES + length);
    put_prefix(out, length);
    message.encode_raw(out);
}

/// Appends the prefix of a message that is not compressed.
pub(crate) fn put_prefix(out: &mut BytesMut, length: usize) {
    out.put_u8(0);
    // Answers above 4 GiB cannot be told in gRPC; nothing here holds that much.
    out.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
}

/// Appends an encoded message, compressed, with its prefix.
pub(crate) fn put_compressed(out: &mut BytesMut, message: &[u8]) {
    let compressed = compress::gzip(message);
    out.put_u8(1);
    out.put_u32(u32::try_from(compressed.len()).unwrap_or(u32::MAX));
    out.extend_from_slice(&compressed);
}

#[cfg(test)]
#[path = "frame_tests.rs"]
mod tests;
