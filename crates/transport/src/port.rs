//! The peer port: who connects, in which language, and for how long a stranger may stay.
//!
//! INVARIANT: a stranger costs a connection for a few seconds, and there are few of those.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request};
use hyper_util::rt::{TokioIo, TokioTimer};
use parking_lot::Mutex;
use tls::Server;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::reply::TAKE_TIME_MAX;
use crate::transport::Shared;
use crate::wire::{Meter, Wire};
use crate::{answer, receiver};

/// Connections at once of whoever has not shown to be a member; more wait to be accepted, and
/// with TLS are closed.
const STRANGERS_MAX: usize = 64;
/// A stranger's connection with all its requests takes no longer.
const STRANGER_TIME_MAX: Duration = Duration::from_secs(5);
/// A member's connection is closed when nothing passes it for this long. Members send pings far more often.
const IDLE_TIME_MAX: Duration = Duration::from_secs(30);
/// After a failed accept (usually too few file descriptors) nothing is accepted for this long.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A connection that came in.
#[derive(Debug)]
pub(crate) struct Visit {
    /// A stranger's place.
    slot: Mutex<Option<OwnedSemaphorePermit>>,
    is_member: AtomicBool,
    pub(crate) stop: CancellationToken,
}

impl Visit {
    /// It is a member's, and does not count as a stranger's any more.
    pub(crate) fn is_member(&self) {
        self.is_member.store(true, Ordering::Relaxed);
        drop(self.slot.lock().take());
    }
}

/// Accepts for ever.
pub(crate) async fn serve(shared: &Arc<Shared>, listener: TcpListener, tls: Option<Arc<Server>>) {
    let slots = Arc::new(Semaphore::new(STRANGERS_MAX));
    loop {
        let slot = match &tls {
            // Nobody closes the semaphore.
            None => match Arc::clone(&slots).acquire_owned().await {
                Ok(slot) => Some(slot),
                Err(_) => return,
            },
            // A stranger gets a place when its handshake is done, of which there are only so many under way.
            Some(_) => None,
        };
        match accept(&listener).await {
            Ok(socket) => {
                let door = Door { slots: Arc::clone(&slots), slot, tls: tls.clone() };
                shared.tasks.spawn_on(receive(Arc::clone(shared), socket, door), &shared.handle);
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a peer's connection");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// The listener may belong to another runtime than the one that serves the connection.
async fn accept(listener: &TcpListener) -> std::io::Result<std::net::TcpStream> {
    listener.accept().await.and_then(|(socket, _)| socket.into_std())
}

/// What a connection came in by.
struct Door {
    slots: Arc<Semaphore>,
    slot: Option<OwnedSemaphorePermit>,
    tls: Option<Arc<Server>>,
}

async fn receive(shared: Arc<Shared>, socket: std::net::TcpStream, door: Door) {
    let wire = match TcpStream::from_std(socket) {
        Ok(socket) => {
            let silence_max = shared.config.silence_max();
            let accepted = Wire::accept(socket, door.tls.as_deref(), silence_max);
            let Some(accepted) = shared.stop.run_until_cancelled(accepted).await else { return };
            accepted
        }
        Err(error) => Err(error),
    };
    match wire {
        Ok(None) => {}
        Ok(Some(wire)) => {
            // Whoever finds no place comes again.
            let Some(slot) = door.slot.or_else(|| door.slots.try_acquire_owned().ok()) else { return };
            let visit = Arc::new(Visit {
                slot: Mutex::new(Some(slot)),
                is_member: AtomicBool::new(false),
                stop: shared.stop.child_token(),
            });
            let watch = watch(Arc::clone(&visit), Arc::clone(wire.meter()));
            shared.tasks.spawn_on(watch, &shared.handle);
            let stop = visit.stop.clone();
            stop.run_until_cancelled(speak(&shared, wire, &visit)).await;
            stop.cancel();
        }
        Err(error) => tracing::debug!(%error, "a peer's connection was over before it began"),
    }
}

async fn speak(shared: &Arc<Shared>, mut wire: Wire, visit: &Arc<Visit>) {
    match timeout(STRANGER_TIME_MAX, wire.speaks_http2()).await {
        Ok(Ok(true)) => receiver::receive(shared, wire, visit).await,
        Ok(Ok(false)) => speak_http1(shared, wire, visit).await,
        Ok(Err(_)) | Err(_) => {}
    }
}

async fn speak_http1(shared: &Arc<Shared>, wire: Wire, visit: &Arc<Visit>) {
    // Whoever fetches a snapshot may have to wait for its own disk.
    if wire.give_up_after(TAKE_TIME_MAX).is_err() {
        return;
    }
    let service = service_fn(|request: Request<Incoming>| async {
        let (parts, body) = request.into_parts();
        Ok::<_, Infallible>(if parts.method == Method::POST && parts.uri.path() == answer::INQUIRIES {
            answer::inquiry(shared, visit, &parts, body).await
        } else {
            answer::answer(shared, visit, &parts).await
        })
    });
    let mut server = http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(STRANGER_TIME_MAX);
    // As Go writes them.
    server.keep_alive(false).title_case_headers(true);
    if let Err(error) = server.serve_connection(TokioIo::new(wire), service).await {
        tracing::debug!(%error, "a peer's connection ended early");
    }
}

/// Ends a visit that has lasted too long.
async fn watch(visit: Arc<Visit>, meter: Arc<Meter>) {
    let too_long = async {
        sleep(STRANGER_TIME_MAX).await;
        let mut seen = 0;
        while visit.is_member.load(Ordering::Relaxed) && seen != meter.read() + meter.written() {
            seen = meter.read() + meter.written();
            sleep(IDLE_TIME_MAX).await;
        }
    };
    visit.stop.run_until_cancelled(too_long).await;
    visit.stop.cancel();
}
