//! Accepting connections, serving requests on them, and ending both in good order.

use std::convert::Infallible;
use std::error::Error;
use std::future::Future;
use std::net::TcpStream as StdStream;
use std::pin::pin;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use api::{Caller, Member};
use http::{Request, Response, StatusCode, Version};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use telemetry::Registry;
use tls::{Server, Session};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

use crate::activity::{Activity, Verdict, Watched};
use crate::authority::Lenient;
use crate::body::{Body, Upload};
use crate::browsers::Browsers;
use crate::budget::{Budget, NoRoom};
use crate::crowd::Crowd;
use crate::leave::Leave;
use crate::meters::{CallMeters, Meters};
use crate::refusal::Refusal;
use crate::slow::SlowLog;
use crate::{Limits, grpc, mux};

/// After a failed accept (usually too few file descriptors) nothing is accepted for this long.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What is known of a connection beside what comes over it.
#[derive(Clone, Debug, Default)]
pub struct Connection {
    /// The common name of the client's certificate, which was verified; `None` without one, and where certificates do
    /// not stand for users.
    pub peer_name: Option<Arc<str>>,
    /// It has TLS.
    pub is_encrypted: bool,
    /// It came to a listener that is for metrics and health alone.
    pub is_monitor: bool,
    /// It came to a gateway that does not answer v3's JSON form.
    pub is_json_shut: bool,
}

/// What all connections share.
pub(crate) struct Shared {
    pub(crate) member: Arc<dyn Member>,
    pub(crate) limits: Limits,
    /// Bytes of one request message, which is etcd's `--max-request-bytes` and 512 KiB.
    pub(crate) message_bytes_max: usize,
    pub(crate) meters: Meters,
    pub(crate) browsers: Browsers,
    /// Of requests that are not here to their ends.
    pub(crate) arriving: Arc<Budget>,
    /// Of answers that are not small.
    pub(crate) leaving: Arc<Budget>,
    slow: SlowLog,
    /// Calls under way.
    crowd: Arc<Crowd>,
}

impl Shared {
    /// Counts a request that there is no room for, or no more.
    pub(crate) fn no_room(&self, why: NoRoom) -> Refusal {
        let limits = &self.meters.limits;
        match why {
            NoRoom::Full => limits.arriving_bytes.increment(1),
            NoRoom::GaveWay => limits.gave_way.increment(1),
        }
        Refusal::too_many()
    }

    /// The member as a caller sees it.
    pub(crate) fn guest(&self, caller: Caller) -> Arc<dyn Member> {
        Arc::clone(&self.member).for_caller(caller)
    }

    /// A call has ended that began then: it is timed, and told if it was slow.
    pub(crate) fn ended(&self, meters: &CallMeters, began: Instant) {
        let took = began.elapsed();
        meters.took(took);
        self.look(&meters.method, took);
    }

    /// Tells a request that was slow.
    pub(crate) fn look(&self, what: &str, took: Duration) {
        if took > self.limits.slow_after {
            self.slow.tell(self.member.as_ref(), what, took);
        }
    }

    /// The member for one request that is all here. Nothing is made while nobody has to prove who he is.
    pub(crate) fn member_for<'a>(
        &'a self,
        guest: &'a OnceLock<Arc<dyn Member>>,
        caller: impl FnOnce() -> Caller,
    ) -> &'a Arc<dyn Member> {
        if self.member.guards() { guest.get_or_init(|| self.guest(caller())) } else { &self.member }
    }
}

/// The public protocols of one member. It can serve any number of listeners.
#[derive(Clone)]
pub struct Gateway {
    shared: Arc<Shared>,
    slots: Arc<Semaphore>,
    server: auto::Builder<TokioExecutor>,
    lanes: Arc<[Handle]>,
    is_monitor: bool,
    is_json_shut: bool,
}

impl Gateway {
    /// A gateway before `member`, with its counters in `registry`. Connections take turns on `lanes`, runtimes
    /// with a thread of their own each; with none they are served where they are accepted.
    pub fn new(
        member: Arc<dyn Member>,
        registry: &Registry,
        limits: Limits,
        browsers: Browsers,
        lanes: &[Handle],
    ) -> Self {
        const OVERHEAD_BYTES: usize = 512 * 1024;
        let message_bytes_max = member.limits().request_bytes_max.saturating_add(OVERHEAD_BYTES);
        let meters = Meters::register(registry, limits.times_by_method);
        let shared = Shared {
            member,
            limits,
            message_bytes_max,
            meters,
            browsers,
            arriving: Budget::with_patience(limits.arriving_bytes_max, limits.arriving_patience),
            leaving: Budget::new(limits.leaving_bytes_max),
            slow: SlowLog::default(),
            crowd: Arc::new(Crowd::new(limits.calls_max)),
        };
        Self {
            shared: Arc::new(shared),
            slots: Arc::new(Semaphore::new(limits.connections_max)),
            server: server(&limits),
            lanes: lanes.into(),
            is_monitor: false,
            is_json_shut: false,
        }
    }

    /// The same without v3's JSON form, as etcd's `--enable-grpc-gateway=false` wants it.
    #[must_use]
    pub fn without_json(self) -> Self {
        Self { is_json_shut: true, ..self }
    }

    /// The same for a listener that serves metrics and health, and nothing else.
    #[must_use]
    pub fn for_metrics(&self) -> Self {
        Self { is_monitor: true, ..self.clone() }
    }

    /// Serves `listener`, with TLS if that is given, until `shutdown` is ready, then lets requests in flight end for as long as
    /// [`Limits::drain_time_max`] says.
    pub async fn serve(
        &self,
        listener: TcpListener,
        tls: Option<Arc<Server>>,
        shutdown: impl Future<Output = ()>,
    ) {
        let mut shutdown = pin!(shutdown);
        let (leave, cut) = (Leave::default(), Leave::default());
        let tasks = TaskTracker::new();
        let mut lanes = self.lanes.iter().cycle();
        loop {
            let (stream, slot) = tokio::select! {
                () = &mut shutdown => break,
                accepted = self.accept(&listener) => accepted,
            };
            let connection = self.clone().connection(stream, tls.clone(), slot, leave.clone());
            let mut cut = cut.wait();
            let task = async move {
                tokio::select! {
                    biased;
                    () = connection => {}
                    () = cut.begun() => {}
                }
            };
            match lanes.next() {
                Some(lane) => tasks.spawn_on(task, lane),
                None => tasks.spawn(task),
            };
        }
        drop(listener);
        leave.begin();
        tasks.close();
        if tokio::time::timeout(self.shared.limits.drain_time_max, tasks.wait()).await.is_err() {
            warn!(connections = tasks.len(), "cutting connections whose requests did not end in time");
            cut.begin();
            tasks.wait().await;
        }
    }

    /// Serves one connection to its end, which is all that there is of a gateway without sockets.
    pub async fn converse<S>(&self, stream: S, connection: Connection)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        self.clone().speak(stream, connection, Leave::default()).await;
    }

    /// The next connection, as soon as there is room for one.
    async fn accept(&self, listener: &TcpListener) -> (StdStream, OwnedSemaphorePermit) {
        let slot = Arc::clone(&self.slots).acquire_owned().await.expect("the semaphore is never closed");
        loop {
            match listener.accept().await {
                Ok((stream, _)) => match stream.into_std() {
                    // It is registered again where it is served.
                    Ok(stream) => return (stream, slot),
                    Err(error) => debug!(%error, "the connection was gone at once"),
                },
                Err(error) => {
                    warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    async fn connection(
        self,
        stream: StdStream,
        tls: Option<Arc<Server>>,
        slot: OwnedSemaphorePermit,
        leave: Leave,
    ) {
        let stream = match stream.set_nodelay(true).and_then(|()| TcpStream::from_std(stream)) {
            Ok(stream) => stream,
            Err(error) => return debug!(%error, "the connection was gone at once"),
        };
        let (is_monitor, is_json_shut) = (self.is_monitor, self.is_json_shut);
        match tls {
            None => {
                let connection = Connection { is_monitor, is_json_shut, ..Connection::default() };
                self.speak(stream, connection, leave).await;
            }
            Some(tls) => {
                // In a box, since without TLS nobody needs its room.
                let handshake =
                    Box::pin(async { leave.token().run_until_cancelled(tls.accept(stream)).await.flatten() });
                if let Some(Session { stream, peer_name }) = handshake.await {
                    Box::pin(self.speak(
                        stream,
                        Connection { peer_name, is_encrypted: true, is_monitor, is_json_shut },
                        leave,
                    ))
                    .await;
                }
            }
        }
        drop(slot);
    }

    /// Serves a connection to its end.
    async fn speak<S>(self, stream: S, connection: Connection, leave: Leave)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let limits = self.shared.limits;
        let activity = Arc::new(Activity::new(Arc::clone(&self.shared.crowd)));
        let requests_leave = leave.clone();
        let io = TokioIo::new(Lenient::new(Watched::new(stream, Arc::clone(&activity))));
        let service = service_fn(|request: Request<Incoming>| {
            let (shared, call, leave) = (Arc::clone(&self.shared), activity.begin(), requests_leave.clone());
            let connection = connection.clone();
            async move {
                let mut response = if call.is_too_many() {
                    shared.meters.limits.calls.increment(1);
                    mux::crowded(&request)
                } else {
                    dispatch(&shared, request, &connection, &leave).await
                };
                response.body_mut().hold(call);
                Ok::<_, Infallible>(response)
            }
        });
        let mut serving = pin!(self.server.serve_connection(io, service));
        let (mut leave, mut leaving) = (leave.wait(), false);
        loop {
            tokio::select! {
                biased;
                ended = &mut serving => {
                    if let Err(error) = ended {
                        if is_excess(error.as_ref()) {
                            self.shared.meters.limits.http2.increment(1);
                        }
                        debug!(%error, "a connection ended early");
                    }
                    break;
                }
                verdict = activity.watch(&limits) => match verdict {
                    Verdict::Slow => {
                        self.shared.meters.limits.slow_head.increment(1);
                        debug!("closing a connection whose request head did not arrive in time");
                    }
                    Verdict::Idle => {
                        self.shared.meters.limits.idle.increment(1);
                        debug!("closing an idle connection");
                    }
                },
                () = leave.begun(), if !leaving => {
                    leaving = true;
                    serving.as_mut().graceful_shutdown();
                    continue;
                }
            }
            break;
        }
    }
}

/// Whether a connection ended because its client did too much of something that HTTP/2 lets it do for nothing.
fn is_excess(error: &(dyn Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<h2::Error>() {
            return error.reason() == Some(h2::Reason::ENHANCE_YOUR_CALM);
        }
        cause = error.source();
    }
    false
}

fn server(limits: &Limits) -> auto::Builder<TokioExecutor> {
    // hyper refuses smaller buffers.
    const BUFFER_BYTES_MIN: usize = 8 * 1024;
    let mut server = auto::Builder::new(TokioExecutor::new());
    server
        .http1()
        .timer(TokioTimer::new())
        // `Activity` watches heads and idleness, since hyper has one time-out for both.
        .header_read_timeout(None)
        .max_buf_size(BUFFER_BYTES_MIN.max(limits.header_bytes_max as usize))
        .title_case_headers(true);
    server
        .http2()
        .timer(TokioTimer::new())
        .max_header_list_size(limits.header_bytes_max)
        .max_concurrent_streams(limits.streams_max)
        .initial_stream_window_size(limits.stream_window_bytes)
        .initial_connection_window_size(limits.connection_window_bytes)
        .max_pending_accept_reset_streams(limits.pending_resets_max)
        .max_local_error_reset_streams(limits.broken_streams_max)
        .keep_alive_interval(limits.ping_after)
        .keep_alive_timeout(limits.ping_time_max);
    server
}

async fn dispatch(
    shared: &Arc<Shared>,
    request: Request<Incoming>,
    connection: &Connection,
    leave: &Leave,
) -> Response<Body> {
    let is_grpc =
        request.version() == Version::HTTP_2 && grpc::speaks(request.headers()) && !connection.is_monitor;
    if is_grpc {
        grpc::answer(shared, request, connection, leave).await
    } else {
        // In a box, since these futures are large and would make every gRPC call pay for their size.
        Box::pin(async {
            let (request, mut upload) = Upload::of(request);
            let mut response = mux::answer(shared, request, &mut upload, connection, leave).await;
            upload.discard(&shared.limits).await;
            if let Err(refusal) = response.body_mut().count(shared) {
                response = mux::error(StatusCode::SERVICE_UNAVAILABLE, &refusal.text);
            }
            response
        })
        .await
    }
}
