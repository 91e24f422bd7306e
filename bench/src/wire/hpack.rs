//! Header blocks of answers, read without a dynamic table.
//!
//! The client announces a table of zero bytes, so a block depends on nothing that came before it. That is what
//! allows the fast path in `http2`: trailers that are the same bytes as trailers once understood mean the same.

/// What the end of a gRPC call says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Trailers {
    /// `grpc-status`, a decimal number; `None` when it was not there.
    pub(super) status: Option<String>,
    /// `grpc-message`, still percent-encoded.
    pub(super) message: Option<String>,
}

/// Reads a complete header block for the two fields that matter.
///
/// `None` when it is malformed or refers to a dynamic table, which a correct server cannot do here.
pub(super) fn trailers(block: &[u8]) -> Option<Trailers> {
    let mut found = Trailers::default();
    let mut rest = block;
    while let Some(&first) = rest.first() {
        let name_bits = match first {
            0x80.. => {
                let at = integer(&mut rest, 7)?;
                // Entries 1 to 61 are the static table, and none of them is a gRPC field.
                if at == 0 || at > 61 {
                    return None;
                }
                continue;
            }
            0x40..0x80 => 6,
            0x20..0x40 => {
                integer(&mut rest, 5)?;
                continue;
            }
            _ => 4,
        };
        let name = match integer(&mut rest, name_bits)? {
            0 => Some(string(&mut rest)?),
            1..=61 => None,
            _ => return None,
        };
        let value = string(&mut rest)?;
        match name.as_deref() {
            Some(b"grpc-status") => found.status = Some(String::from_utf8_lossy(&value).into_owned()),
            Some(b"grpc-message") => found.message = Some(String::from_utf8_lossy(&value).into_owned()),
            _ => {}
        }
    }
    Some(found)
}

fn integer(rest: &mut &[u8], prefix_bits: u32) -> Option<usize> {
    let mask = (1usize << prefix_bits) - 1;
    let (&first, mut tail) = rest.split_first()?;
    let mut value = usize::from(first) & mask;
    if value == mask {
        for shift in [0, 7, 14, 21] {
            let (&byte, next) = tail.split_first()?;
            tail = next;
            value += (usize::from(byte) & 0x7f) << shift;
            if byte & 0x80 == 0 {
                *rest = tail;
                return Some(value);
            }
        }
        return None;
    }
    *rest = tail;
    Some(value)
}

fn string(rest: &mut &[u8]) -> Option<Vec<u8>> {
    let huffman = rest.first()? & 0x80 != 0;
    let len = integer(rest, 7)?;
    let (bytes, tail) = rest.split_at_checked(len)?;
    *rest = tail;
    if huffman { unhuffman(bytes) } else { Some(bytes.to_vec()) }
}

/// Code lengths in bits by symbol (RFC 7541, appendix B). The code is canonical, so lengths say everything.
#[rustfmt::skip]
const HUFFMAN_BITS: [u8; 256] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28,
    6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10,
    13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6,
    15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28,
    20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24,
    22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27,
    20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
];

/// Decodes bit by bit: this runs once per distinct block, so it may be slow and should be short.
fn unhuffman(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut symbols: Vec<(u8, u8)> = HUFFMAN_BITS.iter().copied().zip(0..=u8::MAX).collect();
    symbols.sort_unstable();
    let mut out = Vec::new();
    let (mut code, mut bits) = (0u32, 0u8);
    for at in 0..bytes.len() * 8 {
        let bit = bytes.get(at / 8)? >> (7 - at % 8) & 1;
        code = code << 1 | u32::from(bit);
        bits += 1;
        if let Some(symbol) = symbol(&symbols, code, bits) {
            out.push(symbol);
            (code, bits) = (0, 0);
        }
        if bits > 30 {
            return None;
        }
    }
    // What is left is padding: fewer than eight bits, all of them ones.
    (bits < 8 && code == (1 << bits) - 1).then_some(out)
}

/// The symbol whose canonical code is `code` of `bits` bits.
fn symbol(sorted: &[(u8, u8)], code: u32, bits: u8) -> Option<u8> {
    let (mut next, mut width) = (0u32, sorted.first()?.0);
    for &(len, symbol) in sorted {
        next <<= len - width;
        width = len;
        if len == bits && next == code {
            return Some(symbol);
        }
        if len > bits {
            return None;
        }
        next += 1;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_examples_of_the_rfc() {
        let www = [0xf1, 0xe3, 0xc2, 0xe5, 0xf2, 0x3a, 0x6b, 0xa0, 0xab, 0x90, 0xf4, 0xff];
        assert_eq!(unhuffman(&www).as_deref(), Some(&b"www.example.com"[..]));
        assert_eq!(unhuffman(&[0xa8, 0xeb, 0x10, 0x64, 0x9c, 0xbf]).as_deref(), Some(&b"no-cache"[..]));
        assert_eq!(unhuffman(&[0x64, 0x02]).as_deref(), Some(&b"302"[..]));
    }

    #[test]
    fn trailers_plain_and_huffman_coded() {
        let mut plain = vec![0x20, 0x00, 11];
        plain.extend_from_slice(b"grpc-status\x0214\x00\x0cgrpc-message\x04oops");
        let expect = Trailers { status: Some("14".into()), message: Some("oops".into()) };
        assert_eq!(trailers(&plain), Some(expect));

        let coded = [0x40, 0x88, 0x9a, 0xca, 0xc8, 0xb2, 0x12, 0x34, 0xda, 0x8f, 0x01, 0x30];
        assert_eq!(trailers(&coded).and_then(|found| found.status).as_deref(), Some("0"));
    }

    #[test]
    fn what_cannot_be_read_is_refused() {
        assert_eq!(trailers(&[0xbe]), None, "a dynamic entry");
        assert_eq!(trailers(&[0x00, 0x05, b'a']), None, "a cut name");
        assert_eq!(trailers(&[0x7f, 0xff, 0xff, 0xff, 0xff, 0xff]), None, "a number without end");
        assert_eq!(unhuffman(&[0xff, 0xff]), None, "too much padding");
    }
}
