//! What happens at the limits, and to bytes that are no request.

use std::time::Duration;

use gateway::Limits;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::Door;

const HEALTH: &[u8] = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n";

/// Reads one answer, up to the end of the body that `/health` has.
async fn healthy(stream: &mut TcpStream) {
    let mut answer = Vec::new();
    while !answer.ends_with(b"\"reason\":\"\"}") {
        let mut part = [0; 1024];
        let bytes = stream.read(&mut part).await.expect("the connection lives");
        assert_ne!(bytes, 0, "closed after {:?}", String::from_utf8_lossy(&answer));
        answer.extend_from_slice(&part[..bytes]);
    }
}

async fn closed(stream: &mut TcpStream) {
    let mut rest = Vec::new();
    drop(stream.read_to_end(&mut rest).await);
}

#[tokio::test]
async fn what_is_no_request_is_refused() {
    let door = Door::open(Limits { header_time_max: Duration::from_millis(100), ..Limits::default() }).await;
    let check = async |bytes: &[u8], expected: &str| {
        let answer = door.exchange(bytes).await;
        assert!(answer.starts_with(expected), "{:?}: {answer:?}", String::from_utf8_lossy(bytes));
    };
    check(b"hello\r\n\r\n", "HTTP/1.1 400 ").await;
    check(b"GET / HTTP/1.1\r\nbad header\r\n\r\n", "HTTP/1.1 400 ").await;
    check(b"GET / HTTP/1.1\r\nContent-Length: x\r\n\r\n", "HTTP/1.1 400 ").await;
    check(b"\x16\x03\x01\x02\x00\x01\x00", "HTTP/1.1 400 ").await;
    check(b"GET /v2/keys/a%zz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", "HTTP/1.1 400 ").await;
    // A head that does not end, and half of HTTP/2's preface.
    check(b"GET / HTTP/1.1\r\n", "").await;
    check(b"PRI * HT", "").await;
    assert!(door.fake.take_seen().is_empty(), "nothing of it may reach the member");
    door.close().await;
}

#[tokio::test]
async fn heads_and_bodies_have_limits() {
    let limits = Limits { header_bytes_max: 16 * 1024, body_bytes_max: 4096, ..Limits::default() };
    let door = Door::open(limits).await;
    let request = |filler: usize, body: usize| {
        let filler = "f".repeat(filler);
        let form = format!("value={}", "v".repeat(body));
        format!(
            "PUT /v2/keys/k HTTP/1.1\r\nHost: x\r\nFiller: {filler}\r\nConnection: close\r\n\
             Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{form}",
            form.len()
        )
    };
    let answer = door.exchange(request(8000, 4090).as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 201 "), "{answer}");
    let answer = door.exchange(request(20_000, 10).as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
    let answer = door.exchange(request(10, 4091).as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("\"http: POST too large\""), "{answer}");
    assert_eq!(door.fake.take_seen().len(), 1);
    door.close().await;
}

#[tokio::test]
async fn a_connection_too_many_waits_for_its_turn() {
    let door = Door::open(Limits { connections_max: 2, ..Limits::default() }).await;
    let (mut first, mut second, mut third) =
        (door.connect().await, door.connect().await, door.connect().await);
    for stream in [&mut first, &mut second, &mut third] {
        stream.write_all(HEALTH).await.expect("the kernel takes it");
    }
    healthy(&mut first).await;
    healthy(&mut second).await;
    let waits = tokio::time::timeout(Duration::from_millis(100), third.readable()).await;
    assert!(waits.is_err(), "the third was served beside two others");
    drop(first);
    healthy(&mut third).await;
    drop((second, third));
    door.close().await;
}

#[tokio::test]
async fn slow_and_idle_connections_are_closed_and_busy_ones_are_not() {
    let limits = Limits {
        header_time_max: Duration::from_millis(100),
        idle_time_max: Duration::from_millis(300),
        body_time_max: Duration::from_millis(200),
        ..Limits::default()
    };
    let door = Door::open(limits).await;
    let mut busy = door.connect().await;
    busy.write_all(b"POST /v3/kv/put HTTP/1.1\r\nContent-Length: 18\r\n\r\n{\"key\":\"Z2F0ZQ==\"}")
        .await
        .expect("the kernel takes it");
    let mut slow_body = door.connect().await;
    slow_body
        .write_all(b"POST /v3/kv/put HTTP/1.1\r\nContent-Length: 18\r\nConnection: close\r\n\r\n{")
        .await
        .expect("the kernel takes it");
    let mut slow = door.connect().await;
    slow.write_all(b"GET /health HTTP/1.1\r\nHost:").await.expect("the kernel takes it");
    let mut idle = door.connect().await;
    idle.write_all(HEALTH).await.expect("the kernel takes it");
    healthy(&mut idle).await;

    closed(&mut slow).await;
    closed(&mut idle).await;
    let mut answer = String::new();
    slow_body.read_to_string(&mut answer).await.expect("text");
    assert!(answer.starts_with("HTTP/1.1 504 "), "{answer}");
    // The busy one waited longer than all of them for its member, and is answered.
    door.fake.gate.add_permits(1);
    let mut part = [0; 15];
    busy.read_exact(&mut part).await.expect("the connection lives");
    assert_eq!(&part, b"HTTP/1.1 200 OK");
    door.close().await;
}

#[tokio::test]
async fn bodies_that_do_not_end_have_so_much_room_together() {
    let limits = Limits {
        arriving_bytes_max: 10_000,
        discard_time_max: Duration::from_millis(50),
        body_time_max: Duration::from_mins(5),
        ..Limits::default()
    };
    let door = Door::open(limits).await;
    let head = b"POST /v3/kv/put HTTP/1.1\r\nContent-Length: 20000\r\nConnection: close\r\n\r\n";
    let begun = [&head[..], &[b' '; 8000]].concat();
    let mut answers = JoinSet::new();
    for _ in 0..3 {
        let mut stream = door.connect().await;
        stream.write_all(&begun).await.expect("the kernel takes it");
        answers.spawn(async move {
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.expect("text");
            answer
        });
    }
    // Two of three have no room, whichever came first; that one is waited for.
    for _ in 0..2 {
        let answer = answers.join_next().await.expect("there are three").expect("no panic");
        assert!(answer.starts_with("HTTP/1.1 429 ") && answer.contains("too many requests"), "{answer}");
    }
    let metrics = door.registry.render();
    assert!(metrics.contains("kvorum_gateway_limits_total{limit=\"arriving-bytes\"} 2"), "{metrics}");
    answers.abort_all();
    while answers.join_next().await.is_some() {}
    door.close().await;
}

#[tokio::test]
async fn who_trickles_gives_way_to_who_needs_room() {
    let limits = Limits {
        arriving_bytes_max: 10_000,
        arriving_patience: Duration::ZERO,
        discard_time_max: Duration::from_millis(50),
        body_time_max: Duration::from_mins(5),
        ..Limits::default()
    };
    let door = Door::open(limits).await;
    let head = b"POST /v3/kv/put HTTP/1.1\r\nContent-Length: 9000\r\nConnection: close\r\n\r\n";
    let mut slow = door.connect().await;
    slow.write_all(&[&head[..], &[b' '; 8000]].concat()).await.expect("the kernel takes it");
    // Whoever is asked afterwards sees that it has come.
    for _ in 0..3 {
        let mut health = door.connect().await;
        health.write_all(HEALTH).await.expect("the kernel takes it");
        healthy(&mut health).await;
    }
    let mut quick = door.connect().await;
    let request = br#"{"key":"YQ=="}"#;
    quick.write_all(&[&head[..], &[b' '; 900]].concat()).await.expect("the kernel takes it");
    let mut answer = String::new();
    slow.read_to_string(&mut answer).await.expect("text");
    assert!(answer.starts_with("HTTP/1.1 429 ") && answer.contains("too many requests"), "{answer}");
    let rest = [&request[..], &vec![b' '; 9000 - 900 - request.len()]].concat();
    quick.write_all(&rest).await.expect("the kernel takes it");
    let mut answer = String::new();
    quick.read_to_string(&mut answer).await.expect("text");
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let metrics = door.registry.render();
    assert!(metrics.contains("kvorum_gateway_limits_total{limit=\"gave-way\"} 1"), "{metrics}");
    door.close().await;
}

#[tokio::test]
async fn at_shutdown_requests_in_flight_are_answered() {
    let door = Door::open(Limits::default()).await;
    let mut busy = door.connect().await;
    busy.write_all(b"POST /v3/kv/put HTTP/1.1\r\nContent-Length: 18\r\n\r\n{\"key\":\"Z2F0ZQ==\"}")
        .await
        .expect("the kernel takes it");
    let mut idle = door.connect().await;
    idle.write_all(HEALTH).await.expect("the kernel takes it");
    healthy(&mut idle).await;
    while door.fake.seen.lock().is_empty() {
        tokio::task::yield_now().await;
    }
    let (address, fake) = (door.address, door.fake.clone());
    let closing = tokio::spawn(door.close());
    closed(&mut idle).await;
    while TcpStream::connect(address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    fake.gate.add_permits(1);
    let mut answer = String::new();
    busy.read_to_string(&mut answer).await.expect("text");
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    closing.await.expect("no panic");
}

#[tokio::test]
async fn at_shutdown_requests_that_do_not_end_are_cut() {
    let door = Door::open(Limits { drain_time_max: Duration::from_millis(50), ..Limits::default() }).await;
    let mut stuck = door.connect().await;
    stuck
        .write_all(b"POST /v3/kv/put HTTP/1.1\r\nContent-Length: 18\r\n\r\n{\"key\":\"Z2F0ZQ==\"}")
        .await
        .expect("the kernel takes it");
    while door.fake.seen.lock().is_empty() {
        tokio::task::yield_now().await;
    }
    door.close().await;
    closed(&mut stuck).await;
}

#[tokio::test]
async fn an_answer_counts_until_the_client_has_it() {
    let door = Door::open(Limits { leaving_bytes_max: 30 << 20, ..Limits::default() }).await;
    let request = b"POST /v3/kv/range HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 18\r\n\r\n\
                    {\"key\":\"bGFyZ2U=\"}";
    let mut slow = door.connect().await;
    slow.write_all(request).await.expect("the kernel takes it");
    let mut head = [0; 12];
    slow.read_exact(&mut head).await.expect("an answer");
    assert_eq!(&head, b"HTTP/1.1 200");
    let refused = door.exchange(request).await;
    assert!(refused.starts_with("HTTP/1.1 503 "), "{}", &refused[..refused.len().min(200)]);
    let mut rest = Vec::new();
    slow.read_to_end(&mut rest).await.expect("all of it");
    assert!(rest.len() > 16 << 20, "{} bytes", rest.len());
    // The last of it is let go right after it was sent.
    let again = async {
        while !door.exchange(request).await.starts_with("HTTP/1.1 200 ") {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_mins(1), again).await.expect("there is room again");
    door.close().await;
}
