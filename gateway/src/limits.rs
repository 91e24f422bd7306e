//! What a connection and a request may cost, and what happens beyond it. Limits of single requests that the
//! operator sets (`--max-request-bytes`, `--max-txn-ops`) are the member's and come from there.

use std::time::Duration;

/// The gateway's limits. [`Limits::default`] is what the program uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections served at once. Further ones wait in the listener's backlog until one ends.
    pub connections_max: usize,
    /// Bytes of a request's head; at least 8 KiB count. Beyond it: 431, or a refused stream in HTTP/2.
    pub header_bytes_max: u32,
    /// Time from the first byte of a head to its last one (HTTP/1). Beyond it the connection is closed.
    pub header_time_max: Duration,
    /// Bytes of a body outside of gRPC, unless the member takes larger requests. Beyond it: v2 answers 400
    /// with code 210, JSON answers 429 with code 8.
    pub body_bytes_max: usize,
    /// Time for a whole body, or the message of a gRPC call, to arrive. Beyond it the request is refused.
    pub body_time_max: Duration,
    /// Bytes of a body that nobody wants and that are heard before its request is refused, so that the refusal is not lost.
    /// Beyond it the refusal goes out at once.
    pub discard_bytes_max: usize,
    /// Time for that.
    pub discard_time_max: Duration,
    /// Bytes of requests whose end has not arrived, of all clients together. Beyond it: "too many requests", for the slowest
    /// that has not got on for [`Limits::arriving_patience`], else for who comes.
    pub arriving_bytes_max: usize,
    /// Time in which a request that arrives in pieces has to get on by 64 KiB where others need its room.
    pub arriving_patience: Duration,
    /// Calls and streams under way, of all clients together, without the first of each connection. Beyond it: "too many
    /// requests".
    pub calls_max: usize,
    /// Bytes of answers that are not small and that clients have not taken, of all together. Beyond it: "too many requests".
    pub leaving_bytes_max: usize,
    /// Watches at once on one stream. Beyond it a watch is refused.
    pub watches_max: usize,
    /// Time in which an HTTP/1 connection without a request may move no byte. Beyond it it is closed.
    pub idle_time_max: Duration,
    /// Streams at once on an HTTP/2 connection; the client waits with further ones.
    pub streams_max: u32,
    /// Bytes that a client may send ahead on one stream (HTTP/2).
    pub stream_window_bytes: u32,
    /// Bytes that a client may send ahead on all its streams together (HTTP/2). The h2 crate ends a connection on which
    /// too many small frames wait to be read, in proportion to this: about 37,000 of them. A client that creates ten
    /// thousand watches at once is honest.
    pub connection_window_bytes: u32,
    /// Streams that a client cancelled before they were taken up, at once. Clients that cancel a thousand
    /// calls in a burst are honest; only beyond this is it an attack (CVE-2023-44487), and the connection ends.
    pub pending_resets_max: usize,
    /// Streams that the client broke, over the life of a connection. Beyond it the connection ends.
    pub broken_streams_max: usize,
    /// Time after which a silent HTTP/2 connection is pinged, as etcd's `--grpc-keepalive-interval`.
    pub ping_after: Duration,
    /// Time for the answer to a ping. Beyond it the connection is closed.
    pub ping_time_max: Duration,
    /// Requests that take longer are told in the log, as etcd's `--warning-unary-request-duration`.
    pub slow_after: Duration,
    /// Whether calls of gRPC are timed by method, as etcd's `--metrics=extensive`.
    pub times_by_method: bool,
    /// Time for requests in flight to end at shutdown. Beyond it their connections are cut.
    pub drain_time_max: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_max: 20_000,
            header_bytes_max: 128 * 1024,
            header_time_max: Duration::from_secs(30),
            body_bytes_max: 10 * 1024 * 1024,
            body_time_max: Duration::from_mins(1),
            arriving_bytes_max: 64 * 1024 * 1024,
            arriving_patience: Duration::from_secs(2),
            calls_max: 100_000,
            leaving_bytes_max: 256 * 1024 * 1024,
            watches_max: 1_000_000,
            discard_bytes_max: 16 * 1024 * 1024,
            discard_time_max: Duration::from_secs(5),
            idle_time_max: Duration::from_mins(5),
            streams_max: 100_000,
            stream_window_bytes: 1024 * 1024,
            connection_window_bytes: 16 * 1024 * 1024,
            pending_resets_max: 20_000,
            broken_streams_max: 1_000_000,
            ping_after: Duration::from_hours(2),
            ping_time_max: Duration::from_secs(20),
            slow_after: Duration::from_millis(300),
            times_by_method: false,
            drain_time_max: Duration::from_secs(5),
        }
    }
}
