//! The requests of each workload, and what a good answer to them looks like.
//!
//! Values are slices of a random pool, so that no server gains by compressing them. Requests are built for a
//! client number; nothing here knows sockets, and time only as the stamp in a value.

use std::fmt::Write as _;
use std::sync::LazyLock;
use std::time::Instant;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use crate::wire::{grpc, protobuf as pb};

/// etcd's default limit of operations in one transaction.
pub(crate) const TXN_OPS: u64 = 128;
/// Values start at random places of this many bytes: far more than one block of any store.
const POOL_BYTES: usize = 4 << 20;

/// Nanoseconds since some moment in the life of this process, on a clock that never goes back.
pub(crate) fn stamp_ns() -> u64 {
    static ORIGIN: LazyLock<Instant> = LazyLock::new(Instant::now);
    ORIGIN.elapsed().as_nanos() as u64
}

/// What the clients do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// One key over gRPC, chosen at random.
    Put,
    /// The same, and the value begins with the moment of the request: see [`stamp_ns`].
    StampedPut,
    /// One existing key, linearizable.
    Get,
    /// One existing key, serializable.
    GetSerializable,
    /// `keys` existing keys in one linearizable answer.
    Range,
    /// A transaction that compares the version of the client's own key, puts when it matches, else reads.
    Cas,
    /// A put through the JSON gateway.
    JsonPut,
    /// A linearizable read of one existing key through the JSON gateway.
    JsonRange,
    /// A v2 PUT of one key.
    V2Put,
    /// A v2 GET of one existing key.
    V2Get,
    /// A v2 PUT of the client's own key on condition of its index.
    V2Cas,
    /// A v2 POST: a key in order.
    V2Post,
    /// Keys in order, 128 to a transaction, until there are `keys`.
    Fill,
    /// Keys in order, each with a put of its own, until there are `keys`.
    FillEach,
    /// The same for v2, one by one.
    V2Fill,
}

impl Kind {
    /// Every workload with its name on the command line.
    pub(crate) const ALL: [(&'static str, Self); 15] = [
        ("put", Self::Put),
        ("put-stamped", Self::StampedPut),
        ("get", Self::Get),
        ("get-serializable", Self::GetSerializable),
        ("range", Self::Range),
        ("cas", Self::Cas),
        ("json-put", Self::JsonPut),
        ("json-range", Self::JsonRange),
        ("v2-put", Self::V2Put),
        ("v2-get", Self::V2Get),
        ("v2-cas", Self::V2Cas),
        ("v2-post", Self::V2Post),
        ("fill", Self::Fill),
        ("fill-each", Self::FillEach),
        ("v2-fill", Self::V2Fill),
    ];

    /// The workload called `name`.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(known, _)| *known == name).map(|(_, kind)| *kind)
    }

    /// The name of this workload.
    pub(crate) fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, known)| *known == self).map_or("", |(name, _)| name)
    }

    /// The gRPC method; `None` for workloads over HTTP/1.1.
    pub(crate) fn method(self) -> Option<&'static str> {
        match self {
            Self::Put | Self::StampedPut | Self::FillEach => Some("/etcdserverpb.KV/Put"),
            Self::Get | Self::GetSerializable | Self::Range => Some("/etcdserverpb.KV/Range"),
            Self::Cas | Self::Fill => Some("/etcdserverpb.KV/Txn"),
            Self::JsonPut
            | Self::JsonRange
            | Self::V2Put
            | Self::V2Get
            | Self::V2Cas
            | Self::V2Post
            | Self::V2Fill => None,
        }
    }

    /// Whether the workload ends by itself when all keys are written.
    pub(crate) fn is_fill(self) -> bool {
        matches!(self, Self::Fill | Self::FillEach | Self::V2Fill)
    }

    /// What must be there before it starts.
    pub(crate) fn needs(self) -> Option<Self> {
        match self {
            Self::Get | Self::GetSerializable | Self::Range | Self::JsonRange => Some(Self::Fill),
            Self::V2Get => Some(Self::V2Fill),
            _ => None,
        }
    }
}

/// A workload in numbers.
#[derive(Clone, Debug)]
pub(crate) struct Shape {
    /// What is done.
    pub(crate) kind: Kind,
    /// How many different keys.
    pub(crate) keys: u64,
    /// Bytes of each key: one letter and digits.
    pub(crate) key_bytes: usize,
    /// Bytes of each value.
    pub(crate) value_bytes: usize,
    /// Concurrent callers.
    pub(crate) clients: usize,
    /// Start of the random numbers.
    pub(crate) seed: u64,
    /// `host:port` of each server that is asked; HTTP/1.1 wants the first in every request.
    pub(crate) endpoints: Vec<String>,
}

/// SplitMix64: a few instructions, and good enough to choose keys.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((u128::from(mixed ^ (mixed >> 31)) * u128::from(end)) >> 64) as u64
    }
}

/// What one client remembers between its calls.
#[derive(Clone, Default)]
struct Client {
    /// Operations inside the call that is on its way.
    operations: u64,
    /// Version of its own key, or its v2 index, as far as it knows.
    version: u64,
    /// Whether an answer has told it that version.
    knows: bool,
}

/// A workload under way.
pub(crate) struct Workload {
    shape: Shape,
    random: Random,
    pool: Vec<u8>,
    clients: Vec<Client>,
    next_key: u64,
    key: Vec<u8>,
    text: String,
    part: Vec<u8>,
}

impl Workload {
    /// Builds the pool of values, which takes some milliseconds.
    pub(crate) fn new(shape: Shape) -> Self {
        let mut random = Random(shape.seed);
        let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        let pool = (0..POOL_BYTES + shape.value_bytes * 2).map(|_| {
            let at = random.below(if shape.kind.method().is_some() { 256 } else { 64 });
            if shape.kind.method().is_some() { at as u8 } else { alphabet[at as usize] }
        });
        let pool = pool.collect();
        let clients = vec![Client::default(); shape.clients];
        Self {
            shape,
            random,
            pool,
            clients,
            next_key: 0,
            key: Vec::new(),
            text: String::new(),
            part: Vec::new(),
        }
    }

    /// Replaces `out` by the next request of `client`: a protobuf message, or the text of an HTTP request.
    ///
    /// Returns the number of operations in it; zero when nothing is left to do.
    pub(crate) fn request(&mut self, client: usize, out: &mut Vec<u8>) -> u64 {
        out.clear();
        let mut operations = 1;
        match self.shape.kind {
            Kind::Put => {
                let at = self.random.below(self.shape.keys);
                self.put(at, out);
            }
            Kind::StampedPut => {
                let at = self.random.below(self.shape.keys);
                self.put(at, out);
                // The value is the last field, so its beginning is found from the end.
                let value = out.len() - self.shape.value_bytes;
                if let Some(head) = out[value..].first_chunk_mut() {
                    *head = stamp_ns().to_be_bytes();
                }
            }
            Kind::Get | Kind::GetSerializable => {
                let at = self.random.below(self.shape.keys);
                self.set_key(b'k', at);
                pb::put_bytes(out, 1, &self.key);
                if self.shape.kind == Kind::GetSerializable {
                    pb::put_number(out, 7, 1);
                }
            }
            Kind::Range => {
                pb::put_bytes(out, 1, b"k");
                pb::put_bytes(out, 2, b"l");
                pb::put_number(out, 3, self.shape.keys);
            }
            Kind::Cas => self.cas(client, out),
            Kind::Fill => {
                operations = TXN_OPS.min(self.shape.keys - self.next_key);
                for _ in 0..operations {
                    let mut put = std::mem::take(&mut self.part);
                    put.clear();
                    self.put(self.next_key, &mut put);
                    put_operation(out, 2, 2, &put);
                    self.part = put;
                    self.next_key += 1;
                }
            }
            Kind::FillEach => {
                operations = (self.shape.keys - self.next_key).min(1);
                self.put(self.next_key, out);
                self.next_key += operations;
            }
            Kind::JsonPut | Kind::JsonRange => {
                let at = self.random.below(self.shape.keys);
                self.json(at, out);
            }
            Kind::V2Put | Kind::V2Get => {
                let at = self.random.below(self.shape.keys);
                self.v2(at, out);
            }
            Kind::V2Cas => self.v2_cas(client, out),
            Kind::V2Post => self.v2_form("POST /v2/keys/bench-queue", out),
            Kind::V2Fill => {
                operations = (self.shape.keys - self.next_key).min(1);
                self.v2(self.next_key, out);
                self.next_key += operations;
            }
        }
        self.clients[client].operations = operations;
        operations
    }

    /// Looks at a good answer to the last request of `client` once more.
    ///
    /// Returns how many operations it stands for, or what is wrong with it.
    pub(crate) fn judge(
        &mut self,
        client: usize,
        body: &[u8],
        body_bytes: usize,
    ) -> Result<u64, &'static str> {
        let pair = self.shape.key_bytes + self.shape.value_bytes;
        let expected = match self.shape.kind {
            Kind::Get | Kind::GetSerializable | Kind::JsonRange | Kind::V2Get => pair,
            Kind::Range => pair * self.shape.keys as usize,
            _ => 0,
        };
        if body_bytes < expected {
            return Err("the answer is too short to hold the keys asked for");
        }
        let state = &mut self.clients[client];
        if self.shape.kind == Kind::V2Cas {
            // The node comes before what it was.
            state.version = number_after(body, b"\"modifiedIndex\":").ok_or("the answer has no index")?;
            return Ok(state.operations);
        }
        if matches!(self.shape.kind, Kind::Cas | Kind::Fill) {
            let message = grpc::unframe(body).ok_or("the answer is not one gRPC message")?;
            let knew = std::mem::replace(&mut state.knows, true);
            if pb::number(message, 2) != u64::from(true) {
                state.version = read_version(message);
                // The key may be there from an earlier run, so the first call only asks.
                return if knew { Err("the transaction's comparison did not hold") } else { Ok(0) };
            }
        }
        state.version += 1;
        Ok(state.operations)
    }

    fn set_key(&mut self, letter: u8, mut number: u64) {
        self.key.clear();
        self.key.resize(self.shape.key_bytes, b'0');
        self.key[0] = letter;
        for digit in self.key.iter_mut().skip(1).rev() {
            *digit = b'0' + (number % 10) as u8;
            number /= 10;
        }
    }

    fn host(&self) -> &str {
        self.shape.endpoints.first().map_or("localhost", String::as_str)
    }

    fn value(&mut self) -> &[u8] {
        let at = self.random.below(POOL_BYTES as u64) as usize;
        &self.pool[at..at + self.shape.value_bytes]
    }

    fn put(&mut self, number: u64, out: &mut Vec<u8>) {
        self.set_key(b'k', number);
        pb::put_bytes(out, 1, &self.key);
        pb::put_bytes(out, 2, self.value());
    }

    fn cas(&mut self, client: usize, out: &mut Vec<u8>) {
        let version = self.clients[client].version;
        self.set_key(b'c', client as u64);
        let mut part = std::mem::take(&mut self.part);
        part.clear();
        // Result EQUAL and target VERSION are both zero, and so left out.
        pb::put_bytes(&mut part, 3, &self.key);
        pb::put_number(&mut part, 4, version);
        pb::put_bytes(out, 1, &part);
        part.clear();
        pb::put_bytes(&mut part, 1, &self.key);
        let get = part.clone();
        pb::put_bytes(&mut part, 2, self.value());
        put_operation(out, 2, 2, &part);
        put_operation(out, 3, 1, &get);
        self.part = part;
    }

    fn json(&mut self, number: u64, out: &mut Vec<u8>) {
        self.set_key(b'k', number);
        self.text.clear();
        self.text.push_str("{\"key\":\"");
        BASE64.encode_string(&self.key, &mut self.text);
        let path = if self.shape.kind == Kind::JsonPut {
            self.text.push_str("\",\"value\":\"");
            let at = self.random.below(POOL_BYTES as u64) as usize;
            let letters = &self.pool[at..at + self.shape.value_bytes / 3 * 4];
            // The pool holds the URL-safe alphabet, which the gateway's decoder does not have to know.
            self.text.extend(letters.iter().map(|&letter| match letter {
                b'-' => '+',
                b'_' => '/',
                other => char::from(other),
            }));
            self.text.push_str(["", "AA==", "AAA="][self.shape.value_bytes % 3]);
            "put"
        } else {
            "range"
        };
        self.text.push_str("\"}");
        let head = format_args!("POST /v3/kv/{path} HTTP/1.1\r\nHost: {}\r\n", self.host()).to_string();
        out.extend_from_slice(head.as_bytes());
        push_body(out, "application/json", self.text.as_bytes());
    }

    fn v2(&mut self, number: u64, out: &mut Vec<u8>) {
        self.set_key(b'k', number);
        let key = String::from_utf8_lossy(&self.key);
        if self.shape.kind == Kind::V2Get {
            let head = format!("GET /v2/keys/bench/{key} HTTP/1.1\r\nHost: {}\r\n\r\n", self.host());
            out.extend_from_slice(head.as_bytes());
        } else {
            let line = format!("PUT /v2/keys/bench/{key}");
            self.v2_form(&line, out);
        }
    }

    fn v2_cas(&mut self, client: usize, out: &mut Vec<u8>) {
        let line = match self.clients[client].version {
            0 => format!("PUT /v2/keys/bench-cas/{client}"),
            index => format!("PUT /v2/keys/bench-cas/{client}?prevIndex={index}"),
        };
        self.v2_form(&line, out);
    }

    /// A request with a value in its form.
    fn v2_form(&mut self, line: &str, out: &mut Vec<u8>) {
        out.extend_from_slice(line.as_bytes());
        out.extend_from_slice(b" HTTP/1.1\r\nHost: ");
        out.extend_from_slice(self.host().as_bytes());
        out.extend_from_slice(b"\r\n");
        let mut form = std::mem::take(&mut self.part);
        form.clear();
        form.extend_from_slice(b"value=");
        form.extend_from_slice(self.value());
        push_body(out, "application/x-www-form-urlencoded", &form);
        self.part = form;
    }
}

/// The number that follows the first `name`.
pub(crate) fn number_after(text: &[u8], name: &[u8]) -> Option<u64> {
    let at = text.windows(name.len()).position(|window| window == name)? + name.len();
    let rest = text.get(at..)?;
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    str::from_utf8(rest.get(..digits)?).ok()?.parse().ok()
}

/// Appends an operation of a transaction: `branch` is the field of the request, `kind` that of the operation.
fn put_operation(out: &mut Vec<u8>, branch: u32, kind: u32, request: &[u8]) {
    let mut len = Vec::with_capacity(8);
    pb::put_varint(&mut len, request.len() as u64);
    pb::put_varint(out, (u64::from(branch) << 3) | 2);
    pb::put_varint(out, (1 + len.len() + request.len()) as u64);
    pb::put_bytes(out, kind, request);
}

/// The version in a transaction's answer whose only operation read one key; zero when there is none.
fn read_version(answer: &[u8]) -> u64 {
    let range = pb::messages(answer, 3).next().and_then(|operation| pb::messages(operation, 1).next());
    let pair = range.and_then(|range| pb::messages(range, 2).next());
    pair.map_or(0, |pair| pb::number(pair, 4))
}

fn push_body(out: &mut Vec<u8>, kind: &str, body: &[u8]) {
    let mut head = String::with_capacity(80);
    // Writing into a string cannot fail.
    let _ = write!(head, "Content-Type: {kind}\r\nContent-Length: {}\r\n\r\n", body.len());
    out.extend_from_slice(head.as_bytes());
    out.extend_from_slice(body);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::protobuf::{messages, number};

    fn workload(kind: Kind, keys: u64) -> Workload {
        let endpoints = vec!["127.0.0.1:1".to_owned()];
        Workload::new(Shape { kind, keys, key_bytes: 8, value_bytes: 256, clients: 2, seed: 1, endpoints })
    }

    /// The answer to a transaction, which read its key at `version` when it did not succeed.
    fn answer(succeeded: bool, version: u64) -> Vec<u8> {
        let wrap = |field, inner: &[u8]| {
            let mut out = Vec::new();
            pb::put_bytes(&mut out, field, inner);
            out
        };
        let mut message = wrap(1, b"");
        if succeeded {
            pb::put_number(&mut message, 2, 1);
        } else {
            let mut pair = wrap(1, b"key");
            pb::put_number(&mut pair, 4, version);
            message.extend_from_slice(&wrap(3, &wrap(1, &wrap(2, &pair))));
        }
        let mut body = grpc::prefix(message.len() as u32).to_vec();
        body.extend_from_slice(&message);
        body
    }

    #[test]
    fn a_fill_writes_every_key_once_and_ends() {
        let mut fill = workload(Kind::Fill, 300);
        let (mut out, mut keys, mut sizes) = (Vec::new(), Vec::new(), Vec::new());
        loop {
            let operations = fill.request(0, &mut out);
            if operations == 0 {
                break;
            }
            sizes.push(operations);
            for operation in messages(&out, 2) {
                let put = messages(operation, 2).next().expect("a put");
                let [key, value] = [1, 2].map(|field| messages(put, field).next().expect("both are there"));
                assert_eq!((key.len(), value.len()), (8, 256));
                keys.push(key.to_vec());
            }
        }
        assert_eq!(sizes, [128, 128, 44]);
        assert_eq!((keys.len(), &keys[299][..]), (300, &b"k0000299"[..]));
        keys.dedup();
        assert_eq!(keys.len(), 300);
    }

    #[test]
    fn compare_and_swap_asks_once_and_then_follows_the_version() {
        let mut cas = workload(Kind::Cas, 1);
        let compared = |cas: &mut Workload| {
            let mut out = Vec::new();
            cas.request(1, &mut out);
            let compare = messages(&out, 1).next().expect("one comparison").to_vec();
            assert_eq!(messages(&compare, 3).next(), Some(&b"c0000001"[..]));
            number(&compare, 4)
        };
        assert_eq!(compared(&mut cas), 0);
        assert_eq!(cas.judge(1, &answer(false, 7), 0), Ok(0), "left over from an earlier run");
        assert_eq!(compared(&mut cas), 7);
        assert_eq!(cas.judge(1, &answer(true, 0), 0), Ok(1));
        assert_eq!(compared(&mut cas), 8);
        assert!(cas.judge(1, &answer(false, 10), 0).is_err(), "somebody else wrote it");
        assert_eq!(compared(&mut cas), 10);
    }

    #[test]
    fn a_conditional_put_of_v2_follows_the_index() {
        let mut cas = workload(Kind::V2Cas, 1);
        let line = |cas: &mut Workload| {
            let mut out = Vec::new();
            cas.request(1, &mut out);
            String::from_utf8_lossy(&out).lines().next().unwrap_or_default().to_owned()
        };
        assert_eq!(line(&mut cas), "PUT /v2/keys/bench-cas/1 HTTP/1.1");
        let body = br#"{"node":{"modifiedIndex":17,"createdIndex":4},"prevNode":{"modifiedIndex":9}}"#;
        assert_eq!(cas.judge(1, body, body.len()), Ok(1));
        assert_eq!(line(&mut cas), "PUT /v2/keys/bench-cas/1?prevIndex=17 HTTP/1.1");
        assert!(cas.judge(1, b"{}", 2).is_err());
    }

    #[test]
    fn an_answer_without_the_key_is_not_a_good_answer() {
        let mut get = workload(Kind::Get, 10);
        get.request(0, &mut Vec::new());
        assert!(get.judge(0, b"", 40).is_err());
        assert_eq!(get.judge(0, b"", 264), Ok(1));
    }

    #[test]
    fn json_bodies_are_whole_and_values_decode_to_their_size() {
        let mut out = Vec::new();
        workload(Kind::JsonPut, 10).request(0, &mut out);
        let text = String::from_utf8(out).expect("text");
        let (head, body) = text.split_once("\r\n\r\n").expect("a head");
        assert!(head.contains(&format!("Content-Length: {}", body.len())));
        let json: serde_json::Value = serde_json::from_str(body).expect("json");
        let value = BASE64.decode(json["value"].as_str().expect("a string")).expect("canonical base64");
        assert_eq!(value.len(), 256);
    }
}
