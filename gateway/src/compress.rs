//! gzip of single messages, for clients of gRPC that ask for it.
//!
//! INVARIANT: nothing unpacks to more than its caller allows.

use std::io::{self, Read as _, Write as _};

use bytes::Bytes;
use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;

/// Unpacked at once, in bytes.
const PIECE_BYTES: usize = 8 * 1024;

/// The message inside; `None` if it is larger than `bytes_max`.
pub(crate) fn gunzip(packed: &[u8], bytes_max: usize) -> io::Result<Option<Bytes>> {
    let mut decoder = MultiGzDecoder::new(packed);
    let mut message = Vec::new();
    let mut piece = [0; PIECE_BYTES];
    loop {
        let length = match decoder.read(&mut piece) {
            Ok(0) => return Ok(Some(message.into())),
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        let needed = message.len() + length;
        if needed > bytes_max {
            return Ok(None);
        }
        if needed > message.capacity() {
            // Twice as much each time, and the whole limit at once when that is near: old room and new stay below
            // twice the limit.
            let room = if needed > bytes_max / 4 { bytes_max } else { needed * 2 };
            message.reserve_exact(room - message.len());
        }
        message.extend_from_slice(&piece[..length]);
    }
}

/// The message, packed.
pub(crate) fn gzip(message: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(message.len() / 2), Compression::fast());
    let packed = encoder.write_all(message).and_then(|()| encoder.finish());
    packed.expect("memory takes all that is written")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_packed_comes_out_and_never_more_than_allowed() {
        for length in [0, 1, 1000, 100_000] {
            let message = vec![7; length];
            let packed = gzip(&message);
            assert_eq!(gunzip(&packed, length).expect("it is whole").as_deref(), Some(&message[..]));
            if let Some(less) = length.checked_sub(1) {
                assert_eq!(gunzip(&packed, less).expect("it is whole"), None);
            }
        }
        // Found by the target `grpc`: room that doubles went far beyond the limit.
        let odd = 1_000_000;
        for length in [odd / 5, odd / 3, odd] {
            let room =
                Vec::from(gunzip(&gzip(&vec![7; length]), odd).expect("it is whole").expect("it fits"))
                    .capacity();
            assert!(room <= odd, "{length} bytes have {room} of room");
        }
        gunzip(b"no gzip at all", 100).expect_err("it is none");
        gunzip(&gzip(&[7; 1000])[..20], 1000).expect_err("it is cut");
    }
}
