//! `make-mirror`: copies keys to another cluster as they are at one revision, then what becomes of them.
//!
//! With `--position KEY` it keeps how far it has come in a key at the destination and goes on from there when it is
//! started again; what it cannot know of any more it copies anew, and removes there what is not here.
//!
//! `--verify` compares both ends instead; with a position, at the revision of the source that the destination says it
//! stands at, so that it may go on meanwhile.
//!
//! INVARIANT: what one transaction wrote here is written by one transaction there, unless it is too large for one.
//! INVARIANT: with a position, no key at the destination ever goes back to what it was before.

mod copy;
mod position;
mod progress;
mod verify;
mod write;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use clap::Args;
use client::{Call, Client, Code, Fault, Watch};
use proto::etcdserverpb::request_op::Request;
use proto::etcdserverpb::{DeleteRangeRequest, PutRequest, RangeRequest, WatchCreateRequest};
use proto::mvccpb::event::EventType;
use proto::mvccpb::{Event, KeyValue};
use tokio::time::{interval, sleep};

use self::position::{Position, Stage};
use self::progress::Progress;
use super::shown::open_range;
use super::signal::unless_stopped;
use crate::command_line::{duration, number};
use crate::failure::{Done, Failure, exit};
use crate::output::say;
use crate::session::{Session, config};

/// How often the source is asked how far a watch has come.
const ASK: Duration = Duration::from_secs(1);

/// The wait before a write is repeated whose answer did not come; writing twice what is written is no harm here.
const PAUSE: Duration = Duration::from_millis(500);

#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Examples:\n  kvorumctl make-mirror --prefix=app/ --dest-prefix=copy/ other:2379\n  kvorumctl make-mirror \
                  --position=mirror/app --prefix=app/ other:2379\n  kvorumctl make-mirror --position=mirror/app \
                  --prefix=app/ --verify other:2379"
)]
pub(crate) struct MakeMirror {
    /// Where the other cluster listens.
    #[arg(value_name = "DESTINATION")]
    args: Vec<String>,
    /// Only keys that begin so.
    #[arg(long, default_value = "", hide_default_value = true, value_name = "PREFIX")]
    prefix: String,
    /// What keys begin with there, instead of --prefix.
    #[arg(long, default_value = "", hide_default_value = true, value_name = "PREFIX")]
    dest_prefix: String,
    /// Leaves away --prefix there.
    #[arg(long)]
    no_dest_prefix: bool,
    /// Starts with what happened from this revision on, and copies nothing before.
    #[arg(long, default_value = "0", value_parser = number, value_name = "REVISION")]
    rev: i64,
    /// Keeps how far it has come in this key there, and goes on from it; removes there what is not here.
    #[arg(long, value_name = "KEY", conflicts_with = "rev")]
    position: Option<String>,
    /// Compares both ends by a hash over keys and values, and writes nothing.
    #[arg(long, conflicts_with = "rev")]
    verify: bool,
    /// How often it says on stderr how far it is; 0s never.
    #[arg(long, default_value = "10s", value_parser = duration, value_name = "TIME")]
    progress_every: Duration,
    /// Serves how far it is as metrics, at http://HOST:PORT/metrics.
    #[arg(long, value_name = "HOST:PORT")]
    metrics_listen: Option<String>,
    /// How many keys one transaction there may write.
    #[arg(long, default_value_t = 128, value_name = "COUNT")]
    max_txn_ops: usize,
    /// Who speaks there.
    #[arg(long, value_name = "NAME[:PASSWORD]")]
    dest_user: Option<String>,
    /// The password there.
    #[arg(long, value_name = "PASSWORD")]
    dest_password: Option<String>,
    /// The certificate that is shown there.
    #[arg(long, value_name = "FILE")]
    dest_cert: Option<String>,
    /// Its key.
    #[arg(long, value_name = "FILE")]
    dest_key: Option<String>,
    /// Trusts servers there whose certificates these authorities signed.
    #[arg(long, value_name = "FILE")]
    dest_cacert: Option<String>,
    /// Allows connections there without TLS.
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set, num_args = 0..=1, require_equals = true,
          default_missing_value = "true")]
    dest_insecure_transport: bool,
}

/// Two clusters, and the way of a key from the one to the other.
struct Mirror {
    flags: MakeMirror,
    source: Client,
    target: Client,
    patience: Option<Duration>,
    progress: Arc<Progress>,
    position: Option<Position>,
}

impl MakeMirror {
    pub(crate) async fn run(self, session: &Session) -> Done {
        let [place] = self.args.as_slice() else {
            return Err(Failure::arguments("make-mirror takes one destination argument"));
        };
        if !self.dest_prefix.is_empty() && self.no_dest_prefix {
            let text = "`--dest-prefix` and `--no-dest-prefix` cannot be set at the same time, choose one";
            return Err(Failure::arguments(text));
        }
        if self.position.is_some() && (self.no_dest_prefix && !self.prefix.is_empty()) {
            let text =
                "--position needs a prefix at the destination that is the mirror's alone: give --dest-prefix";
            return Err(Failure::arguments(text));
        }
        let mut globals = session.globals.clone();
        globals.user = self.dest_user.clone();
        globals.password = self.dest_password.clone();
        globals.cert = self.dest_cert.clone();
        globals.key = self.dest_key.clone();
        globals.cacert = self.dest_cacert.clone();
        globals.insecure_transport = self.dest_insecure_transport;
        let target = Client::new(config(&globals, place.split(','))?);
        let progress = Arc::new(Progress::default());
        let mut mirror = Mirror {
            source: session.client.clone(),
            target,
            patience: session.patience(),
            progress: Arc::clone(&progress),
            position: None,
            flags: self,
        };
        if mirror.flags.verify {
            return mirror.verify(session).await;
        }
        let source = mirror.source.clone();
        let (every, listen) = (mirror.flags.progress_every, mirror.flags.metrics_listen.clone());
        let has_position = mirror.flags.position.is_some();
        let work = async {
            let served = progress::serve(listen, Arc::clone(&progress));
            tokio::select! {
                done = Box::pin(mirror.run()) => done,
                done = progress.report() => done,
                done = progress.watch(&source, every) => done,
                done = served => done,
            }
        };
        let told = || progress.ended(has_position);
        let done = Box::pin(unless_stopped(work, told)).await;
        done.map_err(|mut failure| {
            // A refusal before anything was done speaks for itself, and so does a signal's sentence.
            if failure.text.is_some() && progress.has_begun() {
                failure.details.push(progress.ended(has_position));
            }
            failure
        })
    }
}

impl Mirror {
    async fn run(&mut self) -> Done {
        if let Some(key) = self.flags.position.clone() {
            self.find(&key).await?;
        }
        let mut start = match self.position.as_ref().and_then(Position::revision) {
            Some(revision) => revision + 1,
            None if self.flags.rev > 0 => self.flags.rev,
            None => self.copy().await? + 1,
        };
        while self.follow(start).await? {
            say("the history that is missing was compacted: everything is copied anew");
            start = self.copy().await? + 1;
        }
        Ok(())
    }

    /// Finds out how far an earlier run came.
    async fn find(&mut self, key: &str) -> Done {
        let request = RangeRequest { key: Bytes::from_static(b"\0"), ..Default::default() };
        let header = self.source.call(request, self.patience).await?.header.unwrap_or_default();
        let mut position = Position::new(key, header.cluster_id, &self.flags.prefix);
        position.look_up(&self.target, self.patience).await?;
        match position.revision() {
            Some(revision) if revision > header.revision => {
                return Err(Failure::error(format!(
                    "the mirror is at revision {revision}, the source at {} only: it was put back; delete {key} at the \
                     destination to copy anew",
                    header.revision
                )));
            }
            Some(revision) => say(&format!("the mirror goes on behind revision {revision}")),
            None => say("there is nothing to go on from: everything is copied"),
        }
        self.position = Some(position);
        Ok(())
    }

    /// Writes there what happens here from `start` on. True when some of it was compacted and a copy can help.
    async fn follow(&mut self, start: i64) -> Result<bool, Failure> {
        let (key, range_end) = self.range();
        let create = WatchCreateRequest { key, range_end, start_revision: start, ..Default::default() };
        let mut watch = Watch::open_behind_events(&self.source, create);
        let asking = watch.progress();
        let mut ticks = interval(ASK);
        self.progress.follows(start - 1);
        loop {
            let answer = tokio::select! {
                answer = watch.next() => answer,
                _ = ticks.tick() => {
                    asking.ask();
                    continue;
                }
            };
            let Some(answer) = answer else { return Err(Failure::error("the watch has ended")) };
            let answer = answer?;
            if answer.canceled {
                if answer.compact_revision > 0 && self.position.is_some() {
                    return Ok(true);
                }
                let compacted = "etcdserver: mvcc: required revision has been compacted";
                let reason = if answer.compact_revision > 0 { compacted } else { &answer.cancel_reason };
                return Err(Failure::new(exit::INTERRUPTED, reason));
            }
            for change in answer.events.chunk_by(|one, next| revision(one) == revision(next)) {
                let requests = change.iter().filter_map(|event| self.event(event)).collect();
                self.write(requests, change.first().map(|event| Stage::At(revision(event)))).await?;
                self.progress.came_to(change.first().map_or(0, revision));
            }
            if answer.events.is_empty() {
                self.progress.came_to(answer.header.map_or(0, |header| header.revision));
            }
        }
    }

    fn range(&self) -> (Bytes, Bytes) {
        open_range(self.flags.prefix.clone().into_bytes().into(), true, false)
    }

    /// Asks until there is an answer, if the mirror is one that goes on.
    async fn insist<C: Call + Clone>(&self, client: &Client, request: C) -> Result<C::Reply, Failure> {
        loop {
            match client.call(request.clone(), self.patience).await {
                Err(fault) if self.position.is_some() && passes(&fault) => sleep(PAUSE).await,
                answer => return Ok(answer?),
            }
        }
    }

    /// What a key is called there.
    fn renamed(&self, key: &[u8]) -> Bytes {
        let rest = key.strip_prefix(self.flags.prefix.as_bytes()).unwrap_or(key);
        match self.flags.dest_prefix.as_bytes() {
            [] if self.flags.no_dest_prefix => Bytes::copy_from_slice(rest),
            [] => Bytes::copy_from_slice(key),
            prefix => [prefix, rest].concat().into(),
        }
    }

    fn is_position(&self, key: &[u8]) -> bool {
        self.position.as_ref().is_some_and(|position| position.key() == key)
    }

    fn put(&self, pair: &KeyValue) -> Option<Request> {
        let (key, value) = (self.renamed(&pair.key), pair.value.clone());
        let put = PutRequest { key, value, ..Default::default() };
        (!self.is_position(&put.key)).then_some(Request::RequestPut(put))
    }

    fn event(&self, event: &Event) -> Option<Request> {
        let pair = event.kv.clone().unwrap_or_default();
        match event.r#type() {
            EventType::Put => self.put(&pair),
            EventType::Delete => {
                let delete = DeleteRangeRequest { key: self.renamed(&pair.key), ..Default::default() };
                (!self.is_position(&delete.key)).then_some(Request::RequestDeleteRange(delete))
            }
        }
    }
}

/// Whether it may be otherwise in a moment: nobody leads, or nobody is there.
fn passes(fault: &Fault) -> bool {
    match fault {
        Fault::Broken { .. } | Fault::Deadline { .. } | Fault::Cut { .. } => true,
        fault => matches!(fault.code(), Some(Code::Unavailable | Code::ResourceExhausted)),
    }
}

fn revision(event: &Event) -> i64 {
    event.kv.as_ref().map_or(0, |pair| pair.mod_revision)
}
