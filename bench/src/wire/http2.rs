//! The client half of HTTP/2, cut down to unary gRPC calls of one method.
//!
//! A request is one header block, which is five bytes of table references after the first call, and DATA
//! frames in the same write. Answers are read in place. Flow control is respected when sending and effectively
//! switched off when receiving. The whole request must fit into the stream window that the server announced,
//! so that a request never waits half sent.
//!
//! It never sends priorities, never accepts pushes, and ends the connection on anything unexpected.

use std::collections::{HashMap, VecDeque};
use std::hash::BuildHasherDefault;

use bytes::{Buf as _, BufMut as _, BytesMut};

use super::frame::{
    ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, FRAME_BYTES_MAX, Frame, GOAWAY, HEADER_TABLE_SIZE,
    HEADERS, INITIAL_WINDOW_SIZE, MAX_CONCURRENT_STREAMS, MAX_FRAME_SIZE, PING, PUSH_PROMISE, RST_STREAM,
    SETTINGS, StreamHasher, WINDOW_BYTES_INITIAL, WINDOW_BYTES_MAX, WINDOW_UPDATE, be32, broken, frame_head,
    hello, window_update,
};
use super::{Broken, Finished, Slot, Wire, grpc, hpack};

/// The request's fields after the first call: the first block put five of them into the server's table, where
/// they are entries 66 down to 62 from then on.
const LATER_BLOCK: [u8; 7] = [0x83, 0x86, 0xc2, 0xc1, 0xc0, 0xbf, 0xbe];
/// With a token as the sixth, they are one entry further back.
const LATER_BLOCK_WITH_TOKEN: [u8; 8] = [0x83, 0x86, 0xc3, 0xc2, 0xc1, 0xc0, 0xbf, 0xbe];

#[derive(Default)]
struct Call {
    body: Vec<u8>,
    body_bytes: usize,
}

/// One HTTP/2 connection that calls one gRPC method.
pub(crate) struct Http2 {
    output: BytesMut,
    first_block: Vec<u8>,
    later_block: &'static [u8],
    next_stream: u32,
    streams: HashMap<u32, Slot, BuildHasherDefault<StreamHasher>>,
    calls: Vec<Call>,
    body_kept_max: usize,
    /// Requests that wait for room in the connection's window; at most one for each slot.
    parked: VecDeque<(Slot, Vec<u8>)>,
    send_window: i64,
    peer_stream_window: u32,
    peer_frame_max: usize,
    received_unreported: u32,
    /// A header block in several frames: its stream, whether the stream ends with it, and its bytes so far.
    partial: Option<(u32, bool, Vec<u8>)>,
    /// Trailers that were once read to the end and said OK.
    known_good: Vec<u8>,
}

impl Http2 {
    /// A connection to `authority` for `path`, a method such as `/etcdserverpb.KV/Put`, shared by `slots`
    /// callers. Of each answer `body_kept_max` bytes are kept.
    pub(crate) fn new(authority: &str, path: &str, slots: usize, body_kept_max: usize) -> Self {
        let mut output = BytesMut::with_capacity(64 << 10);
        hello(&mut output);
        Self {
            output,
            first_block: first_block(authority, path),
            later_block: &LATER_BLOCK,
            next_stream: 1,
            streams: HashMap::default(),
            calls: (0..slots).map(|_| Call::default()).collect(),
            body_kept_max,
            parked: VecDeque::with_capacity(slots),
            send_window: i64::from(WINDOW_BYTES_INITIAL),
            peer_stream_window: WINDOW_BYTES_INITIAL,
            peer_frame_max: FRAME_BYTES_MAX,
            received_unreported: 0,
            partial: None,
            known_good: Vec::new(),
        }
    }

    /// The same with a token in every request, of 126 bytes at most.
    pub(crate) fn with_token(mut self, token: Option<&str>) -> Self {
        if let Some(token) = token {
            self.first_block.extend_from_slice(b"\x40\x05token");
            self.first_block.push(token.len().min(126) as u8);
            self.first_block.extend_from_slice(token.as_bytes().get(..126).unwrap_or(token.as_bytes()));
            self.later_block = &LATER_BLOCK_WITH_TOKEN;
        }
        self
    }

    fn send(&mut self, slot: Slot, message: &[u8]) {
        let stream = self.next_stream;
        self.next_stream += 2;
        self.streams.insert(stream, slot);
        let block = if stream == 1 { &self.first_block[..] } else { self.later_block };
        frame_head(&mut self.output, block.len(), HEADERS, END_HEADERS, stream);
        self.output.put_slice(block);

        let total = grpc::PREFIX_BYTES + message.len();
        self.send_window -= total as i64;
        let room = self.peer_frame_max - grpc::PREFIX_BYTES;
        let (head, mut rest) = message.split_at(message.len().min(room));
        let flags = if rest.is_empty() { END_STREAM } else { 0 };
        frame_head(&mut self.output, grpc::PREFIX_BYTES + head.len(), DATA, flags, stream);
        self.output.put_slice(&grpc::prefix(message.len() as u32));
        self.output.put_slice(head);
        while !rest.is_empty() {
            let (part, later) = rest.split_at(rest.len().min(self.peer_frame_max));
            let flags = if later.is_empty() { END_STREAM } else { 0 };
            frame_head(&mut self.output, part.len(), DATA, flags, stream);
            self.output.put_slice(part);
            rest = later;
        }
    }

    fn send_parked(&mut self) {
        while let Some((_, message)) = self.parked.front() {
            if self.send_window < (grpc::PREFIX_BYTES + message.len()) as i64 {
                return;
            }
            if let Some((slot, message)) = self.parked.pop_front() {
                self.send(slot, &message);
            }
        }
    }

    fn handle(&mut self, frame: &Frame<'_>, finished: &mut Vec<Finished>) -> Result<(), Broken> {
        if self.partial.is_some() && frame.kind != CONTINUATION {
            return Err(broken("a header block was interrupted"));
        }
        match frame.kind {
            DATA => self.on_data(frame, finished)?,
            HEADERS => {
                let block = frame.strip().ok_or_else(|| broken("bad padding of a HEADERS frame"))?;
                let end = frame.flags & END_STREAM != 0;
                if frame.flags & END_HEADERS == 0 {
                    self.partial = Some((frame.stream, end, block.to_vec()));
                } else if end {
                    self.on_trailers(frame.stream, block, finished)?;
                }
            }
            CONTINUATION => {
                let Some((stream, end, mut block)) = self.partial.take() else {
                    return Err(broken("a CONTINUATION frame that continues nothing"));
                };
                block.extend_from_slice(frame.payload);
                if frame.flags & END_HEADERS == 0 {
                    self.partial = Some((stream, end, block));
                } else if end {
                    self.on_trailers(stream, &block, finished)?;
                }
            }
            RST_STREAM => {
                let code = be32(frame.payload);
                self.finish(frame.stream, Some(format!("stream reset by the server, code {code}")), finished);
            }
            SETTINGS if frame.flags & ACK == 0 => self.on_settings(frame)?,
            PING if frame.flags & ACK == 0 => {
                frame_head(&mut self.output, frame.payload.len(), PING, ACK, 0);
                self.output.put_slice(frame.payload);
            }
            GOAWAY => return Err(frame.farewell()),
            WINDOW_UPDATE if frame.stream == 0 => {
                self.send_window += i64::from(be32(frame.payload) & WINDOW_BYTES_MAX);
                self.send_parked();
            }
            PUSH_PROMISE => return Err(broken("the server pushes")),
            _ => {}
        }
        Ok(())
    }

    fn on_data(&mut self, frame: &Frame<'_>, finished: &mut Vec<Finished>) -> Result<(), Broken> {
        self.received_unreported += frame.payload.len() as u32;
        if self.received_unreported > WINDOW_BYTES_MAX / 4 {
            window_update(&mut self.output, 0, self.received_unreported);
            self.received_unreported = 0;
        }
        let data = frame.strip().ok_or_else(|| broken("bad padding of a DATA frame"))?;
        if let Some(call) = self.streams.get(&frame.stream).and_then(|&slot| self.calls.get_mut(slot)) {
            call.body_bytes += data.len();
            let room = self.body_kept_max.saturating_sub(call.body.len());
            call.body.extend_from_slice(data.get(..room).unwrap_or(data));
        }
        if frame.flags & END_STREAM != 0 {
            self.finish(frame.stream, Some("the answer has no gRPC trailers".into()), finished);
        }
        Ok(())
    }

    fn on_trailers(&mut self, stream: u32, block: &[u8], finished: &mut Vec<Finished>) -> Result<(), Broken> {
        if block == self.known_good && !block.is_empty() {
            self.finish(stream, None, finished);
            return Ok(());
        }
        let found = hpack::trailers(block).ok_or_else(|| broken("a header block cannot be read"))?;
        let failure = match found.status {
            Some(status) if status == "0" => None,
            Some(status) => {
                let message = found.message.unwrap_or_default().replace("%20", " ");
                Some(format!("{}: {message}", grpc::status_name(&status)))
            }
            None => Some("the answer has no gRPC status".into()),
        };
        if failure.is_none() {
            self.known_good = block.to_vec();
        }
        self.finish(stream, failure, finished);
        Ok(())
    }

    fn on_settings(&mut self, frame: &Frame<'_>) -> Result<(), Broken> {
        for (id, value) in frame.settings() {
            match id {
                HEADER_TABLE_SIZE if (value as usize) < 4096 => {
                    return Err(broken("the server's header table is too small for this client"));
                }
                MAX_CONCURRENT_STREAMS if (value as usize) < self.calls.len() => {
                    let text = format!("the server allows {value} calls per connection; raise --conns");
                    return Err(Broken(text));
                }
                INITIAL_WINDOW_SIZE => self.peer_stream_window = value,
                MAX_FRAME_SIZE => self.peer_frame_max = (value as usize).max(FRAME_BYTES_MAX),
                _ => {}
            }
        }
        frame_head(&mut self.output, 0, SETTINGS, ACK, 0);
        Ok(())
    }

    fn finish(&mut self, stream: u32, failure: Option<String>, finished: &mut Vec<Finished>) {
        if let Some(slot) = self.streams.remove(&stream) {
            let body_bytes = self.calls.get(slot).map_or(0, |call| call.body_bytes);
            finished.push(Finished { slot, failure, body_bytes });
        }
    }
}

impl Wire for Http2 {
    fn start(&mut self, slot: Slot, message: &[u8]) -> Result<(), Broken> {
        let bytes = grpc::PREFIX_BYTES + message.len();
        if bytes > self.peer_stream_window as usize {
            return Err(Broken(format!(
                "a request of {bytes} bytes is larger than the server's stream window"
            )));
        }
        if self.next_stream > WINDOW_BYTES_MAX - 2 {
            return Err(broken("this connection has used up its stream ids"));
        }
        if let Some(call) = self.calls.get_mut(slot) {
            call.body.clear();
            call.body_bytes = 0;
        }
        if self.parked.is_empty() && self.send_window >= bytes as i64 {
            self.send(slot, message);
        } else {
            self.parked.push_back((slot, message.to_vec()));
        }
        Ok(())
    }

    fn receive(&mut self, input: &mut BytesMut, finished: &mut Vec<Finished>) -> Result<(), Broken> {
        let mut at = 0;
        while let Some(frame) = Frame::cut(input.get(at..).unwrap_or_default())? {
            self.handle(&frame, finished)?;
            at += frame.bytes();
        }
        input.advance(at);
        Ok(())
    }

    fn body(&self, slot: Slot) -> &[u8] {
        self.calls.get(slot).map_or(&[], |call| &call.body)
    }

    fn output(&mut self) -> &mut BytesMut {
        &mut self.output
    }
}

/// POST over http, and five fields that the server is told to remember, in the order that `send` relies on.
fn first_block(authority: &str, path: &str) -> Vec<u8> {
    // Indexes of `:path`, `:authority`, `content-type` and `user-agent` in the static table.
    const NAMED: u8 = 0x40;
    let mut block = vec![0x83, 0x86];
    let mut field = |name: &[u8], value: &str| {
        block.extend_from_slice(name);
        // Lengths stay below 127: a loopback authority and the name of a method.
        block.push(value.len().min(126) as u8);
        block.extend_from_slice(value.as_bytes().get(..126).unwrap_or(value.as_bytes()));
    };
    field(&[NAMED + 4], path);
    field(&[NAMED + 1], authority);
    field(&[NAMED + 31], "application/grpc");
    field(b"\x40\x02te", "trailers");
    field(&[NAMED + 58], "kvorum-bench");
    block
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::frame::FRAME_HEAD_BYTES;

    const OK_TRAILERS: &[u8] = b"\x00\x0bgrpc-status\x010";

    fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> BytesMut {
        let mut out = BytesMut::new();
        frame_head(&mut out, payload.len(), kind, flags, stream);
        out.put_slice(payload);
        out
    }

    fn frames(out: &BytesMut) -> Vec<(u8, u8, u32, usize)> {
        let mut found = Vec::new();
        let mut at = 0;
        while at < out.len() {
            let len = be32(&[0, out[at], out[at + 1], out[at + 2]]) as usize;
            found.push((out[at + 3], out[at + 4], be32(&out[at + 5..]), len));
            at += FRAME_HEAD_BYTES + len;
        }
        found
    }

    fn connection(slots: usize) -> Http2 {
        let mut http2 = Http2::new("127.0.0.1:2379", "/etcdserverpb.KV/Put", slots, 64);
        http2.output.clear();
        http2
    }

    fn answer(body: &[u8], stream: u32) -> BytesMut {
        let mut input = frame(HEADERS, END_HEADERS, stream, &[0x88]);
        let mut data = grpc::prefix(body.len() as u32).to_vec();
        data.extend_from_slice(body);
        input.extend_from_slice(&frame(DATA, 0, stream, &data));
        input.extend_from_slice(&frame(HEADERS, END_HEADERS | END_STREAM, stream, OK_TRAILERS));
        input
    }

    #[test]
    fn an_answer_is_found_however_the_bytes_arrive() {
        let whole = answer(b"abc", 1);
        for cut in 0..whole.len() {
            let mut http2 = connection(1);
            http2.start(0, b"request").expect("it fits");
            let (mut input, mut finished) = (BytesMut::from(&whole[..cut]), Vec::new());
            http2.receive(&mut input, &mut finished).expect("well formed");
            assert!(finished.is_empty());
            input.extend_from_slice(&whole[cut..]);
            http2.receive(&mut input, &mut finished).expect("well formed");
            assert_eq!(finished, [Finished { slot: 0, failure: None, body_bytes: 8 }]);
            assert_eq!(grpc::unframe(http2.body(0)), Some(&b"abc"[..]));
            assert!(input.is_empty());
        }
    }

    #[test]
    fn a_status_other_than_zero_is_a_failure_with_its_message() {
        let mut http2 = connection(1);
        http2.start(0, b"").expect("it fits");
        let trailers = b"\x00\x0bgrpc-status\x0214\x00\x0cgrpc-message\x0bno%20leader";
        let mut input = frame(HEADERS, END_HEADERS | END_STREAM, 1, &trailers[..trailers.len()]);
        let mut finished = Vec::new();
        http2.receive(&mut input, &mut finished).expect("well formed");
        assert_eq!(finished[0].failure.as_deref(), Some("UNAVAILABLE: no leader"));
    }

    #[test]
    fn an_answer_without_trailers_or_a_reset_is_a_failure() {
        let mut http2 = connection(2);
        http2.start(0, b"").expect("it fits");
        http2.start(1, b"").expect("it fits");
        let mut input = frame(DATA, END_STREAM, 1, b"<html>");
        input.extend_from_slice(&frame(RST_STREAM, 0, 3, &7u32.to_be_bytes()));
        let mut finished = Vec::new();
        http2.receive(&mut input, &mut finished).expect("well formed");
        assert!(finished.iter().all(|call| call.failure.is_some()));
        assert_eq!(finished.len(), 2);
    }

    #[test]
    fn requests_wait_for_the_window_and_go_in_order() {
        let mut http2 = connection(3);
        let message = vec![7u8; 30_000];
        for slot in 0..3 {
            http2.start(slot, &message).expect("it fits");
        }
        let sent = frames(&http2.output);
        assert_eq!(sent.iter().filter(|frame| frame.0 == HEADERS).count(), 2);
        assert_eq!(http2.parked.len(), 1);
        let data: usize = sent.iter().filter(|frame| frame.0 == DATA).map(|frame| frame.3).sum();
        assert_eq!(data, 2 * 30_005);
        assert!(sent.iter().all(|frame| frame.3 <= FRAME_BYTES_MAX));

        let mut input = frame(WINDOW_UPDATE, 0, 0, &60_000u32.to_be_bytes());
        http2.receive(&mut input, &mut Vec::new()).expect("well formed");
        let last = frames(&http2.output).pop().expect("frames were sent");
        assert_eq!((last.0, last.1, last.2), (DATA, END_STREAM, 5));
    }

    #[test]
    fn settings_and_pings_are_acknowledged() {
        let mut http2 = connection(1);
        let mut input = frame(SETTINGS, 0, 0, &[0, 4, 0, 1, 0, 0]);
        input.extend_from_slice(&frame(PING, 0, 0, b"12345678"));
        http2.receive(&mut input, &mut Vec::new()).expect("well formed");
        assert_eq!(frames(&http2.output), [(SETTINGS, ACK, 0, 0), (PING, ACK, 0, 8)]);
        assert_eq!(http2.peer_stream_window, 65_536);
    }

    #[test]
    fn what_the_client_cannot_do_ends_the_connection() {
        let cases: [(&str, BytesMut); 4] = [
            ("goaway", frame(GOAWAY, 0, 0, &[0; 8])),
            ("too few streams", frame(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 1])),
            ("push", frame(PUSH_PROMISE, END_HEADERS, 2, &[0; 8])),
            ("not HTTP/2", BytesMut::from(&b"HTTP/1.1 400 Bad Request\r\n"[..])),
        ];
        for (name, mut input) in cases {
            assert!(connection(2).receive(&mut input, &mut Vec::new()).is_err(), "{name}");
        }
    }
}
