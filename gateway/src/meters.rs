//! What is counted at the door, under etcd's names. Handles are made once, so that a request pays for the
//! counting and not for the looking up.

use std::time::Duration;

use api::Code;
use http::HeaderValue;
use proto::Method;
use telemetry::{Buckets, Counter, Histogram, Registry};

use crate::rpc::Rpc;

/// gRPC's codes by their numbers.
const CODES: [&str; 17] = [
    "OK",
    "Canceled",
    "Unknown",
    "InvalidArgument",
    "DeadlineExceeded",
    "NotFound",
    "AlreadyExists",
    "PermissionDenied",
    "ResourceExhausted",
    "FailedPrecondition",
    "Aborted",
    "OutOfRange",
    "Unimplemented",
    "Internal",
    "Unavailable",
    "DataLoss",
    "Unauthenticated",
];

/// All counters of the door.
pub(crate) struct Meters {
    calls: Vec<CallMeters>,
    /// By path, for methods that are known and not served.
    unserved: Vec<(String, CallMeters)>,
    received_bytes: Counter,
    sent_bytes: Counter,
    unary_versions: Versions,
    stream_versions: Versions,
    pub(crate) health_success: Counter,
    pub(crate) health_failures: Counter,
    pub(crate) v2: V2Meters,
    pub(crate) limits: LimitMeters,
}

/// The counters of limits: what was refused or ended at each.
pub(crate) struct LimitMeters {
    pub(crate) slow_head: Counter,
    pub(crate) idle: Counter,
    pub(crate) slow_body: Counter,
    pub(crate) large_body: Counter,
    pub(crate) arriving_bytes: Counter,
    pub(crate) gave_way: Counter,
    pub(crate) calls: Counter,
    pub(crate) leaving_bytes: Counter,
    pub(crate) watches: Counter,
    pub(crate) http2: Counter,
}

impl LimitMeters {
    fn register(registry: &Registry) -> Self {
        let help =
            "Requests that were refused and connections that were ended at a limit of the gateway, by limit.";
        let counter = |limit| registry.counter("kvorum_gateway_limits_total", help, &[("limit", limit)]);
        Self {
            slow_head: counter("slow-head"),
            idle: counter("idle"),
            slow_body: counter("slow-body"),
            large_body: counter("large-body"),
            arriving_bytes: counter("arriving-bytes"),
            gave_way: counter("gave-way"),
            calls: counter("calls"),
            leaving_bytes: counter("leaving-bytes"),
            watches: counter("watches"),
            http2: counter("http2"),
        }
    }
}

/// The counters of one gRPC method.
pub(crate) struct CallMeters {
    /// What it is called.
    pub(crate) method: String,
    seconds: Option<Histogram>,
    started: Counter,
    received: Counter,
    sent: Counter,
    handled: Vec<Counter>,
}

/// Requests by the version that clients say they speak. Those seen in the field have their counters; what
/// else a client invents is counted together, so that nobody can make the metrics grow.
struct Versions {
    unknown: Counter,
    known: Vec<(&'static str, Counter)>,
    other: Counter,
}

/// The counters of the v2 interface.
pub(crate) struct V2Meters {
    methods: Vec<(&'static str, V2Method)>,
    registry: Registry,
}

struct V2Method {
    received: Counter,
    seconds: Histogram,
}

impl Meters {
    /// Registers everything.
    pub(crate) fn register(registry: &Registry, times_by_method: bool) -> Self {
        let calls = Rpc::ALL.iter().map(|rpc| {
            let (service, method) = rpc.names();
            let known = proto::METHODS.iter().find(|known| known.service == service && known.name == method);
            let kind = known.map_or("unary", kind);
            let meters = CallMeters::register(registry, service, method, kind);
            if times_by_method { meters.timed(registry, service, kind) } else { meters }
        });
        let network = |name, help| registry.counter(name, help, &[]);
        Self {
            calls: calls.collect(),
            unserved: unserved(registry),
            received_bytes: network(
                "etcd_network_client_grpc_received_bytes_total",
                "The total number of bytes received from grpc clients.",
            ),
            sent_bytes: network(
                "etcd_network_client_grpc_sent_bytes_total",
                "The total number of bytes sent to grpc clients.",
            ),
            unary_versions: Versions::register(registry, "unary"),
            stream_versions: Versions::register(registry, "stream"),
            health_success: network(
                "etcd_server_health_success",
                "The total number of successful health checks",
            ),
            health_failures: network(
                "etcd_server_health_failures",
                "The total number of failed health checks",
            ),
            v2: V2Meters::register(registry),
            limits: LimitMeters::register(registry),
        }
    }

    /// The counters of a call that is served.
    pub(crate) fn call(&self, rpc: Rpc) -> &CallMeters {
        &self.calls[rpc as usize]
    }

    /// The counters of a method that is known and not served, by its path.
    pub(crate) fn unserved(&self, path: &str) -> Option<&CallMeters> {
        self.unserved.iter().find(|(known, _)| known == path).map(|(_, meters)| meters)
    }

    /// The request of a unary call came in, of this size, from a client that says it speaks `version`.
    pub(crate) fn received(&self, call: &CallMeters, bytes: usize, version: Option<&HeaderValue>) {
        self.received_message(call, bytes);
        self.unary_versions.counter(version).increment(1);
    }

    /// A streaming call began, of a client that says it speaks `version`.
    pub(crate) fn opened(&self, version: Option<&HeaderValue>) {
        self.stream_versions.counter(version).increment(1);
    }

    /// A message of this size came in.
    pub(crate) fn received_message(&self, call: &CallMeters, bytes: usize) {
        call.received.increment(1);
        self.received_bytes.increment(bytes as u64);
    }

    /// So many answers of so many bytes together go out.
    pub(crate) fn sent(&self, call: &CallMeters, answers: u64, bytes: u64) {
        call.sent.increment(answers);
        self.sent_bytes.increment(bytes);
    }
}

fn unserved(registry: &Registry) -> Vec<(String, CallMeters)> {
    proto::METHODS
        .iter()
        .map(|method| (format!("/{}/{}", method.service, method.name), method))
        .filter(|(path, _)| Rpc::at_path(path).is_none())
        .map(|(path, method)| {
            (path, CallMeters::register(registry, method.service, method.name, kind(method)))
        })
        .collect()
}

fn kind(method: &Method) -> &'static str {
    match (method.streams_in, method.streams_out) {
        (false, false) => "unary",
        (false, true) => "server_stream",
        (true, false) => "client_stream",
        (true, true) => "bidi_stream",
    }
}

impl CallMeters {
    fn register(registry: &Registry, service: &str, method: &str, kind: &str) -> Self {
        let labels = [("grpc_method", method), ("grpc_service", service), ("grpc_type", kind)];
        let counter = |name, help| registry.counter(name, help, &labels);
        Self {
            method: method.to_owned(),
            seconds: None,
            started: counter("grpc_server_started_total", "Total number of RPCs started on the server."),
            received: counter(
                "grpc_server_msg_received_total",
                "Total number of RPC stream messages received on the server.",
            ),
            sent: counter(
                "grpc_server_msg_sent_total",
                "Total number of gRPC stream messages sent by the server.",
            ),
            handled: CODES.iter().map(|code| handled(registry, code, &labels)).collect(),
        }
    }

    /// The same with the times of its calls.
    fn timed(mut self, registry: &Registry, service: &str, kind: &str) -> Self {
        let labels = [("grpc_method", self.method.as_str()), ("grpc_service", service), ("grpc_type", kind)];
        self.seconds = (kind == "unary").then(|| {
            registry.histogram(
                "grpc_server_handling_seconds",
                "Histogram of response latency (seconds) of gRPC that had been application-level handled by the server.",
                &labels,
                Buckets::CALLS,
            )
        });
        self
    }

    /// A call took this long.
    pub(crate) fn took(&self, took: Duration) {
        if let Some(seconds) = &self.seconds {
            seconds.record(took);
        }
    }

    /// A call begins; it counts as canceled until something else is said.
    pub(crate) fn start(&self) -> Started<'_> {
        self.begin();
        Started { meters: self, code: Code::Canceled as usize }
    }

    /// A call begins, and somebody else will say how it ended.
    pub(crate) fn begin(&self) {
        self.started.increment(1);
    }

    /// A call ended with the code of this number.
    pub(crate) fn finish(&self, code: usize) {
        if let Some(counter) = self.handled.get(code) {
            counter.increment(1);
        }
    }
}

fn handled(registry: &Registry, code: &str, labels: &[(&'static str, &str); 3]) -> Counter {
    const HELP: &str = "Total number of RPCs completed on the server, regardless of success or failure.";
    let [method, service, kind] = *labels;
    registry.counter("grpc_server_handled_total", HELP, &[("grpc_code", code), method, service, kind])
}

/// A call under way. When its future is dropped, the client has gone.
pub(crate) struct Started<'a> {
    meters: &'a CallMeters,
    code: usize,
}

impl Started<'_> {
    /// The call ended with this code; `None` is OK.
    pub(crate) fn end(mut self, code: Option<Code>) {
        self.code = code.map_or(0, |code| code as usize);
    }
}

impl Drop for Started<'_> {
    fn drop(&mut self) {
        self.meters.finish(self.code);
    }
}

impl Versions {
    const KNOWN: [&'static str; 4] = ["3.4", "3.5", "3.6", "3.7"];

    fn register(registry: &Registry, kind: &str) -> Self {
        let counter = |version| {
            registry.counter(
                "etcd_server_client_requests_total",
                "The total number of client requests per client version.",
                &[("client_api_version", version), ("type", kind)],
            )
        };
        Self {
            unknown: counter("unknown"),
            known: Self::KNOWN.map(|version| (version, counter(version))).into(),
            other: counter("other"),
        }
    }

    fn counter(&self, version: Option<&HeaderValue>) -> &Counter {
        let Some(version) = version else { return &self.unknown };
        let known = self.known.iter().find(|(known, _)| *known == version);
        known.map_or(&self.other, |(_, counter)| counter)
    }
}

impl V2Meters {
    const METHODS: [&'static str; 6] = ["GET", "QGET", "PUT", "POST", "DELETE", "HEAD"];

    fn register(registry: &Registry) -> Self {
        let buckets = Buckets::exponential(0.0005, 2.0, 13);
        let method = |method: &'static str| {
            let labels = [("method", method)];
            let received = registry.counter(
                "etcd_http_received_total",
                "Counter of requests received into the system (successfully parsed and authd).",
                &labels,
            );
            let seconds = registry.histogram(
                "etcd_http_successful_duration_seconds",
                "Bucketed histogram of processing time (s) of successfully handled requests (non-watches), by \
                 method (GET/PUT etc.).",
                &labels,
                buckets,
            );
            (method, V2Method { received, seconds })
        };
        Self { methods: Self::METHODS.map(method).into(), registry: registry.clone() }
    }

    fn method(&self, method: &str) -> Option<&V2Method> {
        self.methods.iter().find(|(known, _)| *known == method).map(|(_, meters)| meters)
    }

    /// A request was understood.
    pub(crate) fn received(&self, method: &str) {
        if let Some(meters) = self.method(method) {
            meters.received.increment(1);
        }
    }

    /// It went well and took this long.
    pub(crate) fn succeeded(&self, method: &str, seconds: f64) {
        if let Some(meters) = self.method(method) {
            meters.seconds.record(seconds);
        }
    }

    /// It failed with this HTTP status. The pair is looked up by name: failures are no hot path.
    pub(crate) fn failed(&self, method: &str, status: http::StatusCode) {
        let help = "Counter of handle failures of requests (non-watches), by method (GET/PUT etc.) and code \
                    (400, 500 etc.).";
        let labels = [("code", status.as_str()), ("method", method)];
        self.registry.counter("etcd_http_failed_total", help, &labels).increment(1);
    }
}
