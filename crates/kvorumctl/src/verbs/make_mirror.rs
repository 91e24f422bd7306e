//! `make-mirror`: copies keys to another cluster as they are at one revision, then what becomes of them.
//!
//! INVARIANT: what one transaction wrote here is written by one transaction there, unless it is too large for one.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use clap::Args;
use client::{Client, Fault, Watch};
use proto::etcdserverpb::request_op::Request;
use proto::etcdserverpb::{
    DeleteRangeRequest, PutRequest, RangeRequest, RequestOp, TxnRequest, WatchCreateRequest,
};
use proto::mvccpb::event::EventType;
use proto::mvccpb::{Event, KeyValue};
use tokio::time::{interval, sleep};

use super::shown::open_range;
use crate::command_line::number;
use crate::failure::{Done, Failure, exit};
use crate::output::print_line;
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
        let mut globals = session.globals.clone();
        globals.user = self.dest_user.clone();
        globals.password = self.dest_password.clone();
        globals.cert = self.dest_cert.clone();
        globals.key = self.dest_key.clone();
        globals.cacert = self.dest_cacert.clone();
        globals.insecure_transport = self.dest_insecure_transport;
        let target = Client::new(config(&globals, place.split(','))?);
        let total = Arc::new(AtomicU64::new(0));
        let mirror = Mirror {
            source: session.client.clone(),
            target,
            patience: session.patience(),
            total: Arc::clone(&total),
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
    async fn run(&self) -> Done {
        let start = if self.flags.rev > 0 { self.flags.rev } else { self.copy().await? + 1 };
        let (key, range_end) = self.range();
        let create = WatchCreateRequest { key, range_end, start_revision: start, ..Default::default() };
        let mut watch = Watch::open(&self.source, create);
        while let Some(answer) = watch.next().await {
            let answer = answer?;
            if answer.canceled {
                let compacted = "etcdserver: mvcc: required revision has been compacted";
                let reason = if answer.compact_revision > 0 { compacted } else { &answer.cancel_reason };
                return Err(Failure::new(exit::INTERRUPTED, reason));
            }
            for change in answer.events.chunk_by(|one, next| revision(one) == revision(next)) {
                self.write(change.iter().map(|event| self.event(event)).collect()).await?;
            }
        }
        Err(Failure::error("the watch has ended"))
    }

    fn range(&self) -> (Bytes, Bytes) {
        open_range(self.flags.prefix.clone().into_bytes().into(), true, false)
    }

    /// Copies what there is; answers at which revision.
    async fn copy(&self) -> Result<i64, Failure> {
        let (mut key, range_end) = self.range();
        let mut at = 0;
        loop {
            let range_end = range_end.clone();
            let request = RangeRequest { key, range_end, limit: PAGE, revision: at, ..Default::default() };
            let page = self.source.call(request, self.patience).await?;
            if at == 0 {
                at = page.header.map_or(0, |header| header.revision);
            }
            let puts: Vec<Request> = page.kvs.iter().map(|pair| self.put(pair)).collect();
            self.write(puts).await?;
            let Some(last) = page.kvs.last().filter(|_| page.more) else { return Ok(at) };
            // The least key behind the last one.
            key = [last.key.as_ref(), b"\0"].concat().into();
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

    fn put(&self, pair: &KeyValue) -> Request {
        let (key, value) = (self.renamed(&pair.key), pair.value.clone());
        Request::RequestPut(PutRequest { key, value, ..Default::default() })
    }

    fn event(&self, event: &Event) -> Request {
        let pair = event.kv.clone().unwrap_or_default();
        match event.r#type() {
            EventType::Put => self.put(&pair),
            EventType::Delete => {
                let key = self.renamed(&pair.key);
                Request::RequestDeleteRange(DeleteRangeRequest { key, ..Default::default() })
            }
        }
    }

    /// Writes until it is surely written.
    async fn write(&self, requests: Vec<Request>) -> Done {
        let mut operations: Vec<RequestOp> =
            requests.into_iter().map(|request| RequestOp { request: Some(request) }).collect();
        while !operations.is_empty() {
            let rest = operations.split_off(operations.len().min(self.flags.max_txn_ops.max(1)));
            let count = operations.len() as u64;
            let request = TxnRequest { success: operations, ..Default::default() };
            loop {
                match self.target.call(request.clone(), self.patience).await {
                    Ok(_) => break,
                    Err(Fault::Broken { .. }) => sleep(PAUSE).await,
                    Err(fault) => return Err(fault.into()),
                }
            }
            self.total.fetch_add(count, Ordering::Relaxed);
            operations = rest;
        }
        Ok(())
    }
}

fn revision(event: &Event) -> i64 {
    event.kv.as_ref().map_or(0, |pair| pair.mod_revision)
}
