//! What travels in a stream: frames, each with its length and a checksum before it.
//!
//! ```text
//!  0        4        8          8 + length
//!  +--------+--------+----------+
//!  | length | crc    | payload  |      numbers are little-endian
//!  | u32    | u32    |          |
//!  +--------+--------+----------+
//! ```
//!
//! `crc` is the CRC-32C of the four bytes of `length` and of the payload. The bytes of a frame may be spread over
//! any number of DATA frames of HTTP/2, and one of these may hold many of ours.
//!
//! INVARIANT: a payload that comes out is one that went in.

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// Length and checksum, in bytes.
pub(crate) const HEADER_BYTES: usize = 8;

/// A frame's payload may not be larger than this, in bytes. It stops a stream that has gone out of step from
/// collecting for ever; what a member really sends is bounded by its queues.
pub const FRAME_BYTES_MAX: usize = 512 << 20;

/// Payloads from this size on, in bytes, are sent from where they lie; smaller ones are copied together, which is
/// cheaper than a DATA frame for each.
const COPY_BYTES_MAX: usize = 16 << 10;

/// Room that is made at once for what a length promises, in bytes; more is made when that much has come.
const RESERVED_BYTES_MAX: usize = 4 << 20;

/// A stream that cannot be understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Corrupt {
    /// A checksum.
    #[error("a frame has another checksum than its sender gave it")]
    Checksum,
    /// A length.
    #[error("a frame claims to be {0} bytes long")]
    Length(usize),
}

/// Puts frames behind each other. The pieces that come out make the stream, in their order.
#[derive(Debug, Default)]
pub struct Packer {
    scratch: BytesMut,
    pieces: Vec<Bytes>,
}

impl Packer {
    /// Adds a frame.
    ///
    /// # Panics
    /// If the payload has 4 GiB, which no queue takes: see [`FRAME_BYTES_MAX`].
    pub fn push(&mut self, payload: Bytes) {
        let length = u32::try_from(payload.len()).expect("the queue takes no longer frames").to_le_bytes();
        let crc = crc32c::crc32c_append(crc32c::crc32c(&length), &payload);
        self.scratch.reserve(HEADER_BYTES);
        self.scratch.put_slice(&length);
        self.scratch.put_u32_le(crc);
        if payload.len() < COPY_BYTES_MAX {
            self.scratch.put_slice(&payload);
        } else {
            self.pieces.push(self.scratch.split().freeze());
            self.pieces.push(payload);
        }
    }

    /// What was added, as few pieces as sensible.
    pub fn pieces(&mut self) -> impl Iterator<Item = Bytes> {
        if !self.scratch.is_empty() {
            self.pieces.push(self.scratch.split().freeze());
        }
        self.pieces.drain(..)
    }
}

/// Takes frames out of a stream that comes in pieces of any size.
#[derive(Debug, Default)]
pub struct Unpacker {
    /// The beginning of a frame whose end has not come yet.
    partial: BytesMut,
}

impl Unpacker {
    /// Takes the next piece, and puts the payloads that it completes behind `ready`.
    pub fn push(&mut self, mut piece: Bytes, ready: &mut Vec<Bytes>) -> Result<(), Corrupt> {
        while !piece.is_empty() {
            if self.partial.is_empty()
                && let Some(length) = frame_bytes(&piece)?
                && piece.len() >= length
            {
                // The usual case: nothing is copied.
                ready.push(checked(piece.split_to(length))?);
                continue;
            }
            let wanted = frame_bytes(&self.partial)?.unwrap_or(HEADER_BYTES);
            let missing = wanted - self.partial.len();
            let taken = missing.min(piece.len());
            if taken > self.partial.capacity() - self.partial.len() {
                self.partial.reserve(missing.min(RESERVED_BYTES_MAX).max(taken));
            }
            self.partial.extend_from_slice(&piece[..taken]);
            piece.advance(taken);
            if frame_bytes(&self.partial)?.is_some_and(|length| length == self.partial.len()) {
                ready.push(checked(self.partial.split().freeze())?);
            }
        }
        Ok(())
    }

    /// Whether a frame has begun and not ended.
    pub fn is_amid_frame(&self) -> bool {
        !self.partial.is_empty()
    }
}

/// How long the frame at the start of `bytes` is with its header, if that much can be told.
fn frame_bytes(bytes: &[u8]) -> Result<Option<usize>, Corrupt> {
    let Some((length, _)) = bytes.split_first_chunk::<4>().filter(|_| bytes.len() >= HEADER_BYTES) else {
        return Ok(None);
    };
    match u32::from_le_bytes(*length) as usize {
        length if length > FRAME_BYTES_MAX => Err(Corrupt::Length(length)),
        length => Ok(Some(HEADER_BYTES + length)),
    }
}

/// The payload of a whole frame.
fn checked(mut frame: Bytes) -> Result<Bytes, Corrupt> {
    let length = frame.split_to(4);
    let crc = frame.get_u32_le();
    if crc32c::crc32c_append(crc32c::crc32c(&length), &frame) == crc {
        Ok(frame)
    } else {
        Err(Corrupt::Checksum)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packed(payloads: &[Bytes]) -> Vec<u8> {
        let mut packer = Packer::default();
        payloads.iter().cloned().for_each(|payload| packer.push(payload));
        packer.pieces().flat_map(|piece| piece.to_vec()).collect()
    }

    fn samples() -> Vec<Bytes> {
        [0, 1, 7, 300, COPY_BYTES_MAX - 1, COPY_BYTES_MAX, 3 * COPY_BYTES_MAX]
            .iter()
            .map(|&length| (0..length).map(|at| (at % 251) as u8).collect::<Vec<u8>>().into())
            .collect()
    }

    #[test]
    fn frames_come_out_as_they_went_in_however_they_are_cut() {
        let (samples, stream) = (samples(), packed(&samples()));
        for size in [1, 2, 7, 8, 9, 100, 16_384, stream.len()] {
            let (mut unpacker, mut ready) = (Unpacker::default(), Vec::new());
            for piece in stream.chunks(size) {
                unpacker.push(Bytes::copy_from_slice(piece), &mut ready).expect("not damaged");
            }
            assert!(ready == samples, "pieces of {size}");
            assert!(!unpacker.is_amid_frame());
        }
    }

    #[test]
    fn a_frame_is_what_the_formats_say() {
        assert_eq!(packed(&[Bytes::from_static(b"a")]), [1, 0, 0, 0, 0xf8, 0x09, 0xce, 0xee, b'a']);
    }

    // Found by the target `frames`: each piece made room anew, three times what is allowed.
    #[test]
    fn room_for_what_a_length_promises_is_made_once() {
        let (mut unpacker, mut ready) = (Unpacker::default(), Vec::new());
        let length = u32::try_from(FRAME_BYTES_MAX).expect("a length");
        let begin = [&length.to_le_bytes()[..], &[0; 100]].concat();
        for byte in &begin {
            unpacker.push(Bytes::copy_from_slice(&[*byte]), &mut ready).expect("not damaged yet");
        }
        let room = unpacker.partial.capacity();
        assert!(room < RESERVED_BYTES_MAX + 100, "{room} bytes of room");
    }

    #[test]
    fn every_flipped_bit_is_found_or_leaves_the_frame_unfinished() {
        let stream = packed(&[Bytes::from_static(b"hello")]);
        for bit in 0..stream.len() * 8 {
            let mut bad = stream.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            let (mut unpacker, mut ready) = (Unpacker::default(), Vec::new());
            let taken = unpacker.push(bad.into(), &mut ready);
            assert!(ready.is_empty() && (taken.is_err() || unpacker.is_amid_frame()), "bit {bit}");
        }
    }

    #[test]
    fn small_frames_leave_in_one_piece_and_large_ones_are_not_copied() {
        let large = Bytes::from(vec![7; COPY_BYTES_MAX]);
        let mut packer = Packer::default();
        packer.push(Bytes::from_static(b"a"));
        packer.push(Bytes::from_static(b"b"));
        packer.push(large.clone());
        packer.push(Bytes::from_static(b"c"));
        let pieces: Vec<Bytes> = packer.pieces().collect();
        assert_eq!(pieces.iter().map(Bytes::len).collect::<Vec<_>>(), [26, COPY_BYTES_MAX, 9]);
        assert_eq!(pieces[1].as_ptr(), large.as_ptr());
    }
}
