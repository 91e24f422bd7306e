//! What both kinds of HTTP/2 connection share: the names of the protocol, and frames cut out of bytes.

use std::hash::Hasher;

use bytes::{BufMut as _, BytesMut};

use super::Broken;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
pub(super) const FRAME_HEAD_BYTES: usize = 9;
pub(super) const WINDOW_BYTES_MAX: u32 = (1 << 31) - 1;
/// The window that every connection and stream has before anybody says otherwise.
pub(super) const WINDOW_BYTES_INITIAL: u32 = 65_535;
/// The largest frame that we let the server send: the default, as most clients leave it.
pub(super) const FRAME_BYTES_MAX: usize = 16_384;

pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const RST_STREAM: u8 = 3;
pub(super) const SETTINGS: u8 = 4;
pub(super) const PUSH_PROMISE: u8 = 5;
pub(super) const PING: u8 = 6;
pub(super) const GOAWAY: u8 = 7;
pub(super) const WINDOW_UPDATE: u8 = 8;
pub(super) const CONTINUATION: u8 = 9;

pub(super) const END_STREAM: u8 = 0x1;
pub(super) const ACK: u8 = 0x1;
pub(super) const END_HEADERS: u8 = 0x4;
const PADDED: u8 = 0x8;
const PRIORITY: u8 = 0x20;

pub(super) const HEADER_TABLE_SIZE: u16 = 1;
pub(super) const ENABLE_PUSH: u16 = 2;
pub(super) const MAX_CONCURRENT_STREAMS: u16 = 3;
pub(super) const INITIAL_WINDOW_SIZE: u16 = 4;
pub(super) const MAX_FRAME_SIZE: u16 = 5;

/// Stream ids are small odd numbers; a multiplication spreads them well enough.
#[derive(Default)]
pub(super) struct StreamHasher(u64);

impl Hasher for StreamHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u32(u32::from(byte));
        }
    }

    fn write_u32(&mut self, id: u32) {
        self.0 = (self.0 ^ u64::from(id)).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
    }
}

/// One frame, still where it arrived.
pub(super) struct Frame<'a> {
    pub(super) kind: u8,
    pub(super) flags: u8,
    pub(super) stream: u32,
    pub(super) payload: &'a [u8],
}

impl<'a> Frame<'a> {
    /// The frame that `input` begins with; `None` while some of it is still to come.
    pub(super) fn cut(input: &'a [u8]) -> Result<Option<Self>, Broken> {
        let Some((head, rest)) = input.split_first_chunk() else { return Ok(None) };
        let [a, b, c, kind, flags, stream @ ..]: &[u8; FRAME_HEAD_BYTES] = head;
        let len = be32(&[0, *a, *b, *c]) as usize;
        if len > FRAME_BYTES_MAX {
            return Err(broken("a frame is larger than allowed: is this an HTTP/2 server?"));
        }
        let Some(payload) = rest.get(..len) else { return Ok(None) };
        Ok(Some(Self { kind: *kind, flags: *flags, stream: be32(stream) & WINDOW_BYTES_MAX, payload }))
    }

    /// How many bytes it takes with its head.
    pub(super) fn bytes(&self) -> usize {
        FRAME_HEAD_BYTES + self.payload.len()
    }

    /// The payload without padding and priority.
    pub(super) fn strip(&self) -> Option<&'a [u8]> {
        let mut payload = self.payload;
        if self.flags & PADDED != 0 {
            let (&padding, rest) = payload.split_first()?;
            payload = rest.get(..rest.len().checked_sub(usize::from(padding))?)?;
        }
        if self.kind == HEADERS && self.flags & PRIORITY != 0 {
            payload = payload.get(5..)?;
        }
        Some(payload)
    }

    /// The settings in a SETTINGS frame.
    pub(super) fn settings(&self) -> impl Iterator<Item = (u16, u32)> + use<'a> {
        self.payload
            .chunks_exact(6)
            .map(|setting| (u16::from_be_bytes([setting[0], setting[1]]), be32(&setting[2..])))
    }

    /// Why a GOAWAY frame ends the connection.
    pub(super) fn farewell(&self) -> Broken {
        let code = self.payload.get(4..).map_or(0, be32);
        Broken(format!("the server ends the connection, GOAWAY code {code}"))
    }
}

/// What a client says first: no header table, no pushes, and windows so wide that the server never waits for them.
pub(super) fn hello(output: &mut BytesMut) {
    output.put_slice(PREFACE);
    let settings = [(HEADER_TABLE_SIZE, 0), (ENABLE_PUSH, 0), (INITIAL_WINDOW_SIZE, WINDOW_BYTES_MAX)];
    frame_head(output, 6 * settings.len(), SETTINGS, 0, 0);
    for (id, value) in settings {
        output.put_u16(id);
        output.put_u32(value);
    }
    window_update(output, 0, WINDOW_BYTES_MAX - WINDOW_BYTES_INITIAL);
}

/// Gives the server room for `bytes` more on `stream`; on stream zero for the whole connection.
pub(super) fn window_update(output: &mut BytesMut, stream: u32, bytes: u32) {
    frame_head(output, 4, WINDOW_UPDATE, 0, stream);
    output.put_u32(bytes);
}

pub(super) fn broken(text: &str) -> Broken {
    Broken(text.into())
}

/// The first four bytes as a number; zero when there are fewer.
pub(super) fn be32(bytes: &[u8]) -> u32 {
    bytes.first_chunk().map_or(0, |four| u32::from_be_bytes(*four))
}

pub(super) fn frame_head(out: &mut BytesMut, len: usize, kind: u8, flags: u8, stream: u32) {
    out.put_uint(len as u64, 3);
    out.put_u8(kind);
    out.put_u8(flags);
    out.put_u32(stream);
}
