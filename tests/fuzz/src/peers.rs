//! What members send one another: frames, the messages in them, and the commands that these carry into the log.

use bytes::Bytes;
use command::decode_signed;
use consensus::Envelope;
use transport::{Packer, Unpacker};
use types::MemberId;

/// A stream of frames. The first byte says how long the pieces are in which it comes, the second how the rest is seen:
/// as the stream, or, if it is odd, as payloads with a length byte each that are packed first and must come out again.
pub(crate) fn frames(input: &[u8]) {
    let [piece, form, rest @ ..] = input else { return };
    let size = usize::from(*piece).max(1);
    if form % 2 == 0 {
        let _ = unpack(rest, size);
        return;
    }
    let mut payloads = Vec::new();
    let mut rest = rest;
    while let Some((length, behind)) = rest.split_first() {
        let (payload, behind) = behind.split_at(usize::from(*length).min(behind.len()));
        payloads.push(Bytes::copy_from_slice(payload));
        rest = behind;
    }
    let mut packer = Packer::default();
    payloads.iter().cloned().for_each(|payload| packer.push(payload));
    let stream: Vec<u8> = packer.pieces().flat_map(|piece| piece.to_vec()).collect();
    assert_eq!(unpack(&stream, size).as_ref(), Some(&payloads), "frames come out as they went in");
}

fn unpack(stream: &[u8], size: usize) -> Option<Vec<Bytes>> {
    let (mut unpacker, mut ready) = (Unpacker::default(), Vec::new());
    for piece in stream.chunks(size) {
        unpacker.push(Bytes::copy_from_slice(piece), &mut ready).ok()?;
    }
    (!unpacker.is_amid_frame()).then_some(ready)
}

/// A message from member 1 to member 2.
pub(crate) fn envelope(input: &[u8]) {
    let (from, to) = (MemberId(1), MemberId(2));
    let Ok(envelope) = Envelope::decode(from, to, Bytes::copy_from_slice(input)) else { return };
    let (told, encoded) = (envelope.describe(), envelope.encode());
    let again = Envelope::decode(from, to, encoded.clone()).expect("what was encoded is decoded");
    assert_eq!((again.describe(), again.lane(), again.bytes()), (told, envelope.lane(), envelope.bytes()));
    // Fields that nobody knows come in any order.
    assert_eq!(again.encode().len(), encoded.len(), "a message keeps what it says");
}

/// The data of an entry of the log.
pub(crate) fn command(input: &[u8]) {
    let Ok(signed) = decode_signed(Bytes::copy_from_slice(input)) else { return };
    let mut encoded = Vec::new();
    for one in &signed {
        encoded.extend_from_slice(&one.command.encode_by(&one.author));
    }
    let again = decode_signed(encoded.into()).expect("what was encoded is decoded");
    assert_eq!(again, signed, "commands keep what they say");
}
