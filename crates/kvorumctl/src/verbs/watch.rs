//! `watch`: shows what happens to keys, until it is stopped; or runs a command for each event.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use clap::{Args, CommandFactory as _, FromArgMatches as _, Parser};
use client::{Watch, WatchProgress};
use proto::etcdserverpb::{WatchCreateRequest, WatchResponse};
use proto::mvccpb::Event;
use proto::mvccpb::event::EventType;
use serde_json::{Map, Value};
use tokio::sync::mpsc;
use tokio::time::interval;

use super::lock::execute;
use super::shown;
use super::signal::unless_stopped;
use crate::command_line::{number, with_go_flags};
use crate::failure::{Done, Failure, exit};
use crate::go;
use crate::output::{Fields, Output, Shown, message, print_line, say};
use crate::session::Session;

/// How often it is looked whether a member is there, and after how many times without one that is said.
const LOOK: Duration = Duration::from_secs(1);
const LOOKS_MAX: u32 = 5;

/// Lines that were typed and not read yet.
const LINES_MAX: usize = 16;

#[derive(Clone, Debug, Args)]
#[command(
    after_help = "With -i each line is a command: `watch [flags] KEY [RANGE_END] [-- COMMAND]`, or `progress`.\n\
                  A command sees ETCD_WATCH_EVENT_TYPE, ETCD_WATCH_KEY, ETCD_WATCH_VALUE and ETCD_WATCH_REVISION.\n\n\
                  Examples:\n  kvorumctl watch users/ --prefix --rev=42\n  kvorumctl watch config -- ./reload.sh"
)]
#[allow(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub(crate) struct WatchArgs {
    /// The key, or where a range begins and ends.
    #[arg(value_name = "KEY [RANGE_END]")]
    args: Vec<String>,
    /// A command for each event, after `--`.
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<String>,
    /// Reads commands from stdin, each with flags of its own.
    #[arg(short, long)]
    interactive: bool,
    /// Every key that begins so.
    #[arg(long)]
    prefix: bool,
    /// From this revision on; 0 is from now on.
    #[arg(long, default_value = "0", value_parser = number, allow_negative_numbers = true, value_name = "REVISION")]
    rev: i64,
    /// Shows what was there before, too.
    #[arg(long)]
    prev_kv: bool,
    /// Shows how far it has come when nothing happens.
    #[arg(long)]
    progress_notify: bool,
}

/// A line that is typed.
#[derive(Debug, Parser)]
#[command(no_binary_name = true, disable_help_flag = true)]
struct Line {
    #[command(flatten)]
    watch: WatchArgs,
}

impl WatchArgs {
    pub(crate) async fn run(self, session: &Session) -> Done {
        let seen = Arc::new(Seen::default());
        let told = || seen.told();
        if self.interactive {
            return unless_stopped(Box::pin(interact(session, &seen)), told).await;
        }
        let create = self.create(session).map_err(Failure::arguments)?;
        let watch = Watch::open(&session.client, create);
        unless_stopped(Box::pin(follow(session.output, watch, self.command, &seen)), told).await
    }

    /// What is watched; variables stand for a key that is not given.
    fn create(&self, session: &Session) -> Result<WatchCreateRequest, String> {
        let variable = |name: &str| session.variable(name).map(str::to_owned);
        let key = variable("WATCH_KEY").filter(|key| !key.is_empty());
        let (key, end) = match (self.args.as_slice(), key) {
            ([], Some(key)) => (key, variable("WATCH_RANGE_END").filter(|end| !end.is_empty())),
            ([key], None) => (key.clone(), None),
            ([key, end], None) => (key.clone(), Some(end.clone())),
            _ => return Err("bad number of arguments".to_owned()),
        };
        let key = key.into_bytes();
        let (key, range_end) = match end {
            Some(_) if self.prefix => {
                return Err("`range_end` and `--prefix` are mutually exclusive".to_owned());
            }
            Some(end) => (key.into(), end.into_bytes().into()),
            None => shown::open_range(key.into(), self.prefix, false),
        };
        Ok(WatchCreateRequest {
            key,
            range_end,
            start_revision: self.rev,
            prev_kv: self.prev_kv,
            progress_notify: self.progress_notify,
            ..Default::default()
        })
    }
}

/// What was shown until now.
#[derive(Debug, Default)]
struct Seen {
    events: AtomicU64,
    revision: AtomicI64,
}

impl Seen {
    fn note(&self, answer: &WatchResponse) {
        self.events.fetch_add(answer.events.len() as u64, Ordering::Relaxed);
        let last =
            answer.events.last().and_then(|event| event.kv.as_ref()).map_or(0, |pair| pair.mod_revision);
        self.revision.fetch_max(last, Ordering::Relaxed);
    }

    /// Where another watch goes on.
    fn told(&self) -> String {
        match (self.events.load(Ordering::Relaxed), self.revision.load(Ordering::Relaxed)) {
            (0, _) => "watch stopped: nothing has happened".to_owned(),
            (events, last) => {
                format!(
                    "watch stopped: {events} events were shown, the last of revision {last}; --rev={} goes on",
                    last + 1
                )
            }
        }
    }
}

/// Shows what one watch brings, to its end.
async fn follow(output: Output, mut watch: Watch, command: Vec<String>, seen: &Seen) -> Done {
    let mut ticks = interval(LOOK);
    let mut silent_looks = 0;
    loop {
        let answer = tokio::select! {
            answer = watch.next() => answer,
            _ = ticks.tick() => {
                silent_looks = if watch.is_connected() { 0 } else { silent_looks + 1 };
                if silent_looks == LOOKS_MAX {
                    say("no member answers: the watch goes on when one does, and misses nothing; Ctrl-C ends it");
                }
                continue;
            }
        };
        let Some(answer) = answer else { break };
        let answer = answer?;
        if answer.canceled {
            say(&format!("watch was canceled ({})", reason(&answer)));
        } else if answer.events.is_empty() {
            let revision = answer.header.map_or(0, |header| header.revision);
            print_line(&format!("progress notify: {revision}"))?;
        }
        output.show(&answer)?;
        seen.note(&answer);
        if command.is_empty() {
            continue;
        }
        for event in &answer.events {
            act(&command, event, &answer).await?;
        }
    }
    Err(Failure::new(exit::INTERRUPTED, "watch is canceled by the server"))
}

fn reason(answer: &WatchResponse) -> &str {
    match answer {
        answer if answer.compact_revision != 0 => "etcdserver: mvcc: required revision has been compacted",
        answer if !answer.cancel_reason.is_empty() => &answer.cancel_reason,
        _ => "etcdserver: mvcc: required revision is a future revision",
    }
}

/// Runs the command for one event.
async fn act(command: &[String], event: &Event, answer: &WatchResponse) -> Done {
    let pair = event.kv.clone().unwrap_or_default();
    let revision = answer.header.map_or(0, |header| header.revision);
    let variables = [
        ("ETCD_WATCH_REVISION", revision.to_string()),
        ("ETCD_WATCH_EVENT_TYPE", go::quoted(kind(event).as_bytes())),
        ("ETCD_WATCH_KEY", go::quoted(&pair.key)),
        ("ETCD_WATCH_VALUE", go::quoted(&pair.value)),
    ];
    let failed = match execute(command, &variables).await {
        Ok(status) if status.success() => return Ok(()),
        Ok(status) => status.code().map_or_else(|| status.to_string(), |code| format!("exit status {code}")),
        Err(reason) => reason,
    };
    let words: Vec<String> = command.iter().map(|word| go::quoted(word.as_bytes())).collect();
    say(&format!("command [{}] error ({failed})", words.join(" ")));
    Err(Failure::silent(exit::ERROR))
}

fn kind(event: &Event) -> &'static str {
    if event.r#type() == EventType::Delete { "DELETE" } else { "PUT" }
}

/// Lines of stdin, which a thread waits for.
fn lines() -> mpsc::Receiver<String> {
    let (sender, lines) = mpsc::channel(LINES_MAX);
    thread::spawn(move || {
        for line in io::stdin().lines().map_while(Result::ok) {
            if sender.blocking_send(line).is_err() {
                return;
            }
        }
    });
    lines
}

/// Reads commands, and shows what all their watches bring.
async fn interact(session: &Session, seen: &Arc<Seen>) -> Done {
    let mut lines = lines();
    let mut asking: Vec<WatchProgress> = Vec::new();
    let (ends, mut ended) = mpsc::channel(1);
    loop {
        let line = tokio::select! {
            line = lines.recv() => line,
            Some(done) = ended.recv() => return done,
        };
        let Some(line) = line else {
            return Err(Failure::new(exit::INVALID_INPUT, "error reading watch request line: EOF"));
        };
        let Some(words) = go::words(&line) else {
            return Err(Failure::new(exit::INVALID_INPUT, format!("invalid quotes: {line}")));
        };
        match words.first().map(String::as_str) {
            None => say(&format!("Invalid command: {line} (watch and progress supported)")),
            Some("progress") => asking.iter().for_each(WatchProgress::ask),
            Some("watch") if words.len() < 2 && session.variable("WATCH_KEY").is_none() => {
                say(&format!("Invalid command {line} (command type or key is not provided)"));
            }
            Some("watch") => {
                let typed = parse(words.get(1..).unwrap_or_default())?;
                match typed.create(session) {
                    Ok(create) => {
                        let watch = Watch::open(&session.client, create);
                        asking.push(watch.progress());
                        let (output, ends, seen) = (session.output, ends.clone(), Arc::clone(seen));
                        tokio::spawn(async move {
                            drop(ends.send(follow(output, watch, typed.command, &seen).await).await);
                        });
                    }
                    Err(reason) => say(&format!("Invalid command {line} ({reason})")),
                }
            }
            Some(_) => say(&format!("Invalid command {line} (only support watch)")),
        }
    }
}

/// The flags of a line.
fn parse(words: &[String]) -> Result<WatchArgs, Failure> {
    let refused = |error: clap::Error| {
        let failure = crate::program::refusal("watch", &error);
        failure.with_status(exit::BAD_ARGUMENTS)
    };
    let matches = with_go_flags(Line::command()).try_get_matches_from(words).map_err(refused)?;
    Line::from_arg_matches(&matches).map(|line| line.watch).map_err(refused)
}

impl Shown for WatchResponse {
    fn simple(&self, output: Output) -> Vec<u8> {
        let mut text = Vec::new();
        for event in &self.events {
            text.extend(kind(event).as_bytes());
            text.push(b'\n');
            for pair in [&event.prev_kv, &event.kv].into_iter().flatten() {
                text.extend(shown::pair(output, pair));
            }
        }
        text
    }

    fn json(&self, output: Output) -> Value {
        let header = self.header.unwrap_or_default();
        Value::Object(Map::from_iter([
            ("Header".to_owned(), message("etcdserverpb.ResponseHeader", &header)),
            ("Events".to_owned(), self.lines(output).into()),
            ("CompactRevision".to_owned(), self.compact_revision.into()),
            ("Canceled".to_owned(), self.canceled.into()),
            ("Created".to_owned(), self.created.into()),
        ]))
    }

    fn fields(&self, _output: Output) -> Fields {
        let mut fields = Fields::of(self.header.as_ref());
        for event in &self.events {
            fields.value("Type", kind(event));
            if let Some(pair) = &event.prev_kv {
                fields.key_value("Prev", pair);
            }
            if let Some(pair) = &event.kv {
                fields.key_value("", pair);
            }
        }
        fields
    }

    fn lines(&self, _output: Output) -> Vec<Value> {
        self.events.iter().map(|event| message("mvccpb.Event", event)).collect()
    }
}
