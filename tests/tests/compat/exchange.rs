//! Sends one request of a scenario to one server and takes the answer apart.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use ::tests::answer::{ABSENT, Answer};
use ::tests::{Client, Node, Program, grpc, http1, text, until};
use anyhow::Context;
use bytes::Bytes;
use types::MemberId;

use crate::scenario::{Send, Step};
use crate::streams::Streams;

/// How long one answer may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(15);

/// What the steps of a scenario may say instead of a number that differs from server to server: `${member}` and
/// `${member-hex}` for the server's own id, `${peer}` for its peer port, `${added}` and `${added-hex}` for the
/// member that it added last, `${token}` for the token that it gave last and `${token-NAME}` for that of a user.
#[derive(Clone, Debug)]
struct Names(BTreeMap<String, String>);

impl Names {
    fn of(node: &Node) -> Self {
        let url = format!("http://127.0.0.1:{}", node.peer_port());
        let id = members::member_id(&[url], "etcd-cluster");
        let mut names = Self(BTreeMap::from([("peer".to_owned(), node.peer_port().to_string())]));
        names.know(("member", "member-hex"), id);
        names
    }

    fn know(&mut self, (decimal, hex): (&str, &str), id: MemberId) {
        self.0.insert(decimal.to_owned(), id.0.to_string());
        self.0.insert(hex.to_owned(), id.to_string());
    }

    /// Remembers who was added, or given a token, if this answer to `asked` tells of it.
    fn learn(&mut self, asked: Option<&str>, body: &str) {
        const ADDED: &str = "\"member\":{\"ID\":\"";
        let token = body.split_once("\"token\":\"").and_then(|(_, rest)| rest.split('"').next());
        if let Some(token) = token {
            self.0.insert("token".to_owned(), token.to_owned());
            let name = asked.and_then(|asked| serde_json::from_str::<serde_json::Value>(asked).ok());
            if let Some(name) = name.as_ref().and_then(|asked| asked["name"].as_str()) {
                self.0.insert(format!("token-{name}"), token.to_owned());
            }
        }
        let digits = body.split_once(ADDED).and_then(|(_, rest)| rest.split('"').next());
        if let Some(id) = digits.and_then(|digits| digits.parse().ok()) {
            self.know(("added", "added-hex"), MemberId(id));
        }
    }
}

/// A server with what it was asked so far.
pub(crate) struct Side {
    node: Node,
    names: Names,
    streams: Streams,
}

impl Side {
    /// A new server, asked nothing.
    pub(crate) fn start(program: &Program) -> anyhow::Result<Self> {
        Ok(Self::of(Node::start(program, &[])?))
    }

    /// A new server whose v2 is a view of v3's keys. Its revision is where the index of a new v2 keyspace is.
    pub(crate) fn start_bridged(program: &Program) -> anyhow::Result<Self> {
        let node = Node::start(program, &["--v2-bridge-prefix=/reg/"])?;
        let client = Client::new(node.address())?;
        while client.put("elsewhere", "x")? < 3 {}
        Ok(Self::of(node))
    }

    fn of(node: Node) -> Self {
        Self { names: Names::of(&node), streams: Streams::default(), node }
    }

    /// Sends the step and answers what came back, normalised.
    pub(crate) fn ask(&mut self, step: &Step) -> anyhow::Result<Answer> {
        ask(&self.node, step, &mut self.names, &mut self.streams)
    }
}

/// Whether the step may propose a change of the members.
fn changes_members(step: &Step) -> bool {
    match &step.send {
        Send::Http { method, target } => method != "GET" && target.contains("/member"),
        Send::Grpc { method } => method.contains("Member"),
        Send::GrpcBytes { path } => path.contains("Member"),
        Send::Bytes | Send::Stream { .. } => false,
    }
}

/// Waits until raft has put the change of members before this one behind it. etcd 3.4.23 answers a change a moment
/// earlier, drops one that is proposed in that moment, and then never answers it: of 5,000 sent without a pause
/// to a busy machine hundreds hung, and none where a linearizable read went before each. What the read answers
/// does not matter; a user's token or a quorum may be missing.
fn settle(node: &Node) {
    let read = http1::request("POST", "/v3/kv/range", &[], Some(br#"{"key": "YQ=="}"#));
    http1::exchange(node.address(), &read, PATIENCE).ok();
}

/// Sends the step and answers what came back, normalised. A connection that ends without an answer is an
/// answer too.
fn ask(node: &Node, step: &Step, names: &mut Names, streams: &mut Streams) -> anyhow::Result<Answer> {
    let mut step = step.clone();
    step.body = step.body.map(|body| text::insert(&body, &names.0));
    if let Send::Http { target, .. } = &mut step.send {
        *target = text::insert(target, &names.0);
    }
    for (_, value) in &mut step.headers {
        *value = text::insert(value, &names.0);
    }
    if changes_members(&step) {
        settle(node);
    }
    let mut answer = if let Send::Stream { name, act } = &step.send {
        streams.act(node.address(), name, act, &step)?
    } else {
        for _ in 1..step.times {
            ask_until(node, &step)?;
        }
        ask_until(node, &step)?
    };
    names.learn(step.body.as_deref(), answer.part("body"));
    answer.normalise((node.address().port(), node.peer_port()));
    for (name, id) in names.0.iter().filter(|(name, _)| *name != "peer") {
        answer.blank("body", id, &format!("<{name}>"));
    }
    Ok(answer)
}

fn ask_until(node: &Node, step: &Step) -> anyhow::Result<Answer> {
    if !step.until {
        return once(node, step);
    }
    let mut last = None;
    let found = until(PATIENCE, || match once(node, step) {
        Ok(answer) if status_of(&answer, step) == step.status => Some(answer),
        other => {
            last = Some(other);
            None
        }
    });
    match (found, last) {
        (Some(answer), _) => Ok(answer),
        (None, Some(last)) => last,
        (None, None) => anyhow::bail!("it was never asked"),
    }
}

/// The status that a data file names.
pub(crate) fn status_of<'a>(answer: &'a Answer, step: &Step) -> &'a str {
    match step.send {
        Send::Grpc { .. } | Send::GrpcBytes { .. } => answer.part("trailer grpc-status"),
        Send::Stream { .. } if answer.part("trailer grpc-status") != ABSENT => {
            answer.part("trailer grpc-status")
        }
        Send::Http { .. } | Send::Bytes | Send::Stream { .. } => answer.part("status"),
    }
}

fn once(node: &Node, step: &Step) -> anyhow::Result<Answer> {
    let body = step.body.as_deref().map(text::expand).transpose()?;
    Ok(match &step.send {
        Send::Http { method, target } => {
            let body = body.as_deref().map(text::encode_bytes).transpose()?;
            let target = text::expand(target)?;
            let bytes = http1::request(method, &target, &step.headers, body.as_deref().map(str::as_bytes));
            http_answer(node, &bytes)
        }
        Send::Bytes => {
            let lines: Vec<&str> = body.as_deref().unwrap_or_default().lines().collect();
            http_answer(node, &text::unescape(&lines.join("\r\n"))?)
        }
        Send::Stream { .. } => anyhow::bail!("a stream is not asked again"),
        Send::Grpc { method } => grpc_answer(node, step, method, &body.unwrap_or_default())?,
        Send::GrpcBytes { path } => {
            let message = text::unescape(&body.unwrap_or_default())?;
            let output = grpc::method_at(path).map(|method| method.output());
            match grpc::call(node.address(), path, &step.headers, &message, PATIENCE) {
                Ok(reply) => grpc_parts(&reply, |message| match &output {
                    Some(output) => grpc::decode(output.clone(), message),
                    None => Ok(message.escape_ascii().to_string()),
                })?,
                Err(error) => no_answer(&error),
            }
        }
    })
}

fn http_answer(node: &Node, bytes: &[u8]) -> Answer {
    let reply = match http1::exchange(node.address(), bytes, PATIENCE) {
        Ok(reply) => reply,
        Err(error) => return no_answer(&error.into()),
    };
    let mut answer = Answer::default();
    answer.add("status", &reply.status.to_string());
    for (name, value) in &reply.headers {
        answer.add(&format!("header {}", name.to_ascii_lowercase()), value);
    }
    for (name, value) in &reply.trailers {
        answer.add(&format!("trailer {}", name.to_ascii_lowercase()), value);
    }
    answer.add("body", &shown(&reply.body));
    answer.add("body length", &reply.body.len().to_string());
    answer
}

fn grpc_answer(node: &Node, step: &Step, name: &str, json: &str) -> anyhow::Result<Answer> {
    let method = grpc::method(name).with_context(|| format!("there is no method {name}"))?;
    let message = grpc::encode(method.input(), &text::encode_bytes(json)?)?;
    match grpc::call(node.address(), &grpc::path_of(&method), &step.headers, &message, PATIENCE) {
        Ok(reply) => grpc_parts(&reply, |message| grpc::decode(method.output(), message)),
        Err(error) => Ok(no_answer(&error)),
    }
}

/// An answer of gRPC may come without a message, and then its trailers come as headers: both forms mean the
/// same and are shown as the longer one.
fn grpc_parts(
    reply: &grpc::Reply,
    decode: impl Fn(&[u8]) -> anyhow::Result<String>,
) -> anyhow::Result<Answer> {
    let mut answer = Answer::default();
    answer.add("status", &reply.http_status.to_string());
    for (name, value) in &reply.headers {
        let kind = if name.starts_with("grpc-") { "trailer" } else { "header" };
        answer.add(&format!("{kind} {name}"), value);
    }
    for (name, value) in &reply.trailers {
        answer.add(&format!("trailer {name}"), value);
    }
    let show = |message: &Option<Bytes>| match message {
        Some(message) => decode(message),
        None => Ok("(compressed)".to_owned()),
    };
    let messages: Vec<String> = reply.messages.iter().map(show).collect::<Result<_, _>>()?;
    answer.add("body", &shown(messages.join("\n").as_bytes()));
    Ok(answer)
}

/// To close is what a server may do on purpose; to say nothing is not, and no scenario expects it.
fn no_answer(error: &anyhow::Error) -> Answer {
    let waited = error.chain().any(|cause| {
        let kind = cause.downcast_ref::<io::Error>().map(io::Error::kind);
        matches!(kind, Some(io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut))
            || cause.is::<tokio::time::error::Elapsed>()
    });
    let mut answer = Answer::default();
    answer
        .add("status", if waited { "no answer, and not closed either" } else { "closed without an answer" });
    answer
}

fn shown(body: &[u8]) -> String {
    String::from_utf8(body.to_vec()).unwrap_or_else(|_| body.escape_ascii().to_string())
}
