//! HTTP/2 that costs its client nothing: streams that are cancelled as they begin (CVE-2023-44487), heads that go on
//! (CVE-2024-2758 and its kin), pings and settings without end.

use gateway::Limits;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::Door;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const HEADERS: u8 = 1;
const RESET: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
/// `:method: GET`, `:scheme: http`, `:path: /health`, `:authority: x`.
const HEALTH: &[u8] = b"\x82\x86\x44\x07/health\x41\x01x";
/// The reason in a GOAWAY for who does too much.
const ENHANCE_YOUR_CALM: u32 = 11;
/// Floods are this many frames.
const FLOOD: u32 = 20_000;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a small frame").to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// Sends all of it, and reads frames until one is of the kind that is waited for: its payload, or nothing when the
/// connection ended before.
async fn exchange(door: &Door, bytes: Vec<u8>, wanted: u8) -> Option<Vec<u8>> {
    let (mut reader, mut writer) = door.connect().await.into_split();
    let sending = tokio::spawn(async move {
        // The other side may have heard enough before the end.
        drop(writer.write_all(&bytes).await);
        writer
    });
    let found = async {
        loop {
            let mut head = [0; 9];
            reader.read_exact(&mut head).await.ok()?;
            let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
            reader.read_exact(&mut payload).await.ok()?;
            if head[3] == wanted {
                return Some(payload);
            }
        }
    };
    let found = found.await;
    sending.abort();
    found
}

fn greeting() -> Vec<u8> {
    [PREFACE, &frame(SETTINGS, 0, 0, &[])].concat()
}

fn reason(goaway: &[u8]) -> Option<u32> {
    Some(u32::from_be_bytes(*goaway.get(4..)?.first_chunk()?))
}

#[tokio::test]
async fn cve_2023_44487_streams_that_are_cancelled_at_once_end_the_connection() {
    let door = Door::open(Limits { pending_resets_max: 100, ..Limits::default() }).await;
    let mut flood = greeting();
    for number in 0..FLOOD {
        let stream = number * 2 + 1;
        flood.extend(frame(HEADERS, END_HEADERS | END_STREAM, stream, HEALTH));
        flood.extend(frame(RESET, 0, stream, &8_u32.to_be_bytes()));
    }
    let goaway = exchange(&door, flood, GOAWAY).await.expect("the connection is ended with a reason");
    assert_eq!(reason(&goaway), Some(ENHANCE_YOUR_CALM));
    still_serves(&door).await;
    let metrics = door.registry.render();
    assert!(metrics.contains("kvorum_gateway_limits_total{limit=\"http2\"} 1"), "{metrics}");
    door.close().await;
}

#[tokio::test]
async fn heads_that_go_on_end_the_connection() {
    let door = Door::open(Limits::default()).await;
    let mut flood = greeting();
    flood.extend(frame(HEADERS, END_STREAM, 1, HEALTH));
    for _ in 0..FLOOD {
        flood.extend(frame(CONTINUATION, 0, 1, b"\x40\x01a\x01b"));
    }
    let goaway = exchange(&door, flood, GOAWAY).await.expect("the connection is ended with a reason");
    assert_eq!(reason(&goaway), Some(ENHANCE_YOUR_CALM));
    still_serves(&door).await;
    door.close().await;
}

#[tokio::test]
async fn pings_and_settings_cost_no_more_than_their_answers() {
    let door = Door::open(Limits::default()).await;
    for flood in [frame(PING, 0, 0, &[0; 8]), frame(SETTINGS, 0, 0, &[])] {
        let mut bytes = greeting();
        bytes.extend(flood.repeat(FLOOD as usize));
        bytes.extend(frame(HEADERS, END_HEADERS | END_STREAM, 1, HEALTH));
        assert!(exchange(&door, bytes, HEADERS).await.is_some(), "the request behind the flood is answered");
    }
    still_serves(&door).await;
    door.close().await;
}

/// Others notice nothing.
async fn still_serves(door: &Door) {
    let answer = door.exchange(b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    drop(TcpStream::connect(door.address).await.expect("it listens"));
}
