//! The wire, from the cheap side: what a load generator needs of protobuf, gRPC, HTTP/2 and HTTP/1.1.
//!
//! The generator shares the machine's cores with the server that it measures, so every microsecond spent
//! here is stolen from the result. The protocols are therefore written as plain state machines without I/O:
//! bytes in, finished calls and bytes out. They speak to servers of our own choosing, refuse what they do not
//! understand by ending the connection, and are no general client.

pub(crate) mod duplex;
mod frame;
pub(crate) mod grpc;
mod hpack;
pub(crate) mod http1;
pub(crate) mod http2;
pub(crate) mod protobuf;

use bytes::BytesMut;

/// One of the concurrent callers that share a connection; counts from zero on each connection.
pub(crate) type Slot = usize;

/// A call that came to its end.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Finished {
    /// The caller whose call it was.
    pub(crate) slot: Slot,
    /// `None` when the server answered well, else what it said, for people.
    pub(crate) failure: Option<String>,
    /// Size of the answer's body in bytes, of which [`Wire::body`] may hold only the beginning.
    pub(crate) body_bytes: usize,
}

/// Why a connection cannot go on.
#[derive(Debug)]
pub(crate) struct Broken(pub(crate) String);

/// One client connection without its socket.
pub(crate) trait Wire {
    /// Puts one request of `slot`, which must be idle, on its way.
    fn start(&mut self, slot: Slot, message: &[u8]) -> Result<(), Broken>;

    /// Takes in what arrived, and appends the calls that it finished.
    fn receive(&mut self, input: &mut BytesMut, finished: &mut Vec<Finished>) -> Result<(), Broken>;

    /// The kept beginning of the last answer of `slot`.
    fn body(&self, slot: Slot) -> &[u8];

    /// Bytes that want to go out; the caller consumes what it wrote.
    fn output(&mut self) -> &mut BytesMut;
}
