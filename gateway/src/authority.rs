//! The `:authority` of clients that send a URL where a host belongs.
//!
//! etcd's Go client before 3.5 asks a single endpoint (`etcdctl endpoint status`, `hashkv`, `defrag`, `snapshot save`)
//! with `:authority: http://127.0.0.1:2379`, and that of 3.5.0 says `#initially=[http://a:2379;http://b:2379]` in every
//! call. Go's server takes that; the HTTP/2 library here resets the stream. So all but the (first) host is cut off on the
//! way in. A connection is looked at until its first request; only where that one had a URL,
//! and nowhere else, the others are looked at too.
//!
//! INVARIANT: no bytes change but those of an authority that has a scheme or is such a list.
//! INVARIANT: at most one frame of [`FRAME_BYTES_MAX`] bytes is held back.
//!
//! A client's table of headers holds the longer value, and ours the shorter: ours forgets later than the client
//! believes, which no index can tell.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What a client of HTTP/2 says first.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// A frame without its payload.
const HEAD_BYTES: usize = 9;
/// A payload that is larger is refused by whoever reads it.
const FRAME_BYTES_MAX: usize = 16 * 1024;
/// Read at once while it looks.
const READ_BYTES: usize = 4 * 1024;

const TYPE_HEADERS: u8 = 1;
const FLAG_PADDED: u8 = 0x8;
const FLAG_PRIORITY: u8 = 0x20;
/// Where `:authority` is in the table that every connection begins with.
const AUTHORITY: usize = 1;

/// A connection whose authorities are put right.
pub(crate) struct Lenient<S> {
    stream: S,
    filter: Option<Filter>,
    /// Looked at, and not taken yet.
    ready: Vec<u8>,
    taken: usize,
}

impl<S> Lenient<S> {
    /// Looks at `stream`, which has not been read from.
    pub(crate) fn new(stream: S) -> Self {
        Self { stream, filter: Some(Filter::default()), ready: Vec::new(), taken: 0 }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Lenient<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        loop {
            let rest = &this.ready[this.taken..];
            if !rest.is_empty() {
                let length = rest.len().min(buffer.remaining());
                buffer.put_slice(&rest[..length]);
                this.taken += length;
                return Poll::Ready(Ok(()));
            }
            this.ready.clear();
            this.taken = 0;
            let Some(filter) = &mut this.filter else {
                this.ready = Vec::new();
                return Pin::new(&mut this.stream).poll_read(context, buffer);
            };
            let mut bytes = [0; READ_BYTES];
            let mut read = ReadBuf::new(&mut bytes);
            ready!(Pin::new(&mut this.stream).poll_read(context, &mut read))?;
            if read.filled().is_empty() {
                // The end, perhaps within a frame.
                this.ready.append(&mut filter.held);
                this.filter = None;
            } else if filter.push(read.filled(), &mut this.ready) == Look::Done {
                this.filter = None;
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Lenient<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// Whether the rest of a connection has to be looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Look {
    More,
    Done,
}

/// The part of a connection that is between two frames, or within one.
#[derive(Default)]
struct Filter {
    /// The preface has passed.
    begun: bool,
    /// An authority was put right.
    mended: bool,
    /// Bytes of a payload that are none of ours.
    skip: usize,
    /// The beginning of something.
    held: Vec<u8>,
}

impl Filter {
    /// Takes what came and gives what may go on.
    fn push(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Look {
        self.held.extend_from_slice(bytes);
        let held = std::mem::take(&mut self.held);
        let mut rest = held.as_slice();
        let look = self.pass(&mut rest, out);
        match look {
            Look::More => rest.clone_into(&mut self.held),
            Look::Done => out.extend_from_slice(rest),
        }
        look
    }

    fn pass(&mut self, rest: &mut &[u8], out: &mut Vec<u8>) -> Look {
        if !self.begun {
            let length = rest.len().min(PREFACE.len());
            if rest[..length] != PREFACE[..length] {
                return Look::Done;
            }
            if length < PREFACE.len() {
                return Look::More;
            }
            out.extend_from_slice(take(rest, length));
            self.begun = true;
        }
        loop {
            let skipped = take(rest, self.skip.min(rest.len()));
            out.extend_from_slice(skipped);
            self.skip -= skipped.len();
            if self.skip > 0 || rest.len() < HEAD_BYTES {
                return Look::More;
            }
            let length = u32::from_be_bytes([0, rest[0], rest[1], rest[2]]) as usize;
            if rest[3] != TYPE_HEADERS {
                self.skip = HEAD_BYTES + length;
                continue;
            }
            if length > FRAME_BYTES_MAX {
                return Look::Done;
            }
            if rest.len() < HEAD_BYTES + length {
                return Look::More;
            }
            let frame = take(rest, HEAD_BYTES + length);
            if let Some(mended) = mend(frame) {
                self.mended = true;
                out.extend(mended);
                continue;
            }
            out.extend_from_slice(frame);
            if !self.mended {
                return Look::Done;
            }
        }
    }
}

fn take<'a>(rest: &mut &'a [u8], length: usize) -> &'a [u8] {
    let (taken, after) = rest.split_at(length);
    *rest = after;
    taken
}

/// A HEADERS frame with its authority put right; `None` where it is right or not to be understood.
fn mend(frame: &[u8]) -> Option<Vec<u8>> {
    let flags = frame[4];
    let mut start = HEAD_BYTES;
    let mut end = frame.len();
    if flags & FLAG_PADDED != 0 {
        end = end.checked_sub(usize::from(*frame.get(start)?))?;
        start += 1;
    }
    if flags & FLAG_PRIORITY != 0 {
        start += 5;
    }
    let block = frame.get(start..end)?;
    let (value_start, value_end, authority) = authority(block)?;
    let host = host_of(&authority)?;
    // Cut short it fits one byte of length, and needs no code.
    let length = u8::try_from(host.len()).ok().filter(|length| *length < 0x7f)?;
    let mut mended = frame[..start + value_start].to_vec();
    mended.push(length);
    mended.extend_from_slice(host.as_bytes());
    mended.extend_from_slice(&frame[start + value_end..]);
    let payload = u32::try_from(mended.len() - HEAD_BYTES).ok()?.to_be_bytes();
    mended[..3].copy_from_slice(&payload[1..]);
    Some(mended)
}

/// The host within a URL, or within the first of a list; `None` of an authority as it should be.
fn host_of(authority: &str) -> Option<&str> {
    let list = authority.strip_prefix("#initially=[").and_then(|list| list.strip_suffix(']'));
    let first = list.and_then(|list| list.split(';').next());
    match first.unwrap_or(authority).split_once("://") {
        Some((_, host)) => Some(host),
        None => first,
    }
}

/// The authority of a header block, and where its value begins and ends with its length.
fn authority(block: &[u8]) -> Option<(usize, usize, String)> {
    let mut at = 0;
    while let Some(&first) = block.get(at) {
        let name_bits = match first {
            0x80.. => {
                integer(block, &mut at, 7)?;
                continue;
            }
            0x40..0x80 => 6,
            0x20..0x40 => {
                integer(block, &mut at, 5)?;
                continue;
            }
            _ => 4,
        };
        let name = integer(block, &mut at, name_bits)?;
        if name == 0 {
            string(block, &mut at)?;
        }
        let start = at;
        let (coded, value) = string(block, &mut at)?;
        if name == AUTHORITY {
            let value = if coded { decode(value)? } else { value.to_vec() };
            return Some((start, at, String::from_utf8(value).ok()?));
        }
    }
    None
}

fn integer(block: &[u8], at: &mut usize, prefix_bits: u32) -> Option<usize> {
    let mask = (1_usize << prefix_bits) - 1;
    let mut value = usize::from(*block.get(*at)?) & mask;
    *at += 1;
    if value < mask {
        return Some(value);
    }
    for shift in [0, 7, 14] {
        let byte = usize::from(*block.get(*at)?);
        *at += 1;
        value += (byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

/// Whether a string is Huffman-coded, and its bytes.
fn string<'a>(block: &'a [u8], at: &mut usize) -> Option<(bool, &'a [u8])> {
    let coded = *block.get(*at)? >= 0x80;
    let length = integer(block, at, 7)?;
    let bytes = block.get(*at..at.checked_add(length)?)?;
    *at += length;
    Some((coded, bytes))
}

/// HPACK's code for what an authority may be made of: the length of codes, the first of them, and whose they are, one
/// after another.
const CODES: [(u32, u32, &[u8]); 6] = [
    (5, 0x00, b"012aceiost"),
    (6, 0x14, b" %-./3456789=A_bdfghlmnpru"),
    (7, 0x5c, b":BCDEFGHIJKLMNOPQRSTUVWYjkqvwxyz"),
    (8, 0xf8, b"&*,;XZ"),
    (12, 0xffa, b"#>"),
    (13, 0x1ff8, b"\0$@[]~"),
];

/// The longest of [`CODES`], in bits.
const CODE_BITS_MAX: u32 = 13;

fn decode(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut text = Vec::new();
    let (mut code, mut length) = (0_u32, 0);
    for bit in bytes.iter().flat_map(|byte| (0..8).rev().map(move |shift| u32::from(byte >> shift & 1))) {
        (code, length) = (code << 1 | bit, length + 1);
        let row = CODES.iter().find(|(bits, first, _)| *bits == length && code >= *first);
        if let Some(symbol) = row.and_then(|(_, first, symbols)| symbols.get((code - first) as usize)) {
            text.push(*symbol);
            (code, length) = (0, 0);
        } else if length == CODE_BITS_MAX {
            return None;
        }
    }
    // What is left is padding: ones, fewer than a byte.
    (length < 8 && code + 1 == 1 << length).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What etcdctl 3.4.23 sends for `--endpoints=http://127.0.0.1:41729 endpoint status`: the preface, settings, their
    /// acknowledgement, and the request.
    fn etcdctl() -> Vec<u8> {
        let mut bytes = PREFACE.to_vec();
        bytes.extend(hex("000000040000000000000000040100000000"));
        bytes.extend(hex("000077010400000001"));
        bytes.extend(hex(BLOCK));
        bytes.extend(hex("000005000100000001"));
        bytes.extend(hex("0000000000"));
        bytes
    }

    const BLOCK: &str = "8386459760a924882d9dcb6571afa066a925a87510ac6e48d36a3f41909d29aee30c044eae05c0b86e34dbecb75f\
        8b1d75d0620d263d4c4d65647a8b9acac8b4c7602bb2caecff40027465864d833505b11f40899acac8b24d494f6a7f860befbe1006df408d\
        25062d495875996ee5b1063d5f03332e34";

    fn hex(text: &str) -> Vec<u8> {
        let digits: Vec<u8> =
            text.bytes().filter_map(|byte| char::from(byte).to_digit(16)).map(|digit| digit as u8).collect();
        digits.chunks(2).map(|pair| pair[0] * 16 + pair[1]).collect()
    }

    /// What passes when it comes in pieces of `size` bytes.
    fn pass(bytes: &[u8], size: usize) -> (Vec<u8>, Look) {
        let (mut filter, mut out, mut look) = (Filter::default(), Vec::new(), Look::More);
        for piece in bytes.chunks(size) {
            match look {
                Look::More => look = filter.push(piece, &mut out),
                Look::Done => out.extend_from_slice(piece),
            }
        }
        out.extend(filter.held);
        (out, look)
    }

    #[test]
    fn a_url_loses_its_scheme_and_nothing_else_changes() {
        let (_, _, before) = authority(&hex(BLOCK)).expect("it has one");
        assert!(before.starts_with("http://127.0.0.1:"), "{before}");
        let host = before.strip_prefix("http://").expect("seen");
        let bytes = etcdctl();
        for size in [1, 2, 7, 24, 50, 4096] {
            let (out, look) = pass(&bytes, size);
            assert_eq!(look, Look::More, "the next request has to be looked at");
            let head = PREFACE.len() + 18;
            assert_eq!(out[..head], bytes[..head], "{size}");
            let length = u32::from_be_bytes([0, out[head], out[head + 1], out[head + 2]]) as usize;
            let block = &out[head + HEAD_BYTES..head + HEAD_BYTES + length];
            let (start, end, after) = authority(block).expect("it has one");
            assert_eq!(after, host);
            let (old_start, old_end, _) = authority(&hex(BLOCK)).expect("it has one");
            assert_eq!((&block[..start], &block[end..]), (&hex(BLOCK)[..old_start], &hex(BLOCK)[old_end..]));
            assert_eq!(out[head + HEAD_BYTES + length..], hex("0000050001000000010000000000"), "{size}");
        }
    }

    #[test]
    fn others_pass_as_they_are_and_are_not_looked_at_again() {
        let mut right = PREFACE.to_vec();
        right.extend(hex("00000004000000000000001201250000000100000000ff41"));
        right.extend(hex("0b"));
        right.extend(b"localhost:1");
        let cut = [PREFACE, &hex("00000f0104000000014190")].concat();
        for (bytes, expect) in [
            (b"GET /v2/keys HTTP/1.1\r\n\r\n".to_vec(), Look::Done),
            (b"PRINT".to_vec(), Look::Done),
            (cut, Look::More),
            ([PREFACE, &hex("ffffff0104000000014190")].concat(), Look::Done),
            ([PREFACE, &hex("0000020104000000014190"), b"more"].concat(), Look::Done),
            ([PREFACE, &hex("0000010108000000014190"), b"more"].concat(), Look::Done),
        ] {
            for size in [1, 9, 4096] {
                assert_eq!(pass(&bytes, size), (bytes.clone(), expect), "{size}");
            }
        }
        let (out, _) = pass(&right, 5);
        assert_eq!(out, right);
    }

    #[test]
    fn a_scheme_without_a_code_is_cut_off_too() {
        let mut frame = hex("00001401040000000141");
        frame.push(18);
        frame.extend(b"https://[::1]:2379");
        let mended = mend(&frame).expect("it had a scheme");
        assert_eq!(mended, [&hex("00000c010400000001410a")[..], b"[::1]:2379"].concat());
        assert_eq!(mend(&mended), None);
    }

    /// The client of etcd 3.5.0: https://github.com/etcd-io/etcd/issues/13192.
    #[test]
    fn a_list_of_endpoints_gives_its_first_host() {
        for (authority, expect) in [
            ("#initially=[https://example.com:2379]", Some("example.com:2379")),
            ("#initially=[http://[::1]:1;http://b:2]", Some("[::1]:1")),
            ("#initially=[a:1;b:2]", Some("a:1")),
            ("a:1", None),
            ("[::1]:1", None),
        ] {
            assert_eq!(host_of(authority), expect, "{authority}");
        }
        // `#initially=[a:1]` in Huffman's code, as Go's encoder writes it.
        assert_eq!(decode(&hex(CODED)).as_deref(), Some(&b"#initially=[a:1]"[..]));
    }

    const CODED: &str = "ffa35464987451ea0ffd8ee07ff9";
}
