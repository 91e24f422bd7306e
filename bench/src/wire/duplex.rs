//! The client half of HTTP/2 for gRPC streams: many streams on one connection, messages both ways at any time.
//!
//! Watches and keepalives need this; unary calls have a smaller machine in `http2`. Sending respects both windows:
//! what does not fit waits in its stream. Receiving hands out messages where they lie in the input, and copies only
//! those that arrive in parts. Flow control towards us is effectively switched off.
//!
//! It never sends priorities, never accepts pushes, and ends the connection on anything unexpected.

use std::collections::VecDeque;

use bytes::{Buf as _, BufMut as _, BytesMut};

use super::frame::{
    ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, FRAME_BYTES_MAX, Frame, GOAWAY, HEADERS,
    INITIAL_WINDOW_SIZE, MAX_CONCURRENT_STREAMS, MAX_FRAME_SIZE, PING, PUSH_PROMISE, RST_STREAM, SETTINGS,
    WINDOW_BYTES_INITIAL, WINDOW_BYTES_MAX, WINDOW_UPDATE, be32, broken, frame_head, hello, window_update,
};
use super::{Broken, grpc, hpack};

/// A message that we can be made to collect; the servers' answers to watches are far smaller.
const MESSAGE_BYTES_MAX: usize = 64 << 20;
/// Room is given back to the server when so much of a window is used.
const REPORT_BYTES: u32 = WINDOW_BYTES_MAX / 4;

/// One of the streams of a connection; counts from zero in the order in which they were opened.
pub(crate) type StreamNumber = usize;

/// What the server said.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Heard<'a> {
    /// A message on a stream.
    Message(StreamNumber, &'a [u8]),
    /// The stream is over; `None` when it ended well.
    Ended(StreamNumber, Option<String>),
}

#[derive(Default)]
struct Stream {
    send_window: i64,
    /// Frames' payload that waits for a window.
    unsent: BytesMut,
    /// The beginning of a message whose end has not arrived.
    inbox: BytesMut,
    received_unreported: u32,
    ended: bool,
}

/// One HTTP/2 connection with gRPC streams.
pub(crate) struct Duplex {
    authority: String,
    output: BytesMut,
    streams: Vec<Stream>,
    /// Streams with something unsent, in the order in which they began to wait.
    waiting: VecDeque<StreamNumber>,
    send_window: i64,
    peer_stream_window: u32,
    peer_frame_max: usize,
    peer_streams_max: Option<usize>,
    received_unreported: u32,
}

impl Duplex {
    /// A connection to `authority` without streams.
    pub(crate) fn new(authority: &str) -> Self {
        let mut output = BytesMut::with_capacity(64 << 10);
        hello(&mut output);
        Self {
            authority: authority.to_owned(),
            output,
            streams: Vec::new(),
            waiting: VecDeque::new(),
            send_window: i64::from(WINDOW_BYTES_INITIAL),
            peer_stream_window: WINDOW_BYTES_INITIAL,
            peer_frame_max: FRAME_BYTES_MAX,
            peer_streams_max: None,
            received_unreported: 0,
        }
    }

    /// How many streams the server allows; `None` until it has said so.
    pub(crate) fn streams_max(&self) -> Option<usize> {
        self.peer_streams_max
    }

    /// Opens a stream for `path`, a method such as `/etcdserverpb.Watch/Watch`.
    pub(crate) fn open(&mut self, path: &str) -> StreamNumber {
        let number = self.streams.len();
        let block = block(&self.authority, path);
        frame_head(&mut self.output, block.len(), HEADERS, END_HEADERS, id_of(number));
        self.output.put_slice(&block);
        let send_window = i64::from(self.peer_stream_window);
        self.streams.push(Stream { send_window, ..Stream::default() });
        number
    }

    /// Sends one message on an open stream, at once or as soon as the windows allow.
    pub(crate) fn send(&mut self, number: StreamNumber, message: &[u8]) {
        let Some(stream) = self.streams.get_mut(number) else { return };
        if stream.unsent.is_empty() {
            self.waiting.push_back(number);
        }
        stream.unsent.put_slice(&grpc::prefix(message.len() as u32));
        stream.unsent.put_slice(message);
        self.flush();
    }

    /// Bytes that want to go out; the caller consumes what it wrote.
    pub(crate) fn output(&mut self) -> &mut BytesMut {
        &mut self.output
    }

    /// Takes in what arrived, and tells `listen` what it means.
    pub(crate) fn receive(
        &mut self,
        input: &mut BytesMut,
        listen: &mut impl FnMut(Heard<'_>) -> Result<(), Broken>,
    ) -> Result<(), Broken> {
        let mut at = 0;
        while let Some(frame) = Frame::cut(input.get(at..).unwrap_or_default())? {
            self.handle(&frame, listen)?;
            at += frame.bytes();
        }
        input.advance(at);
        Ok(())
    }

    /// Moves what the windows allow from the streams to the output.
    fn flush(&mut self) {
        for _ in 0..self.waiting.len() {
            let Some(number) = self.waiting.pop_front() else { return };
            let Some(stream) = self.streams.get_mut(number) else { continue };
            loop {
                let room = stream.send_window.min(self.send_window).max(0) as usize;
                let len = stream.unsent.len().min(room).min(self.peer_frame_max);
                if len == 0 {
                    break;
                }
                frame_head(&mut self.output, len, DATA, 0, id_of(number));
                self.output.put_slice(&stream.unsent[..len]);
                stream.unsent.advance(len);
                stream.send_window -= len as i64;
                self.send_window -= len as i64;
            }
            if !stream.unsent.is_empty() {
                self.waiting.push_back(number);
            }
        }
    }

    fn handle(
        &mut self,
        frame: &Frame<'_>,
        listen: &mut impl FnMut(Heard<'_>) -> Result<(), Broken>,
    ) -> Result<(), Broken> {
        match frame.kind {
            DATA => self.on_data(frame, listen)?,
            HEADERS if frame.flags & END_HEADERS == 0 => return Err(broken("a header block in parts")),
            HEADERS if frame.flags & END_STREAM != 0 => {
                let block = frame.strip().ok_or_else(|| broken("bad padding of a HEADERS frame"))?;
                let found = hpack::trailers(block).ok_or_else(|| broken("a header block cannot be read"))?;
                let failure = match found.status.as_deref() {
                    Some("0") => None,
                    Some(status) => {
                        let message = found.message.unwrap_or_default().replace("%20", " ");
                        Some(format!("{}: {message}", grpc::status_name(status)))
                    }
                    None => Some("the stream has no gRPC status".into()),
                };
                self.end(frame.stream, failure, listen)?;
            }
            CONTINUATION => return Err(broken("a CONTINUATION frame that continues nothing")),
            RST_STREAM => {
                let code = be32(frame.payload);
                let text = format!("stream reset by the server, code {code}");
                self.end(frame.stream, Some(text), listen)?;
            }
            SETTINGS if frame.flags & ACK == 0 => self.on_settings(frame),
            PING if frame.flags & ACK == 0 => {
                frame_head(&mut self.output, frame.payload.len(), PING, ACK, 0);
                self.output.put_slice(frame.payload);
            }
            GOAWAY => return Err(frame.farewell()),
            WINDOW_UPDATE => {
                let more = i64::from(be32(frame.payload) & WINDOW_BYTES_MAX);
                match number_of(frame.stream) {
                    None => self.send_window += more,
                    Some(number) => {
                        if let Some(stream) = self.streams.get_mut(number) {
                            stream.send_window += more;
                        }
                    }
                }
                self.flush();
            }
            PUSH_PROMISE => return Err(broken("the server pushes")),
            _ => {}
        }
        Ok(())
    }

    fn on_settings(&mut self, frame: &Frame<'_>) {
        let mut streams_max = self.peer_streams_max.unwrap_or(usize::MAX);
        for (id, value) in frame.settings() {
            match id {
                MAX_CONCURRENT_STREAMS => streams_max = value as usize,
                INITIAL_WINDOW_SIZE => {
                    let change = i64::from(value) - i64::from(self.peer_stream_window);
                    self.peer_stream_window = value;
                    for stream in &mut self.streams {
                        stream.send_window += change;
                    }
                }
                MAX_FRAME_SIZE => self.peer_frame_max = (value as usize).max(FRAME_BYTES_MAX),
                _ => {}
            }
        }
        self.peer_streams_max = Some(streams_max);
        frame_head(&mut self.output, 0, SETTINGS, ACK, 0);
        self.flush();
    }

    fn on_data(
        &mut self,
        frame: &Frame<'_>,
        listen: &mut impl FnMut(Heard<'_>) -> Result<(), Broken>,
    ) -> Result<(), Broken> {
        let bytes = frame.payload.len() as u32;
        self.received_unreported += bytes;
        if self.received_unreported > REPORT_BYTES {
            window_update(&mut self.output, 0, self.received_unreported);
            self.received_unreported = 0;
        }
        let data = frame.strip().ok_or_else(|| broken("bad padding of a DATA frame"))?;
        let number = number_of(frame.stream).ok_or_else(|| broken("data on no stream"))?;
        let stream = self.streams.get_mut(number).ok_or_else(|| broken("data on an unknown stream"))?;
        stream.received_unreported += bytes;
        if stream.received_unreported > REPORT_BYTES {
            window_update(&mut self.output, frame.stream, stream.received_unreported);
            stream.received_unreported = 0;
        }
        if stream.inbox.is_empty() {
            let used = messages(data, |message| listen(Heard::Message(number, message)))?;
            stream.inbox.put_slice(&data[used..]);
        } else {
            stream.inbox.put_slice(data);
            let used = messages(&stream.inbox, |message| listen(Heard::Message(number, message)))?;
            stream.inbox.advance(used);
        }
        if frame.flags & END_STREAM != 0 {
            self.end(frame.stream, Some("the stream has no gRPC trailers".into()), listen)?;
        }
        Ok(())
    }

    fn end(
        &mut self,
        id: u32,
        failure: Option<String>,
        listen: &mut impl FnMut(Heard<'_>) -> Result<(), Broken>,
    ) -> Result<(), Broken> {
        let Some(number) = number_of(id) else { return Ok(()) };
        match self.streams.get_mut(number) {
            Some(stream) if !stream.ended => {
                stream.ended = true;
                stream.unsent.clear();
                listen(Heard::Ended(number, failure))
            }
            _ => Ok(()),
        }
    }
}

fn id_of(number: StreamNumber) -> u32 {
    number as u32 * 2 + 1
}

fn number_of(id: u32) -> Option<StreamNumber> {
    Some(id.checked_sub(1)? as usize / 2)
}

/// Hands out each whole message at the beginning of `bytes`; returns how many bytes they took.
fn messages(bytes: &[u8], mut each: impl FnMut(&[u8]) -> Result<(), Broken>) -> Result<usize, Broken> {
    let mut at = 0;
    while let Some((&[flag, a, b, c, d], rest)) = bytes[at..].split_first_chunk::<{ grpc::PREFIX_BYTES }>() {
        let len = be32(&[a, b, c, d]) as usize;
        if flag != 0 {
            return Err(broken("a compressed message"));
        }
        if len > MESSAGE_BYTES_MAX {
            return Err(Broken(format!("a message of {len} bytes")));
        }
        let Some(message) = rest.get(..len) else { break };
        each(message)?;
        at += grpc::PREFIX_BYTES + len;
    }
    Ok(at)
}

/// A request's fields, none of which the server is told to remember.
fn block(authority: &str, path: &str) -> Vec<u8> {
    let mut block = vec![0x83, 0x86];
    let mut field = |name: &[u8], value: &str| {
        block.extend_from_slice(name);
        // Lengths stay below 127: a loopback authority and the name of a method.
        block.push(value.len().min(126) as u8);
        block.extend_from_slice(value.as_bytes().get(..126).unwrap_or(value.as_bytes()));
    };
    field(&[4], path);
    field(&[1], authority);
    // Entry 31 of the static table does not fit into four bits.
    field(&[0x0f, 31 - 15], "application/grpc");
    field(b"\0\x02te", "trailers");
    field(b"\0\x0auser-agent", "kvorum-bench");
    block
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> BytesMut {
        let mut out = BytesMut::new();
        frame_head(&mut out, payload.len(), kind, flags, stream);
        out.put_slice(payload);
        out
    }

    fn framed(message: &[u8]) -> Vec<u8> {
        [&grpc::prefix(message.len() as u32)[..], message].concat()
    }

    fn connection(streams: usize) -> Duplex {
        let mut duplex = Duplex::new("127.0.0.1:2379");
        for _ in 0..streams {
            duplex.open("/etcdserverpb.Watch/Watch");
        }
        duplex.output.clear();
        duplex
    }

    fn hear(duplex: &mut Duplex, input: &mut BytesMut) -> Result<Vec<String>, Broken> {
        let mut heard = Vec::new();
        duplex.receive(input, &mut |what| {
            heard.push(match what {
                Heard::Message(number, message) => format!("{number}: {}", String::from_utf8_lossy(message)),
                Heard::Ended(number, failure) => format!("{number} ends: {}", failure.unwrap_or_default()),
            });
            Ok(())
        })?;
        Ok(heard)
    }

    #[test]
    fn messages_are_found_however_the_bytes_arrive() {
        let body = [framed(b"one"), framed(b""), framed(b"three")].concat();
        for cut in 0..body.len() {
            let mut input = frame(HEADERS, END_HEADERS, 3, &[0x88]);
            input.extend_from_slice(&frame(DATA, 0, 3, &body[..cut]));
            input.extend_from_slice(&frame(DATA, 0, 3, &body[cut..]));
            let heard = hear(&mut connection(2), &mut input).expect("well formed");
            assert_eq!(heard, ["1: one", "1: ", "1: three"]);
            assert!(input.is_empty());
        }
    }

    #[test]
    fn the_end_of_a_stream_is_told_once_with_its_reason() {
        let mut duplex = connection(2);
        let mut input = frame(RST_STREAM, 0, 3, &7u32.to_be_bytes());
        input.extend_from_slice(&frame(RST_STREAM, 0, 3, &7u32.to_be_bytes()));
        let trailers = b"\x00\x0bgrpc-status\x0214\x00\x0cgrpc-message\x0bno%20leader";
        input.extend_from_slice(&frame(HEADERS, END_HEADERS | END_STREAM, 1, trailers));
        let heard = hear(&mut duplex, &mut input).expect("well formed");
        assert_eq!(heard, ["1 ends: stream reset by the server, code 7", "0 ends: UNAVAILABLE: no leader"]);
    }

    #[test]
    fn messages_wait_for_both_windows_and_keep_their_order() {
        let mut duplex = connection(2);
        let sent = |duplex: &mut Duplex| {
            let mut bytes = 0;
            while let Some(frame) = Frame::cut(&duplex.output).expect("well formed") {
                bytes += if frame.kind == DATA { frame.payload.len() } else { 0 };
                let whole = frame.bytes();
                duplex.output.advance(whole);
            }
            bytes
        };
        duplex.send(0, &vec![7; 60_000]);
        duplex.send(1, &vec![7; 60_000]);
        assert_eq!(sent(&mut duplex), 65_535);
        let mut input = frame(WINDOW_UPDATE, 0, 0, &60_000u32.to_be_bytes());
        hear(&mut duplex, &mut input).expect("well formed");
        assert_eq!(sent(&mut duplex), 120_010 - 65_535);
        duplex.send(1, &vec![7; 20_000]);
        assert_eq!(sent(&mut duplex), 5525, "the connection's window is what is left of it");
        let mut input = frame(WINDOW_UPDATE, 0, 0, &60_000u32.to_be_bytes());
        hear(&mut duplex, &mut input).expect("well formed");
        assert_eq!(sent(&mut duplex), 5, "the stream's window is used up");
        let mut input = frame(SETTINGS, 0, 0, &[0, 4, 0, 1, 0x86, 0xa0]);
        hear(&mut duplex, &mut input).expect("well formed");
        assert_eq!(sent(&mut duplex), 20_005 - 5530);
        assert_eq!(duplex.streams_max(), Some(usize::MAX));
    }

    #[test]
    fn what_the_client_cannot_do_ends_the_connection() {
        let cases: [(&str, BytesMut); 4] = [
            ("goaway", frame(GOAWAY, 0, 0, &[0; 8])),
            ("an unknown stream", frame(DATA, 0, 5, b"")),
            ("push", frame(PUSH_PROMISE, END_HEADERS, 2, &[0; 8])),
            ("compressed", frame(DATA, 0, 1, b"\x01\0\0\0\0")),
        ];
        for (name, mut input) in cases {
            assert!(hear(&mut connection(1), &mut input).is_err(), "{name}");
        }
    }
}
