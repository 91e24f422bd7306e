//! The data files under `tests/compat/`: requests in the order in which they are sent, written to be read.
//!
//! A line that begins with `#` is a remark. A line that begins with `>>>` begins a request:
//!
//! ```text
//! >>> POST /v3/kv/put => 200            HTTP; what follows are header lines, then the body
//! >>> grpc KV/Put => 0                  gRPC; metadata lines, then the message in its JSON form
//! >>> grpc-bytes /a.B/C => 12           gRPC with any path, and the bytes of the message with escapes
//! >>> bytes of this or that => 400      HTTP; the lines that follow are sent as they are, with escapes
//! >>> until GET /v2/keys/x => 404       asked until the status is the expected one
//! >>> 20 times PUT /v2/keys/x => 200    asked so often; the last answer counts
//! >>> open w grpc Watch/Watch => open   a stream called `w`; what follows are messages, one a line
//! >>> open w POST /v3/watch => open     the same over HTTP, with a body that is whole
//! >>> send w => open                    more messages
//! >>> receive w 2 => open               waits for two messages; with `unread` they are not compared
//! >>> head w => 200                     over HTTP: waits for status and headers
//! >>> silent w => silent                over HTTP: nothing comes for a moment; `told` if something does
//! >>> end w => 0                        no more is sent; what still comes, and the status at the end
//! >>> cancel w => open                  the client goes away
//! ```
//!
//! The number is the status that real etcd answers, and is checked, so that a scenario cannot rot unseen; `412/400`
//! is what 3.4 and what 3.5 answers.
//! `b"foo"` in a JSON body is the base64 of foo, `${repeat:x:9}` is nine x, and ids and ports are `${member}`,
//! `${member-hex}`, `${peer}`, `${added}`, `${added-hex}`, `${token}`, `${token-NAME}` (see [`crate::exchange::Names`]).

use std::fs;
use std::path::{Path, PathBuf};

use ::tests::Release;
use anyhow::{Context, bail};

/// How a request is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Send {
    /// Method and target of HTTP.
    Http { method: String, target: String },
    /// A method of gRPC by its short name.
    Grpc { method: String },
    /// Any path of gRPC, and any bytes.
    GrpcBytes { path: String },
    /// Any bytes of HTTP.
    Bytes,
    /// Something about a stream that stays open between requests.
    Stream { name: String, act: StreamAct },
}

impl Step {
    /// The status that this version of etcd answers.
    pub(crate) fn expected(&self, release: Release) -> &str {
        let (older, newer) = self.status.split_once('/').unwrap_or((&self.status, &self.status));
        match release {
            Release::Debian => older,
            Release::Pypi => newer,
        }
    }
}

/// What is done with a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum StreamAct {
    /// It begins: a method of gRPC by its short name, or a path of HTTP.
    Open { target: String },
    /// Messages for it.
    Send,
    /// So many messages of it.
    Receive { messages: usize },
    /// The end of what is sent to it, and what comes until its own end.
    End,
    /// Status and headers, before anything else.
    Head,
    /// A moment in which nothing may come.
    Silent,
    /// The client goes away.
    Cancel,
}

/// A request of a scenario.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    /// Where it is written.
    pub(crate) line: usize,
    /// What it is called in reports and in the list of allowed differences: its first line.
    pub(crate) title: String,
    /// How it is sent.
    pub(crate) send: Send,
    /// Sent again until the status is the expected one.
    pub(crate) until: bool,
    /// How often it is sent.
    pub(crate) times: u32,
    /// What real etcd answers: a status of HTTP, or of gRPC. `None` when it says nothing at all.
    pub(crate) status: String,
    /// Header or metadata lines.
    pub(crate) headers: Vec<(String, String)>,
    /// What follows, if anything.
    pub(crate) body: Option<String>,
}

/// A data file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Scenario {
    /// The name of its file without the ending.
    pub(crate) name: String,
    /// Its requests.
    pub(crate) steps: Vec<Step>,
}

/// Every scenario there is, by name.
pub(crate) fn all(folder: &Path) -> anyhow::Result<Vec<Scenario>> {
    let entries = fs::read_dir(folder).with_context(|| format!("list {}", folder.display()))?;
    let mut files: Vec<PathBuf> = entries.map(|entry| Ok(entry?.path())).collect::<anyhow::Result<_>>()?;
    files.retain(|file| file.extension().is_some_and(|ending| ending == "txt"));
    files.sort();
    files.iter().map(|file| read(file)).collect()
}

fn read(file: &Path) -> anyhow::Result<Scenario> {
    let name = file.file_stem().context("a file name")?.to_string_lossy().into_owned();
    let text = fs::read_to_string(file).with_context(|| format!("read {}", file.display()))?;
    parse(&name, &text)
}

pub(crate) fn parse(name: &str, text: &str) -> anyhow::Result<Scenario> {
    let mut steps: Vec<Step> = Vec::new();
    for (line, text) in (1..).zip(text.lines()) {
        if let Some(first) = text.strip_prefix(">>> ") {
            steps.push(first_line(line, first).with_context(|| format!("{name}.txt:{line}"))?);
        } else if !text.starts_with('#')
            && let Some(step) = steps.last_mut()
        {
            following_line(step, text);
        }
    }
    for step in &mut steps {
        step.body = step.body.take().map(|body| body.trim_end().to_owned()).filter(|body| !body.is_empty());
    }
    Ok(Scenario { name: name.to_owned(), steps })
}

fn first_line(line: usize, text: &str) -> anyhow::Result<Step> {
    let (title, status) = text.rsplit_once(" => ").context("no ` => STATUS` at the end")?;
    let (until, title) = title.strip_prefix("until ").map_or((false, title), |title| (true, title));
    let (times, title) = match title.split_once(" times ") {
        Some((times, title)) => (times.parse().context("a number")?, title),
        None => (1, title),
    };
    let send = match title.split_once(' ') {
        Some(("bytes", _)) => Send::Bytes,
        Some(("grpc", method)) => Send::Grpc { method: method.to_owned() },
        Some(("open", rest)) => {
            let (name, target) = rest.split_once(' ').context("a stream has a name and a target")?;
            stream(name, StreamAct::Open { target: target.to_owned() })
        }
        Some(("send", name)) => stream(name, StreamAct::Send),
        Some(("receive", rest)) => {
            let (name, messages) = rest.split_once(' ').context("a stream and a number of messages")?;
            stream(name, StreamAct::Receive { messages: messages.parse().context("a number")? })
        }
        Some(("end", name)) => stream(name, StreamAct::End),
        Some(("head", name)) => stream(name, StreamAct::Head),
        Some(("silent", name)) => stream(name, StreamAct::Silent),
        Some(("cancel", name)) => stream(name, StreamAct::Cancel),
        Some(("grpc-bytes", path)) => Send::GrpcBytes { path: path.to_owned() },
        Some((method, target)) if method.chars().all(|char| char.is_ascii_uppercase()) => {
            Send::Http { method: method.to_owned(), target: target.to_owned() }
        }
        _ => bail!("`{title}` is no request"),
    };
    let status = status.trim().to_owned();
    Ok(Step { line, title: title.to_owned(), send, until, times, status, headers: Vec::new(), body: None })
}

fn stream(name: &str, act: StreamAct) -> Send {
    Send::Stream { name: name.to_owned(), act }
}

fn following_line(step: &mut Step, text: &str) {
    if step.body.is_none() && step.send != Send::Bytes {
        if let Some((name, value)) = header(text) {
            step.headers.push((name.to_owned(), value.to_owned()));
            return;
        }
        if text.is_empty() {
            return;
        }
    }
    let body = step.body.get_or_insert_default();
    if !body.is_empty() {
        body.push('\n');
    }
    body.push_str(text);
}

fn header(line: &str) -> Option<(&str, &str)> {
    let (name, value) = line.split_once(": ")?;
    let is_name = name.chars().all(|char| char.is_ascii_alphanumeric() || char == '-');
    (is_name && !name.is_empty()).then_some((name, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_as_its_reader_would() {
        let text = "# remark\n>>> POST /a?b => 200\nX-A: b\n{\"x\": 1,\n \"y\": 2}\n\n# remark\n>>> until GET /c => 404\n>>> grpc KV/Put => 3\n";
        let scenario = parse("s", text).expect("well-formed");
        let [post, get, put] = scenario.steps.as_slice() else { panic!("three requests") };
        assert_eq!(post.body.as_deref(), Some("{\"x\": 1,\n \"y\": 2}"));
        assert_eq!((post.headers.len(), post.title.as_str(), post.line), (1, "POST /a?b", 2));
        assert!(get.until && get.status == "404" && get.body.is_none());
        assert_eq!(put.send, Send::Grpc { method: "KV/Put".to_owned() });
        let open = parse("s", ">>> open w grpc Watch/Watch => open").expect("well-formed");
        let target = StreamAct::Open { target: "grpc Watch/Watch".to_owned() };
        assert_eq!(open.steps[0].send, Send::Stream { name: "w".to_owned(), act: target });
        assert!(parse("s", ">>> POST /a").is_err() && parse("s", ">>> nonsense => 1").is_err());
    }
}
