//! Many endpoints that look like one: whose turn it is, and what is tried again.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use http::Uri;
use http::uri::PathAndQuery;
use proto::etcdserverpb::{AuthenticateRequest, AuthenticateResponse};
use tokio::time::{Instant, sleep, sleep_until, timeout_at};
use tokio_stream::Stream;
use tonic::client::Grpc;
use tonic::codec::Streaming;
use tonic::{Code, Request, Response, Status};
use tonic_prost::ProstCodec;

use crate::call::Call;
use crate::config::Config;
use crate::endpoint::Endpoint;
use crate::fault::{Failure, Fault, Trouble};
use crate::link::Link;
use crate::token::{self, Standing, Token};

/// The wait after every endpoint failed once; it doubles from the one to the other.
const PAUSE_MIN: Duration = Duration::from_millis(25);
const PAUSE_MAX: Duration = Duration::from_millis(500);

/// A client of one cluster. Clones share connections and token.
#[derive(Clone, Debug)]
pub struct Client {
    config: Arc<Config>,
    targets: Arc<[Arc<Target>]>,
    turn: Arc<AtomicUsize>,
    token: Arc<Token>,
}

/// What is done with a connection.
type Acting<T> = Pin<Box<dyn Future<Output = Result<T, Status>> + Send>>;

/// An endpoint and its connection, which comes up when it is needed.
#[derive(Debug)]
struct Target {
    endpoint: Endpoint,
    origin: Uri,
    link: tokio::sync::Mutex<Option<Link>>,
}

impl Client {
    /// A client that connects when it has something to say.
    pub fn new(config: Config) -> Self {
        let targets =
            config.endpoints.iter().map(|endpoint| Arc::new(Target::new(endpoint.clone()))).collect();
        let token = Token::default();
        // What cannot be sent is as good as none: the members refuse both.
        if let Some(signed) = config.token.as_ref().and_then(|signed| signed.parse().ok()) {
            token.set(Standing::Proven(signed));
        }
        Self {
            config: Arc::new(config),
            targets,
            turn: Arc::new(AtomicUsize::new(0)),
            token: Arc::new(token),
        }
    }

    /// The endpoints, in the order in which they were given.
    pub fn endpoints(&self) -> impl Iterator<Item = &Endpoint> {
        self.targets.iter().map(|target| &target.endpoint)
    }

    /// Whether an endpoint without a scheme is reached with TLS.
    pub fn prefers_tls(&self) -> bool {
        self.config.prefers_tls
    }

    pub(crate) fn config(&self) -> &Config {
        &self.config
    }

    /// The same cluster, seen through one endpoint only. Connections are shared where there are any.
    #[must_use]
    pub fn only(&self, endpoint: &Endpoint) -> Self {
        let known = self.targets.iter().find(|target| target.endpoint == *endpoint);
        let target = known.map_or_else(|| Arc::new(Target::new(endpoint.clone())), Arc::clone);
        Self { targets: Arc::new([target]), ..self.clone() }
    }

    /// Says it and waits for the answer, for so long at most.
    pub async fn call<C: Call>(&self, request: C, patience: Option<Duration>) -> Result<C::Reply, Fault> {
        self.drive(patience, C::REPEATABLE, |mut grpc, left| {
            let request = self.dressed(request.clone(), left);
            Box::pin(async move {
                let path = PathAndQuery::from_static(C::PATH);
                ready(&mut grpc).await?;
                let reply = grpc.unary(request, path, ProstCodec::<C, C::Reply>::default()).await;
                reply.map(Response::into_inner)
            })
        })
        .await
    }

    /// Opens a stream; what happens on it later is the caller's.
    pub(crate) async fn stream<Q, A, S>(
        &self,
        path: &'static str,
        outgoing: impl Fn() -> S + Send + Sync,
        patience: Option<Duration>,
    ) -> Result<Streaming<A>, Fault>
    where
        Q: prost::Message + Send + Sync + 'static,
        A: prost::Message + Default + Send + 'static,
        S: Stream<Item = Q> + Send + 'static,
    {
        self.drive(patience, true, |mut grpc, _left| {
            // The patience is for the opening alone, so that the member is not told of it.
            let request = self.dressed(outgoing(), None);
            Box::pin(async move {
                let path = PathAndQuery::from_static(path);
                ready(&mut grpc).await?;
                let reply = grpc.streaming(request, path, ProstCodec::<Q, A>::default()).await;
                reply.map(Response::into_inner)
            })
        })
        .await
    }

    /// Tries until somebody answers, somebody refuses, or the time is over.
    async fn drive<T>(
        &self,
        patience: Option<Duration>,
        repeatable: bool,
        act: impl Fn(Grpc<Link>, Option<Duration>) -> Acting<T> + Send + Sync,
    ) -> Result<T, Fault> {
        let deadline = patience.map(|patience| Instant::now() + patience);
        let mut tries = Tries::default();
        loop {
            let target = self.next_target();
            let sent = AtomicBool::new(false);
            let attempt = async {
                let link = target.link(&self.config).await.map_err(Trouble::NotSent)?;
                let grpc = self.spoken(target, link);
                self.prove(grpc.clone()).await?;
                sent.store(true, Ordering::Relaxed);
                let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
                act(grpc, left).await.map_err(Trouble::from)
            };
            let came = match deadline {
                Some(deadline) => timeout_at(deadline, attempt).await,
                None => Ok(attempt.await),
            };
            let trouble = match came {
                Ok(Ok(reply)) => return Ok(reply),
                Ok(Err(trouble)) => trouble,
                Err(_) => {
                    let sent = sent.into_inner();
                    tries.note(target, if sent { "no answer in time" } else { "no connection in time" });
                    return Err(tries.over(sent && !repeatable));
                }
            };
            self.bear(target, trouble, repeatable, &mut tries)?;
            if tries.since_pause >= self.targets.len() {
                let pause = tries.pause();
                if deadline.is_some_and(|deadline| deadline <= Instant::now() + pause) {
                    sleep_until(deadline.unwrap_or_else(Instant::now)).await;
                    return Err(tries.over(false));
                }
                sleep(pause).await;
            }
        }
    }

    /// Whether to go on after this, and with what.
    fn bear(
        &self,
        target: &Target,
        trouble: Trouble,
        repeatable: bool,
        tries: &mut Tries,
    ) -> Result<(), Fault> {
        match trouble {
            Trouble::NotSent(reason) => tries.note(target, &reason),
            Trouble::Broken(reason) if repeatable => tries.note(target, &reason),
            Trouble::Broken(reason) => {
                let failure = Failure { place: target.endpoint.to_string(), reason };
                return Err(Fault::Broken { failure });
            }
            Trouble::Credentials(status) => return Err(Fault::Credentials(Box::new(Fault::Refused(status)))),
            Trouble::Refused(status) => {
                let is_stale = self.config.credentials.is_some() && token::is_stale(&status);
                if is_stale && !tries.has_proven_again {
                    tries.has_proven_again = true;
                    self.token.set(Standing::Unproven);
                    return Ok(());
                }
                let passes = repeatable && status.code() == Code::Unavailable;
                if !passes {
                    return Err(Fault::Refused(status));
                }
                tries.note(target, status.message());
            }
        }
        Ok(())
    }

    /// Each endpoint in its turn.
    fn next_target(&self) -> &Arc<Target> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let count = self.targets.len().max(1);
        self.targets.get(turn % count).expect("a client has at least one endpoint")
    }

    fn spoken(&self, target: &Target, link: Link) -> Grpc<Link> {
        Grpc::with_origin(link, target.origin.clone())
            .max_encoding_message_size(self.config.request_bytes_max)
            .max_decoding_message_size(self.config.reply_bytes_max)
    }

    /// A request with who speaks and how long there is time.
    fn dressed<M>(&self, message: M, left: Option<Duration>) -> Request<M> {
        let mut request = Request::new(message);
        if let Some(left) = left {
            request.set_timeout(left);
        }
        if let Standing::Proven(token) = self.token.standing() {
            request.metadata_mut().insert(token::METADATA, token);
        }
        request
    }

    /// Shows the credentials, where there are any and nobody has seen them yet.
    async fn prove(&self, mut grpc: Grpc<Link>) -> Result<(), Trouble> {
        let Some(credentials) = &self.config.credentials else { return Ok(()) };
        let is_unproven = || matches!(self.token.standing(), Standing::Unproven);
        if !is_unproven() {
            return Ok(());
        }
        let _one_at_a_time = self.token.asking.lock().await;
        if !is_unproven() {
            return Ok(());
        }
        let request =
            AuthenticateRequest { name: credentials.name.clone(), password: credentials.password.clone() };
        let path = PathAndQuery::from_static(AuthenticateRequest::PATH);
        let codec = ProstCodec::<AuthenticateRequest, AuthenticateResponse>::default();
        grpc.ready().await.map_err(|lost| Trouble::NotSent(lost.to_string()))?;
        match grpc.unary(Request::new(request), path, codec).await.map_err(Trouble::from) {
            Ok(reply) => {
                let token = reply.into_inner().token.parse().map_err(|_| {
                    Trouble::Credentials(Status::internal("the token that came cannot be sent back"))
                })?;
                self.token.set(Standing::Proven(token));
                Ok(())
            }
            Err(Trouble::Refused(status)) if token::is_not_enabled(&status) => {
                self.token.set(Standing::Unneeded);
                Ok(())
            }
            Err(Trouble::Refused(status)) => Err(Trouble::Credentials(status)),
            Err(Trouble::Broken(reason)) => Err(Trouble::NotSent(reason)),
            Err(other) => Err(other),
        }
    }
}

impl Target {
    fn new(endpoint: Endpoint) -> Self {
        let authority = endpoint.authority().to_owned();
        let origin = Uri::builder().scheme("http").authority(authority).path_and_query("/").build();
        Self { endpoint, origin: origin.unwrap_or_default(), link: tokio::sync::Mutex::new(None) }
    }

    /// The connection, new when there is none or it broke.
    async fn link(&self, config: &Config) -> Result<Link, String> {
        let mut link = self.link.lock().await;
        if let Some(link) = link.as_ref().filter(|link| link.is_up()) {
            return Ok(link.clone());
        }
        *link = None;
        let opened = Link::open(&self.endpoint, config).await?;
        Ok(link.insert(opened).clone())
    }
}

/// What was tried for one call.
#[derive(Debug, Default)]
struct Tries {
    failures: Vec<Failure>,
    since_pause: usize,
    pauses: u32,
    has_proven_again: bool,
}

impl Tries {
    /// Keeps the last reason of each endpoint.
    fn note(&mut self, target: &Target, reason: &str) {
        self.since_pause += 1;
        let failure = Failure { place: target.endpoint.to_string(), reason: reason.to_owned() };
        match self.failures.iter_mut().find(|known| known.place == failure.place) {
            Some(known) => *known = failure,
            None => self.failures.push(failure),
        }
    }

    fn pause(&mut self) -> Duration {
        self.since_pause = 0;
        let pause = PAUSE_MIN.saturating_mul(1 << self.pauses.min(10)).min(PAUSE_MAX);
        self.pauses += 1;
        pause
    }

    fn over(self, may_have_happened: bool) -> Fault {
        Fault::Deadline { failures: self.failures, may_have_happened }
    }
}

async fn ready(grpc: &mut Grpc<Link>) -> Result<(), Status> {
    grpc.ready().await.map_err(|lost| Status::from_error(Box::new(lost)))
}
