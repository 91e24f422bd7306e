//! Streams that stay open between the requests of a scenario, over gRPC and over HTTP.
//!
//! An answer to a step is what came for it, and when the stream ended, headers, trailers and status.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use ::tests::answer::Answer;
use ::tests::{client, grpc, http1, text};
use anyhow::{Context, bail, ensure};
use prost_reflect::MethodDescriptor;

use crate::exchange::PATIENCE;
use crate::scenario::{Step, StreamAct};

/// The status of messages that are waited for and not compared.
const UNREAD: &str = "unread";

/// What would come at once if it came at all does not take longer.
const SILENCE: Duration = Duration::from_millis(250);

/// The open streams of one server, by name.
#[derive(Default)]
pub(crate) struct Streams(BTreeMap<String, Stream>);

enum Stream {
    Grpc { method: MethodDescriptor, call: grpc::Stream },
    Http { lines: http1::Lines },
}

impl Streams {
    /// Does what the step says to the stream.
    pub(crate) fn act(
        &mut self,
        address: SocketAddr,
        name: &str,
        act: &StreamAct,
        step: &Step,
    ) -> anyhow::Result<Answer> {
        let messages = text::expand(step.body.as_deref().unwrap_or_default())?;
        let messages = text::encode_bytes(&messages)?;
        let mut answer = Answer::default();
        match act {
            StreamAct::Open { target } => {
                let stream = Stream::open(address, target, step, &messages)?;
                ensure!(self.0.insert(name.to_owned(), stream).is_none(), "{name} is open");
                answer.add("status", "open");
            }
            StreamAct::Send => {
                self.get(name)?.send(&messages)?;
                answer.add("status", "open");
            }
            StreamAct::Receive { messages } => {
                let stream = self.get(name)?;
                let mut received = Vec::new();
                for _ in 0..*messages {
                    let next = stream.receive().with_context(|| format!("after {received:?}"))?;
                    let Some(message) = next else {
                        answer.add("ended", "early");
                        break;
                    };
                    received.push(message);
                }
                answer.add("status", &step.status);
                if step.status != UNREAD {
                    answer.add("body", &received.join("\n"));
                }
            }
            StreamAct::End => {
                let mut stream = self.0.remove(name).with_context(|| format!("{name} is not open"))?;
                let mut received = Vec::new();
                if let Stream::Grpc { call, .. } = &mut stream {
                    call.half_close();
                }
                while let Some(message) = stream.receive().with_context(|| format!("after {received:?}"))? {
                    received.push(message);
                }
                stream.describe(&mut answer);
                answer.add("body", &received.join("\n"));
            }
            StreamAct::Head => {
                let Stream::Http { lines } = self.get(name)? else { bail!("this is for HTTP") };
                lines.head().context("no head came")?;
                self.get(name)?.describe(&mut answer);
            }
            StreamAct::Silent => {
                let Stream::Http { lines } = self.get(name)? else { bail!("this is for HTTP") };
                let line = lines.receive_within(SILENCE)?;
                answer.add("status", if line.is_some() { "told" } else { "silent" });
                if let Some(line) = line {
                    answer.add("body", &line);
                }
            }
            StreamAct::Cancel => {
                self.0.remove(name).with_context(|| format!("{name} is not open"))?;
                answer.add("status", "open");
            }
        }
        Ok(answer)
    }

    fn get(&mut self, name: &str) -> anyhow::Result<&mut Stream> {
        self.0.get_mut(name).with_context(|| format!("{name} is not open"))
    }
}

impl Stream {
    fn open(address: SocketAddr, target: &str, step: &Step, messages: &str) -> anyhow::Result<Self> {
        if let Some(name) = target.strip_prefix("grpc ") {
            let method = grpc::method(name).with_context(|| format!("there is no method {name}"))?;
            let path = grpc::path_of(&method);
            let call = client::runtime().block_on(grpc::Stream::open(address, &path, &step.headers))?;
            let mut stream = Self::Grpc { method, call };
            stream.send(messages)?;
            if let Self::Grpc { method, call } = &mut stream
                && !method.is_client_streaming()
            {
                // There is one message, and clients say so.
                call.half_close();
            }
            return Ok(stream);
        }
        let (verb, path) = target.split_once(' ').context("a method and a path")?;
        let request = http1::request(verb, path, &step.headers, Some(messages.as_bytes()));
        Ok(Self::Http { lines: http1::Lines::open(address, &request, PATIENCE).context("open a stream")? })
    }

    fn send(&mut self, messages: &str) -> anyhow::Result<()> {
        let Self::Grpc { method, call } = self else { bail!("the body of a request over HTTP is whole") };
        for message in messages.lines().filter(|line| !line.is_empty()) {
            let bytes = grpc::encode(method.input(), message)?;
            client::runtime().block_on(call.send(&bytes))?;
        }
        Ok(())
    }

    fn receive(&mut self) -> anyhow::Result<Option<String>> {
        match self {
            Self::Grpc { method, call } => {
                let received = client::runtime().block_on(async {
                    let next = tokio::time::timeout(PATIENCE, call.receive()).await;
                    next.with_context(|| format!("no message within {PATIENCE:?}"))?
                })?;
                received.map(|message| grpc::decode(method.output(), &message)).transpose()
            }
            Self::Http { lines } => lines.receive().context("read a line"),
        }
    }

    fn describe(&self, answer: &mut Answer) {
        match self {
            Self::Grpc { call, .. } => {
                answer.add("status", &call.reply.http_status.to_string());
                for (name, value) in call.reply.headers.iter().chain(&call.reply.trailers) {
                    let kind = if name.starts_with("grpc-") { "trailer" } else { "header" };
                    answer.add(&format!("{kind} {name}"), value);
                }
            }
            Self::Http { lines } => {
                let Some(reply) = &lines.reply else { return };
                answer.add("status", &reply.status.to_string());
                for (name, value) in &reply.headers {
                    answer.add(&format!("header {}", name.to_ascii_lowercase()), value);
                }
            }
        }
    }
}
