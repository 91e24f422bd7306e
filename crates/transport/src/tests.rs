//! Transports on loopback, with real sockets.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::{BufMut, Bytes, BytesMut};
use http::{Method, Request};
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::time::sleep;
use types::{ClusterId, Index, MemberId, MemberRecord};

use crate::{Config, FetchError, Inbox, Inquired, Lane, Office, Peer, Transport, ask, census, papers};

/// What a condition may take, on a machine that is busy with other things.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) fn config(member: u64) -> Config {
    Config {
        cluster: ClusterId(0xabc),
        member: MemberId(member),
        version: "3.5.0".to_owned(),
        peer_urls: Vec::new(),
        heartbeat: Duration::from_millis(20),
        queue_bytes_max: Config::QUEUE_BYTES_MAX,
        tls: None,
    }
}

/// Remembers what it was told.
#[derive(Default)]
struct Desk {
    frames: Mutex<BTreeMap<MemberId, Vec<Bytes>>>,
    calls: AtomicUsize,
    unreachable: Mutex<Vec<MemberId>>,
    gone: Mutex<Vec<MemberId>>,
    removed_by: Mutex<Vec<MemberId>>,
    measured: AtomicBool,
    removed: Mutex<Vec<MemberId>>,
    file: Mutex<Bytes>,
}

impl Desk {
    fn count(&self, from: u64) -> usize {
        self.frames.lock().get(&MemberId(from)).map_or(0, Vec::len)
    }

    fn take(&self, from: u64) -> Vec<Bytes> {
        self.frames.lock().remove(&MemberId(from)).unwrap_or_default()
    }
}

impl Inbox for Desk {
    fn receive(&self, from: MemberId, frames: Vec<Bytes>) {
        self.calls.fetch_add(1, Ordering::Relaxed);
        self.frames.lock().entry(from).or_default().extend(frames);
    }

    fn unreachable(&self, peer: MemberId) {
        self.unreachable.lock().push(peer);
    }

    fn gone(&self, peer: MemberId) {
        self.gone.lock().push(peer);
    }

    fn removed(&self, by: MemberId) {
        self.removed_by.lock().push(by);
    }

    fn round_trip(&self, _: MemberId, _: Duration) {
        self.measured.store(true, Ordering::Relaxed);
    }
}

impl Office for Desk {
    fn version(&self) -> String {
        r#"{"etcdserver":"3.5.0"}"#.to_owned()
    }

    fn members(&self) -> Vec<MemberRecord> {
        let member = |id, name: &str, client_urls: &[&str], learner| MemberRecord {
            id: MemberId(id),
            name: name.to_owned(),
            peer_urls: vec![format!("http://{id}:2380")],
            client_urls: client_urls.iter().map(ToString::to_string).collect(),
            learner,
        };
        vec![
            member(7_383_792_418_829_112_008, "default", &["http://c:2379"], false),
            member(2, "", &[], true),
        ]
    }

    fn is_removed(&self, member: MemberId) -> bool {
        self.removed.lock().contains(&member)
    }

    fn fingerprint(&self, index: Index) -> Option<u64> {
        (index.0 == 7).then_some(u64::MAX)
    }

    fn inquire(&self, question: Bytes) -> Inquired {
        Box::pin(async move { question.strip_prefix(b"echo ").map(Bytes::copy_from_slice) })
    }

    fn snapshot(&self, _visitor: MemberId, id: &str) -> io::Result<Option<Bytes>> {
        Ok((id == "5-1").then(|| Bytes::from_static(b"manifest")))
    }

    fn snapshot_piece(
        &self,
        _visitor: MemberId,
        id: &str,
        file: &str,
        offset: u64,
        most: usize,
    ) -> io::Result<Option<Bytes>> {
        if (id, file) != ("5-1", "a/b") {
            return Ok(None);
        }
        let bytes = self.file.lock().clone();
        let from = usize::try_from(offset).expect("small").min(bytes.len());
        Ok(Some(bytes.slice(from..bytes.len().min(from + most))))
    }
}

/// A member: a transport with its desk and its URL.
struct Node {
    desk: Arc<Desk>,
    transport: Arc<Transport>,
    url: String,
}

impl Node {
    async fn start(config: Config) -> Self {
        Self::start_at(config, "127.0.0.1:0").await
    }

    async fn start_at(config: Config, address: &str) -> Self {
        let listener = TcpListener::bind(address).await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        let desk = Arc::new(Desk::default());
        let transport = Transport::start(config, desk.clone(), desk.clone(), &Handle::current());
        tokio::spawn(Arc::clone(&transport).serve(listener, None));
        Self { desk, transport, url }
    }

    fn knows(&self, peers: &[(u64, &str)]) {
        let peer = |(id, url): &(u64, &str)| Peer { id: MemberId(*id), urls: vec![(*url).to_owned()] };
        self.transport.set_peers(peers.iter().map(peer).collect());
    }

    fn send(&self, to: u64, lane: Lane, frame: impl Into<Bytes>) -> bool {
        self.transport.send(MemberId(to), lane, frame.into())
    }

    fn is_connected(&self, to: u64) -> bool {
        let peers = self.transport.peers();
        peers.iter().any(|peer| peer.id == MemberId(to) && peer.connected_since.is_some())
    }

    /// Until both lanes take frames.
    async fn reaches(&self, to: u64) {
        until("both lanes", || self.send(to, Lane::Vital, "hello") && self.send(to, Lane::Bulk, "hello"))
            .await;
    }
}

async fn until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "still not: {what}");
        // Reason to sleep: the condition is looked at again.
        sleep(Duration::from_millis(2)).await;
    }
}

async fn two() -> (Node, Node) {
    let (a, b) = (Node::start(config(1)).await, Node::start(config(2)).await);
    a.knows(&[(1, &a.url), (2, &b.url)]);
    b.knows(&[(1, &a.url), (2, &b.url)]);
    a.reaches(2).await;
    b.reaches(1).await;
    // Greetings may have been many.
    let settled = || a.desk.count(2) >= 2 && b.desk.count(1) >= 2;
    until("greetings", settled).await;
    (a, b)
}

fn numbered(number: u32, length: usize) -> Bytes {
    let mut bytes = BytesMut::with_capacity(length + 4);
    bytes.put_u32(number);
    bytes.put_bytes(7, length);
    bytes.freeze()
}

fn numbers(frames: &[Bytes]) -> Vec<u32> {
    let number = |frame: &Bytes| frame.first_chunk().copied().map(u32::from_be_bytes);
    frames.iter().filter(|frame| &frame[..] != b"hello").filter_map(number).collect()
}

#[tokio::test]
async fn three_members_send_each_other_in_order() {
    let nodes = [Node::start(config(1)).await, Node::start(config(2)).await, Node::start(config(3)).await];
    let urls: Vec<(u64, &str)> = (1..).zip(nodes.iter().map(|node| node.url.as_str())).collect();
    for node in &nodes {
        node.knows(&urls);
    }
    for (from, node) in (1..).zip(&nodes) {
        for to in (1..=3).filter(|to| *to != from) {
            node.reaches(to).await;
            for number in 0..2000 {
                // Some are larger than what is copied, and some than a DATA frame.
                let length =
                    [10, 0, 300, 20_000, 70][number as usize % 5] + (number as usize / 1999) * 600_000;
                assert!(node.send(to, Lane::Vital, numbered(number, length)));
            }
        }
    }
    for (to, node) in (1..).zip(&nodes) {
        for from in (1..=3).filter(|from| *from != to) {
            let all = || {
                node.desk
                    .frames
                    .lock()
                    .get(&MemberId(from))
                    .is_some_and(|frames| numbers(frames).len() == 2000)
            };
            until("all frames", all).await;
            assert!(numbers(&node.desk.take(from)).into_iter().eq(0..2000), "from {from} to {to}");
        }
        assert!(node.desk.calls.load(Ordering::Relaxed) < 2500, "frames come together");
        until("a round trip", || node.desk.measured.load(Ordering::Relaxed)).await;
        assert!(node.desk.unreachable.lock().len() <= 8, "the start alone");
    }
    let health = nodes[0].transport.peers();
    assert_eq!(health.iter().map(|peer| peer.id.0).collect::<Vec<_>>(), [2, 3]);
    assert!(health.iter().all(|peer| peer.round_trip.is_some() && peer.received_bytes > 8_000_000));
}

#[tokio::test]
async fn streams_come_back_after_the_other_side_restarts() {
    let (a, b) = two().await;
    a.desk.unreachable.lock().clear();
    let address = b.url.trim_start_matches("http://").to_owned();
    b.transport.stop();
    b.transport.stopped().await;
    until("the loss is told", || a.desk.unreachable.lock().contains(&MemberId(2))).await;
    until("frames are dropped", || !a.send(2, Lane::Vital, "lost")).await;
    assert!(!a.is_connected(2));
    until("the end of the process is told", || a.desk.gone.lock().contains(&MemberId(2))).await;
    drop(b);
    until("it is told again", || a.desk.gone.lock().len() >= 2).await;
    let b = Node::start_at(config(2), &address).await;
    until("frames arrive", || {
        a.send(2, Lane::Vital, "hello");
        b.desk.count(1) > 0
    })
    .await;
}

#[tokio::test]
async fn a_peer_that_moves_is_found_at_its_new_url_and_the_first_that_answers_is_taken() {
    let (a, b) = two().await;
    b.transport.stop();
    let c = Node::start(config(2)).await;
    let nowhere = "http://127.0.0.1:1".to_owned();
    a.transport.set_peers(vec![Peer { id: MemberId(2), urls: vec![nowhere, c.url.clone()] }]);
    until("frames arrive", || {
        a.send(2, Lane::Vital, "hello");
        c.desk.count(1) > 0
    })
    .await;
}

/// What this thread logs.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn another_cluster_is_refused_on_both_sides_and_the_log_tells_once() {
    let lines = Lines::default();
    let writer = lines.clone();
    let log = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
    let _log = tracing::subscriber::set_default(log);
    let a = Node::start(config(1)).await;
    let b = Node::start(Config { cluster: ClusterId(0xdef), ..config(2) }).await;
    a.knows(&[(2, &b.url)]);
    b.knows(&[(1, &a.url)]);
    let tried = || !a.send(2, Lane::Vital, "x") && a.desk.unreachable.lock().len() > 5;
    until("several attempts", tried).await;
    let refused = a.transport.get(MemberId(2), "/kvorum/fingerprint?index=7").await.expect_err("refused");
    assert_eq!(refused.to_string(), "refused (412): request cluster ID mismatch (got abc want def)");
    assert!(!a.is_connected(2) && a.desk.count(2) == 0 && b.desk.count(1) == 0);
    let lines = String::from_utf8(lines.0.lock().clone()).expect("text");
    let count =
        |parts: &[&str]| lines.lines().filter(|line| parts.iter().all(|part| line.contains(part))).count();
    let sentence = "request cluster ID mismatch (got abc want def)";
    assert_eq!(count(&["rejected a peer's request", "remote-peer-id=\"1\"", sentence]), 1, "{lines}");
    assert_eq!(count(&["peer became inactive", "remote-peer-id=2", sentence]), 1, "{lines}");
    assert_eq!(count(&[]), 4, "as much from the other side: {lines}");
}

#[tokio::test]
async fn a_member_that_is_removed_is_told_at_once() {
    let (a, b) = two().await;
    a.desk.removed.lock().push(MemberId(2));
    a.knows(&[]);
    until("it hears of it", || b.desk.removed_by.lock().contains(&MemberId(1))).await;
    assert!(!a.send(2, Lane::Vital, "x"));
    until("it is cut off", || !b.send(1, Lane::Vital, "x")).await;
}

#[tokio::test]
async fn a_stranger_of_this_cluster_is_answered_where_it_says_it_is() {
    let a = Node::start(config(1)).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    let desk = Arc::new(Desk::default());
    let with_url = Config { peer_urls: vec![url], ..config(2) };
    let b = Transport::start(with_url, desk.clone(), desk.clone(), &Handle::current());
    tokio::spawn(Arc::clone(&b).serve(listener, None));
    b.set_peers(vec![Peer { id: MemberId(1), urls: vec![a.url.clone()] }]);
    a.reaches(2).await;
    assert_eq!(a.transport.peers(), [], "it is no peer yet");
    b.stop();
    until("it is forgotten", || !a.send(2, Lane::Vital, "x")).await;
}

#[tokio::test]
async fn a_full_queue_drops_and_tells_once() {
    let (a, _b) = two().await;
    a.desk.unreachable.lock().clear();
    let slow = Node::start(Config { queue_bytes_max: 1 << 20, ..config(3) }).await;
    slow.knows(&[(1, &a.url)]);
    slow.reaches(1).await;
    slow.desk.unreachable.lock().clear();
    // Nobody empties the queue while this task does not yield.
    let taken = (0..100).filter(|_| slow.send(1, Lane::Bulk, vec![0; 100_000])).count();
    assert!((9..=10).contains(&taken), "{taken}");
    until("the loss is told", || slow.desk.unreachable.lock().len() == 1).await;
    until("the rest arrives", || {
        let frames = a.desk.frames.lock();
        let frames = frames.get(&MemberId(3)).map_or(&[][..], Vec::as_slice);
        frames.iter().filter(|frame| frame.len() == 100_000).count() == taken
    })
    .await;
    assert_eq!(slow.desk.unreachable.lock().len(), 1);
    assert!(slow.transport.peers()[0].dropped_frames >= 90);
}

#[tokio::test]
async fn what_is_large_does_not_delay_what_is_vital() {
    let (a, b) = two().await;
    for _ in 0..60 {
        assert!(a.send(2, Lane::Bulk, vec![0; 1 << 20]));
    }
    assert!(a.send(2, Lane::Vital, "now"));
    let vital = |frames: &Vec<Bytes>| frames.iter().any(|frame| &frame[..] == b"now");
    until("the vital one", || b.desk.frames.lock().get(&MemberId(1)).is_some_and(vital)).await;
    let large = b.desk.frames.lock()[&MemberId(1)].iter().filter(|frame| frame.len() == 1 << 20).count();
    assert!(large < 30, "{large} large ones were first");
    let all =
        || b.desk.frames.lock()[&MemberId(1)].iter().filter(|frame| frame.len() == 1 << 20).count() == 60;
    until("the large ones", all).await;
}

#[tokio::test]
async fn a_damaged_frame_ends_the_stream_and_is_not_handed_over() {
    let b = Node::start(config(2)).await;
    let address = b.url.trim_start_matches("http://").to_owned();
    let socket = TcpStream::connect(&address).await.expect("it listens");
    let (mut requests, connection) = h2::client::handshake(socket).await.expect("HTTP/2");
    let connection = tokio::spawn(connection);
    let mut request = Request::new(());
    *request.method_mut() = Method::POST;
    *request.uri_mut() = format!("{}/kvorum/stream/vital", b.url).parse().expect("a URL");
    *request.headers_mut() = papers::issue(&config(1), MemberId(2));
    let (answer, mut body) = requests.send_request(request, false).expect("open");
    assert_eq!(answer.await.expect("an answer").status(), 200);
    let mut packer = crate::frame::Packer::default();
    packer.push(Bytes::from_static(b"good"));
    let good = packer.pieces().next().expect("one");
    let mut bad = good.to_vec();
    bad[9] ^= 1;
    body.send_data(good, false).expect("open");
    body.send_data(bad.into(), false).expect("open");
    drop(connection.await.expect("no panic"));
    assert_eq!(b.desk.take(1), ["good"]);
}

#[tokio::test]
async fn what_a_snapshot_is_made_of_can_be_fetched_from_anywhere() {
    let (a, b) = two().await;
    let file: Bytes = (0..3_500_000_u32).map(|at| (at % 251) as u8).collect::<Vec<u8>>().into();
    *b.desk.file.lock() = file.clone();
    let get = |path: &'static str| a.transport.get(MemberId(2), path);
    let manifest = get("/kvorum/snapshot/5-1").await.expect("there").whole(100).await.expect("short");
    assert_eq!(&manifest[..], b"manifest");
    for offset in [0_usize, 1, 1 << 20, 3_499_999, 3_500_000] {
        let path = format!("/kvorum/snapshot/5-1/a/b?offset={offset}");
        let mut response = a.transport.get(MemberId(2), &path).await.expect("there");
        let mut fetched = Vec::new();
        while let Some(piece) = response.piece().await.expect("whole") {
            fetched.extend_from_slice(&piece);
        }
        assert!(fetched == file[offset..], "from {offset}");
    }
    let fingerprint =
        get("/kvorum/fingerprint?index=7").await.expect("known").whole(100).await.expect("short");
    assert_eq!(&fingerprint[..], b"18446744073709551615\n");
    for path in ["/kvorum/fingerprint?index=8", "/kvorum/snapshot/6-1", "/kvorum/snapshot/5-1/c", "/kvorum/x"]
    {
        let refused = get(path).await.map(drop).expect_err(path);
        assert!(matches!(refused, FetchError::Refused { status: 404, .. }), "{path}: {refused}");
    }
    let unknown = a.transport.get(MemberId(9), "/version").await.map(drop).expect_err("unknown");
    assert_eq!(unknown.to_string(), "member 9 is no peer");
}

#[tokio::test]
async fn strangers_learn_what_etcd_tells_them() {
    let node = Node::start(config(1)).await;
    let get = async |path: &str| {
        let answer = ask(&node.url, path, None, PATIENCE).await.expect("an answer");
        let cluster = answer.cluster.map_or("-".to_owned(), |cluster| cluster.to_string());
        format!("{} {cluster} {}", answer.status, String::from_utf8_lossy(&answer.body))
    };
    assert_eq!(get("/version").await, r#"200 - {"etcdserver":"3.5.0"}"#);
    let members = r#"[{"id":7383792418829112008,"peerURLs":["http://7383792418829112008:2380"],"name":"default","clientURLs":["http://c:2379"]},{"id":2,"peerURLs":["http://2:2380"],"isLearner":true}]"#;
    assert_eq!(get("/members").await, format!("200 abc {members}\n"));
    assert_eq!(get("/nothing").await, "404 - 404 page not found\n");
    assert_eq!(get("/raft").await, "405 - Method Not Allowed\n");
    assert_eq!(get("/raft/stream/message/1").await, "412 abc incompatible version\n");
    assert!(get("/kvorum/snapshot/5-1").await.starts_with("412 abc request version incompatible"));
    let census = census(&node.url, None, PATIENCE).await.expect("an answer");
    assert_eq!((census.cluster, census.members), (Some(ClusterId(0xabc)), node.desk.members()));
    assert!(ask("http://127.0.0.1:1", "/version", None, PATIENCE).await.is_err());
}

#[tokio::test]
async fn http2_without_a_stream_is_answered_too() {
    let node = Node::start(config(1)).await;
    let socket = TcpStream::connect(node.url.trim_start_matches("http://")).await.expect("it listens");
    let (mut requests, connection) = h2::client::handshake(socket).await.expect("HTTP/2");
    tokio::spawn(connection);
    let request = Request::get(format!("{}/members", node.url)).body(()).expect("a request");
    let answer = requests.send_request(request, true).expect("open").0.await.expect("an answer");
    assert_eq!(
        (answer.status().as_u16(), &answer.headers()["x-etcd-cluster-id"]),
        (200, &"abc".parse().expect("text"))
    );
    let body = answer.into_body().data().await.expect("a body").expect("whole");
    assert!(body.starts_with(b"[{\"id\":"));
}

/// Between members: passes bytes on until it is frozen, and then keeps its connections and passes nothing.
async fn cable(to: String) -> (String, Arc<AtomicBool>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    let frozen = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&frozen);
    tokio::spawn(async move {
        while let Ok((near, _)) = listener.accept().await {
            let far = TcpStream::connect(to.trim_start_matches("http://")).await.expect("it listens");
            for (from, to) in [(near.into_split(), far.into_split())]
                .into_iter()
                .flat_map(|(near, far)| [(near.0, far.1), (far.0, near.1)])
            {
                tokio::spawn(pass_on(from, to, Arc::clone(&flag)));
            }
        }
    });
    (url, frozen)
}

async fn pass_on(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, frozen: Arc<AtomicBool>) {
    let mut bytes = vec![0; 65_536];
    while let Ok(length @ 1..) = from.read(&mut bytes).await {
        if frozen.load(Ordering::Relaxed) {
            return std::future::pending().await;
        }
        if to.write_all(&bytes[..length]).await.is_err() {
            return;
        }
    }
}

#[tokio::test]
async fn a_peer_that_does_not_answer_is_given_up_and_found_again() {
    let (a, b) = (Node::start(config(1)).await, Node::start(config(2)).await);
    let (url, frozen) = cable(b.url.clone()).await;
    a.knows(&[(2, &url)]);
    a.reaches(2).await;
    a.desk.unreachable.lock().clear();
    frozen.store(true, Ordering::Relaxed);
    until("it is given up", || !a.is_connected(2)).await;
    assert!(a.desk.unreachable.lock().contains(&MemberId(2)));
    frozen.store(false, Ordering::Relaxed);
    b.desk.take(1);
    until("frames arrive", || {
        a.send(2, Lane::Vital, "hello");
        b.desk.count(1) > 0
    })
    .await;
    assert!(a.transport.peers()[0].losses > 0);
}

#[tokio::test]
async fn a_stranger_that_says_nothing_is_shown_out() {
    let node = Node::start(config(1)).await;
    let mut sockets = Vec::new();
    for words in ["", "GET /vers", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"] {
        let mut socket =
            TcpStream::connect(node.url.trim_start_matches("http://")).await.expect("it listens");
        socket.write_all(words.as_bytes()).await.expect("open");
        sockets.push(socket);
    }
    for mut socket in sockets {
        let end = tokio::time::timeout(PATIENCE, socket.read_to_end(&mut Vec::new())).await;
        drop(end.expect("the connection ends"));
    }
}

#[tokio::test]
async fn after_the_stop_nothing_is_left() {
    let (a, b) = two().await;
    a.transport.stop();
    tokio::time::timeout(PATIENCE, a.transport.stopped()).await.expect("it ends");
    assert!(!a.send(2, Lane::Vital, "x"));
    until("the peer hears of it", || b.desk.unreachable.lock().contains(&MemberId(1))).await;
}
