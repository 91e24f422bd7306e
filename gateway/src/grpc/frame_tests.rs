//! The framing against every way to cut it, and against nonsense.

use proptest::prelude::*;

use super::*;

const BYTES_MAX: usize = 1000;

fn framed(messages: &[Vec<u8>]) -> BytesMut {
    let mut out = BytesMut::new();
    for (at, message) in messages.iter().enumerate() {
        if at % 3 == 2 {
            put_compressed(&mut out, message);
        } else {
            put_prefix(&mut out, message.len());
            out.extend_from_slice(message);
        }
    }
    out
}

/// What is read of pieces, whether it ended in a refusal, and the most that was held.
fn read(pieces: &[Bytes], encoding: Encoding) -> (Vec<Bytes>, Option<Refusal>, usize) {
    let mut reader = Reader::new(BYTES_MAX, encoding);
    let (mut messages, mut held) = (Vec::new(), 0);
    for piece in pieces {
        reader.push(piece.clone());
        loop {
            match reader.next() {
                Ok(Some(message)) => messages.push(message),
                Ok(None) => break,
                Err(refusal) => return (messages, Some(refusal), held),
            }
        }
        held = held.max(reader.have.len() + reader.growing.len());
    }
    (messages, None, held)
}

fn cut(bytes: &Bytes, sizes: &[usize]) -> Vec<Bytes> {
    let (mut rest, mut pieces, mut sizes) = (bytes.clone(), Vec::new(), sizes.iter().cycle());
    while !rest.is_empty() {
        let size = sizes.next().copied().unwrap_or(1).clamp(1, rest.len());
        pieces.push(rest.split_to(size));
    }
    pieces
}

proptest! {
    #[test]
    fn messages_come_out_however_they_are_cut(
        messages in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 0..12),
        sizes in prop::collection::vec(1_usize..400, 1..6),
    ) {
        let bytes = framed(&messages).freeze();
        let (read, refusal, held) = read(&cut(&bytes, &sizes), Encoding::Gzip);
        prop_assert_eq!(refusal, None);
        prop_assert_eq!(read, messages);
        prop_assert!(held <= PREFIX_BYTES + BYTES_MAX);
    }

    #[test]
    fn nonsense_is_refused_or_waited_for_and_holds_little(
        bytes in prop::collection::vec(any::<u8>(), 0..5000),
        sizes in prop::collection::vec(1_usize..400, 1..6),
        gzip in any::<bool>(),
    ) {
        let encoding = if gzip { Encoding::Gzip } else { Encoding::Identity };
        let (_, _, held) = read(&cut(&Bytes::from(bytes), &sizes), encoding);
        prop_assert!(held <= PREFIX_BYTES + BYTES_MAX);
    }
}

#[test]
fn a_message_in_one_piece_is_not_copied() {
    let piece = framed(&[vec![1; 100], vec![2; 100]]).freeze();
    let (messages, _, _) = read(std::slice::from_ref(&piece), Encoding::Identity);
    assert_eq!(messages.len(), 2);
    for message in messages {
        assert!(piece.as_ptr_range().contains(&message.as_ptr()));
    }
}

#[test]
fn what_is_wrong_is_told_in_the_words_of_grpc() {
    let identity = || Encoding::Identity;
    for (bytes, encoding, code, text) in [
        (
            &b"\x00\x00\x00\x03\xe9"[..],
            identity(),
            8,
            "grpc: received message larger than max (1001 vs. 1000)",
        ),
        (
            b"\x00\xff\xff\xff\xff",
            identity(),
            8,
            "grpc: received message larger than max (4294967295 vs. 1000)",
        ),
        (b"\x01\0\0\0\0", identity(), 13, "grpc: compressed flag set with identity or empty encoding"),
        (
            b"\x01\0\0\0\0",
            Encoding::Unknown("snappy".to_owned()),
            12,
            "grpc: Decompressor is not installed for grpc-encoding \"snappy\"",
        ),
        (b"\x07\0\0\0\0", identity(), 13, "grpc: received unexpected payload format 7"),
    ] {
        let (messages, refusal, _) = read(&[Bytes::copy_from_slice(bytes)], encoding);
        let refusal = refusal.expect("it is refused");
        assert_eq!((messages.len(), refusal.code as u8, refusal.text.as_ref()), (0, code, text));
    }
    let mut large = BytesMut::new();
    put_compressed(&mut large, &[0; 1001]);
    let (_, refusal, _) = read(&[large.freeze()], Encoding::Gzip);
    let text = "grpc: received message after decompression larger than max (1001 vs. 1000)";
    assert_eq!(refusal.expect("it is refused").text, text);
}
