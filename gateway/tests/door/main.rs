//! The gateway before a fake member, through real sockets: what clients send, byte for byte, what reaches the
//! member of it, and what comes back.

mod fake;
mod fake_watches;
mod floods;
mod golden;
mod grpc;
mod json_streams;
mod limits;
mod streams;

use std::net::SocketAddr;
use std::sync::Arc;

use gateway::{Browsers, Gateway, Limits};
use telemetry::Registry;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use fake::Fake;

/// A gateway that serves.
struct Door {
    address: SocketAddr,
    fake: Arc<Fake>,
    registry: Registry,
    shutdown: oneshot::Sender<()>,
    serving: JoinHandle<()>,
}

impl Door {
    async fn open(limits: Limits) -> Self {
        let (fake, registry) = (Fake::new(), Registry::new());
        let member: Arc<dyn api::Member> = fake.clone();
        let gateway = Gateway::new(member, &registry, limits, Browsers::default(), &[]);
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let (shutdown, asked) = oneshot::channel::<()>();
        let serving =
            tokio::spawn(async move { gateway.serve(listener, None, async { drop(asked.await) }).await });
        Self { address, fake, registry, shutdown, serving }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.expect("somebody listens")
    }

    /// Sends bytes and reads until the other side closes.
    async fn exchange(&self, bytes: &[u8]) -> String {
        let mut stream = self.connect().await;
        // The other side may have said all it will say before it read everything.
        drop(stream.write_all(bytes).await);
        let mut answer = Vec::new();
        drop(stream.read_to_end(&mut answer).await);
        String::from_utf8_lossy(&answer).into_owned()
    }

    async fn close(self) {
        drop(self.shutdown);
        self.serving.await.expect("serving does not panic");
    }
}

#[tokio::test]
async fn a_token_reaches_the_member_with_and_without_bearer() {
    let door = Door::open(Limits::default()).await;
    door.fake.guards.store(true, std::sync::atomic::Ordering::Relaxed);
    for header in ["Authorization: abc", "Authorization: Bearer abc", "Grpc-Metadata-Token: abc"] {
        let body = r#"{"key":"YQ=="}"#;
        let head = format!("POST /v3/kv/range HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{header}\r\n");
        let request = format!("{head}Content-Length: {}\r\n\r\n{body}", body.len());
        door.exchange(request.as_bytes()).await;
        let seen = door.fake.take_seen();
        assert_eq!(seen.first().map(String::as_str), Some("called with abc"), "{header}: {seen:?}");
    }
    door.close().await;
}
