//! `make-mirror`: copies keys to another cluster as they are at one revision, then what becomes of them.
//!
//! With `--position KEY` it keeps how far it has come in a key at the destination and goes on from there when it is
//! started again; what it cannot know of any more it copies anew, and removes there what is not here.
//!
//! INVARIANT: what one transaction wrote here is written by one transaction there, unless it is too large for one.
//! INVARIANT: with a position, no key at the destination ever goes back to what it was before.

mod position;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use clap::Args;
use client::{Call, Client, Code, Fault, Watch};
use proto::etcdserverpb::request_op::Request;
use proto::etcdserverpb::{
    DeleteRangeRequest, PutRequest, RangeRequest, RequestOp, TxnRequest, WatchCreateRequest,
};
use proto::mvccpb::event::EventType;
use proto::mvccpb::{Event, KeyValue};
use tokio::time::{interval, sleep};

use self::position::{Position, Stage};
use super::shown::open_range;
use crate::command_line::number;
use crate::failure::{Done, Failure, exit};
use crate::output::{print_line, say};
use crate::session::{Session, config};

/// Keys that are read at once.
const PAGE: i64 = 1000;

/// How often the count is printed.
const REPORT: Duration = Duration::from_secs(30);

/// The wait before a write is repeated whose answer did not come; writing twice what is written is no harm here.
const PAUSE: Duration = Duration::from_millis(500);

#[derive(Clone, Debug, Args)]
#[command(after_help = "Example:\n  kvorumctl make-mirror --prefix=app/ --dest-prefix=copy/ other:2379")]
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
    total: Arc<AtomicU64>,
    position: Option<Position>,
}

/// Keys of the copy that were read at once.
struct Page {
    pairs: Vec<KeyValue>,
    /// The revision at which they were read.
    revision: i64,
    /// What is before the next page, at the source; none behind the last one.
    next: Option<Bytes>,
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
        let total = Arc::new(AtomicU64::new(0));
        let mut mirror = Mirror {
            source: session.client.clone(),
            target,
            patience: session.patience(),
            total: Arc::clone(&total),
            position: None,
            flags: self,
        };
        tokio::select! {
            done = mirror.run() => done,
            done = report(total) => done,
        }
    }
}

/// Prints how many keys were written or deleted, now and then.
async fn report(total: Arc<AtomicU64>) -> Done {
    let mut ticks = interval(REPORT);
    ticks.tick().await;
    loop {
        ticks.tick().await;
        print_line(&total.load(Ordering::Relaxed).to_string())?;
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
        let mut watch = Watch::open(&self.source, create);
        while let Some(answer) = watch.next().await {
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
            }
        }
        Err(Failure::error("the watch has ended"))
    }

    fn range(&self) -> (Bytes, Bytes) {
        open_range(self.flags.prefix.clone().into_bytes().into(), true, false)
    }

    /// Copies what there is; answers at which revision. With a position it removes what is there and not here.
    async fn copy(&mut self) -> Result<i64, Failure> {
        let (mut key, mut at) = (self.range().0, 0);
        loop {
            let page = self.page(key.clone(), at).await?;
            if at == 0 && self.position.is_some() {
                self.write(Vec::new(), Some(Stage::Copying(page.revision))).await?;
            }
            at = page.revision;
            let mut requests = Vec::new();
            if self.position.is_some() {
                requests = self.surplus(&key, &page).await?;
            }
            requests.extend(page.pairs.iter().filter_map(|pair| self.put(pair)));
            self.write(requests, None).await?;
            let Some(next) = page.next else { break };
            key = next;
        }
        self.write(Vec::new(), Some(Stage::At(at))).await?;
        Ok(at)
    }

    async fn page(&self, key: Bytes, at: i64) -> Result<Page, Failure> {
        let range_end = self.range().1;
        let request = RangeRequest { key, range_end, limit: PAGE, revision: at, ..Default::default() };
        let page = self.insist(&self.source, request).await?;
        let revision = if at == 0 { page.header.map_or(0, |header| header.revision) } else { at };
        // The least key behind the last one.
        let next =
            page.kvs.last().filter(|_| page.more).map(|last| [last.key.as_ref(), b"\0"].concat().into());
        Ok(Page { pairs: page.kvs, revision, next })
    }

    /// What is to be removed there, from where `begin` is to where the next page is.
    async fn surplus(&self, begin: &Bytes, page: &Page) -> Result<Vec<Request>, Failure> {
        let known: BTreeSet<Bytes> = page.pairs.iter().map(|pair| self.renamed(&pair.key)).collect();
        let whole =
            if self.flags.dest_prefix.is_empty() { &self.flags.prefix } else { &self.flags.dest_prefix };
        let end = open_range(whole.clone().into_bytes().into(), true, false).1;
        let range_end = page.next.as_ref().map_or(end, |next| self.renamed(next));
        let mut key = self.renamed(begin);
        let mut surplus = Vec::new();
        loop {
            let range_end = range_end.clone();
            let request = RangeRequest { key, range_end, limit: PAGE, keys_only: true, ..Default::default() };
            let there = self.insist(&self.target, request).await?;
            for pair in &there.kvs {
                if !known.contains(&pair.key) && !self.is_position(&pair.key) {
                    let key = pair.key.clone();
                    surplus
                        .push(Request::RequestDeleteRange(DeleteRangeRequest { key, ..Default::default() }));
                }
            }
            let Some(last) = there.kvs.last().filter(|_| there.more) else { return Ok(surplus) };
            key = [last.key.as_ref(), b"\0"].concat().into();
        }
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

    /// Writes until it is surely written; with what is written last the position goes on to `stage`.
    async fn write(&mut self, mut requests: Vec<Request>, stage: Option<Stage>) -> Done {
        let operations_max = match &self.position {
            // The position takes a place, too.
            Some(_) => self.flags.max_txn_ops.max(2) - 1,
            None => self.flags.max_txn_ops.max(1),
        };
        loop {
            let rest = requests.split_off(requests.len().min(operations_max));
            let is_last = rest.is_empty();
            self.write_once(requests, stage.filter(|_| is_last)).await?;
            if is_last {
                return Ok(());
            }
            requests = rest;
        }
    }

    async fn write_once(&mut self, requests: Vec<Request>, stage: Option<Stage>) -> Done {
        let count = requests.len() as u64;
        let mut operations = requests;
        let mut compare = Vec::new();
        if let Some(position) = &self.position {
            compare.push(position.compare());
            operations.extend(stage.map(|stage| position.put(stage)));
        }
        if operations.is_empty() {
            return Ok(());
        }
        let success = operations.into_iter().map(|request| RequestOp { request: Some(request) }).collect();
        let request = TxnRequest { compare, success, ..Default::default() };
        loop {
            let fault = match self.target.call(request.clone(), self.patience).await {
                Ok(reply) if reply.succeeded => break,
                Ok(_) => None,
                Err(fault) => Some(fault),
            };
            match (fault, &mut self.position) {
                (Some(Fault::Broken { .. }), None) => sleep(PAUSE).await,
                (Some(fault), Some(_)) if passes(&fault) => sleep(PAUSE).await,
                (Some(fault), _) => return Err(fault.into()),
                // An earlier try, whose answer did not come, may have been this one.
                (None, Some(position)) => {
                    position.look_up(&self.target, self.patience).await?;
                    if stage.is_some_and(|stage| position.stands_at(stage)) {
                        break;
                    }
                    return Err(position.lost());
                }
                (None, None) => return Err(Failure::error("a transaction without conditions was refused")),
            }
        }
        if let (Some(position), Some(stage)) = (&mut self.position, stage) {
            position.went_on(stage);
        }
        self.total.fetch_add(count, Ordering::Relaxed);
        Ok(())
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
