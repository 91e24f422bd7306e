//! Streams over JSON that have no end of their own: requests one after the other, a line for each answer, until the client
//! goes.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

use crate::Door;
use gateway::Limits;

/// Begins a request whose body comes in chunks.
async fn begin(door: &Door, path: &str, headers: &str) -> (OwnedWriteHalf, Lines<BufReader<OwnedReadHalf>>) {
    let (read, mut write) = TcpStream::into_split(door.connect().await);
    let head =
        format!("POST {path} HTTP/1.1\r\nHost: localhost\r\n{headers}Transfer-Encoding: chunked\r\n\r\n");
    write.write_all(head.as_bytes()).await.expect("it listens");
    (write, BufReader::new(read).lines())
}

async fn say(write: &mut OwnedWriteHalf, text: &str) {
    let chunk = format!("{:x}\r\n{text}\r\n", text.len());
    write.write_all(chunk.as_bytes()).await.expect("it listens");
}

/// The next line that is an answer.
async fn next(lines: &mut Lines<BufReader<OwnedReadHalf>>) -> String {
    loop {
        let line = tokio::time::timeout(Duration::from_secs(10), lines.next_line()).await;
        let line = line.expect("it comes soon").expect("it is text").expect("it goes on");
        if line.starts_with("{\"") {
            return line;
        }
    }
}

const HEADER: &str = r#""header":{"cluster_id":"193","member_id":"2","revision":"7","raft_term":"3"}"#;

#[tokio::test]
async fn a_watch_goes_on_until_the_client_goes() {
    let door = Door::open(Limits::default()).await;
    let metadata = "Grpc-Metadata-hasleader: true\r\nAuthorization: somebody\r\n";
    let (mut write, mut lines) = begin(&door, "/v3alpha/watch", metadata).await;
    // "event" in base64, cut in two.
    say(&mut write, r#"{"create_request":{"key":"ZXZl"#).await;
    say(&mut write, r#"bnQ=","watch_id":"3"}} {"progress_request":{}}"#).await;
    assert_eq!(next(&mut lines).await, format!(r#"{{"result":{{{HEADER},"watch_id":"3","created":true}}}}"#));
    let put = r#"{"kv":{"key":"ZXZlbnQ=","create_revision":"2","mod_revision":"3","version":"3","value":"YmFy","lease":"7"}}"#;
    let events = next(&mut lines).await;
    assert!(events.contains(put) && events.contains(r#"{"type":"DELETE","kv":"#), "{events}");
    assert_eq!(next(&mut lines).await, format!(r#"{{"result":{{{HEADER},"watch_id":"-1"}}}}"#));
    say(&mut write, r#"{"cancel_request":{"watch_id":3}}"#).await;
    assert_eq!(
        next(&mut lines).await,
        format!(r#"{{"result":{{{HEADER},"watch_id":"3","canceled":true}}}}"#)
    );
    assert!(door.fake.take_seen().contains(&"watch with a leader".to_owned()));
    assert_eq!(door.fake.streams.load(Ordering::Relaxed), 1);
    drop((write, lines));
    while door.fake.streams.load(Ordering::Relaxed) > 0 {
        tokio::task::yield_now().await;
    }
    door.close().await;
}

#[tokio::test]
async fn a_watch_whose_requests_have_ended_goes_on_and_the_stop_of_the_member_ends_it() {
    let door = Door::open(Limits::default()).await;
    let (mut write, mut lines) = begin(&door, "/v3/watch", "").await;
    say(&mut write, r#"{"create_request":{"key":"YQ=="}}"#).await;
    write.write_all(b"0\r\n\r\n").await.expect("it listens");
    assert!(next(&mut lines).await.contains(r#""created":true"#));
    let closing = tokio::spawn(door.close());
    let stopped = r#"{"error":{"grpc_code":14,"http_code":503,"message":"etcdserver: server stopped","http_status":"Service Unavailable","code":14}}"#;
    assert_eq!(next(&mut lines).await, stopped);
    closing.await.expect("it closes");
}

#[tokio::test]
async fn a_watch_whose_requests_have_ended_ends_when_the_client_goes() {
    let door = Door::open(Limits::default()).await;
    let (mut write, mut lines) = begin(&door, "/v3/watch", "").await;
    say(&mut write, r#"{"create_request":{"key":"YQ=="}}"#).await;
    write.write_all(b"0\r\n\r\n").await.expect("it listens");
    assert!(next(&mut lines).await.contains(r#""created":true"#));
    drop((write, lines));
    while door.fake.streams.load(Ordering::Relaxed) > 0 {
        tokio::task::yield_now().await;
    }
    door.close().await;
}
