//! `import`: makes the keys below a prefix what a file says; or says what that would change.
//!
//! The file is read twice: first to its end, so that nothing is written of one that is damaged or not whole.
//!
//! INVARIANT: a key that somebody else writes between the look and the write is not touched.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;

use bytes::Bytes;
use clap::Args;
use proto::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use proto::etcdserverpb::request_op::Request;
use proto::etcdserverpb::response_op::Response;
use proto::etcdserverpb::{Compare, DeleteRangeRequest, PutRequest, RangeRequest, RequestOp, TxnRequest};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::{Entry, Line, hex, read};
use crate::failure::{Done, Failure, exit};
use crate::go;
use crate::output::{Fields, Output, Shown, print_line};
use crate::session::Session;
use crate::verbs::pages::Pages;
use crate::verbs::progress;
use crate::verbs::shown::open_range;
use crate::verbs::signal::unless_stopped;

/// Keys and bytes of one transaction; a member refuses more than 128 operations and 1.5 MiB.
const PIECE_KEYS_MAX: usize = 100;
const PIECE_BYTES_MAX: usize = 1024 * 1024;
/// A longer line is none of ours, in bytes: two of a member's largest values as base64.
const LINE_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// Keys of a file that are remembered to know which others are to be deleted.
const KEYS_MAX: usize = 10_000_000;

#[derive(Debug, Args)]
#[command(
    after_help = "Keys that are the same already are not written. Keys come without a lease.\n\nExamples:\n  kvorumctl import \
                  --dry-run app.jsonl\n  kvorumctl import app.jsonl\n  kvorumctl import --delete --prefix app/ \
                  --dest-prefix copy/ app.jsonl"
)]
pub(crate) struct Import {
    /// What `export` wrote.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Only lines whose key begins so.
    #[arg(long, default_value = "", hide_default_value = true, value_name = "PREFIX")]
    prefix: String,
    /// What keys begin with here, instead of --prefix.
    #[arg(long, value_name = "PREFIX")]
    dest_prefix: Option<String>,
    /// Deletes keys below the prefix that are not in the file.
    #[arg(long)]
    delete: bool,
    /// Says what would change, key by key, and changes nothing.
    #[arg(long)]
    dry_run: bool,
}

/// What was or would be done.
#[derive(Debug, Default)]
struct Report {
    dry_run: bool,
    created: u64,
    updated: u64,
    deleted: u64,
    same: u64,
    revision: i64,
}

/// What a file turned out to be.
struct Checked {
    prefix: Vec<u8>,
    lines: u64,
}

impl Import {
    pub(crate) async fn run(self, session: &Session) -> Done {
        let checked = self.check()?;
        let report = std::sync::Mutex::new(Report { dry_run: self.dry_run, ..Report::default() });
        let held = || report.lock().expect("nobody panics while he holds it");
        let told = || format!("import was stopped: {}; run it again to go on", held().words());
        let work = async {
            let result = self.act(session, &checked, &report).await;
            result.map_err(|mut failure| {
                failure.details.push(format!("until then: {}; run it again to go on", held().words()));
                failure
            })?;
            session.show(&*held())
        };
        unless_stopped(Box::pin(work), told).await
    }

    fn failed(&self, text: impl std::fmt::Display) -> Failure {
        Failure::new(exit::INVALID_INPUT, format!("{}: {text}; nothing was imported", self.file.display()))
    }

    /// The lines of the file, each with its number.
    fn lines(&self) -> Result<impl Iterator<Item = Result<(u64, String), Failure>>, Failure> {
        let file = File::open(&self.file).map_err(|error| self.failed(error))?;
        let (mut reader, mut number, name) = (BufReader::new(file), 0, self.file.display().to_string());
        Ok(std::iter::from_fn(move || {
            number += 1;
            let mut line = String::new();
            let refused = |why: String| Failure::new(exit::INVALID_INPUT, format!("{name}:{number}: {why}"));
            match std::io::Read::take(&mut reader, LINE_BYTES_MAX).read_line(&mut line) {
                Ok(0) => None,
                Ok(_) if !line.ends_with('\n') => Some(Err(refused("the line does not end".to_owned()))),
                Ok(_) => Some(Ok((number, line))),
                Err(error) => Some(Err(refused(error.to_string()))),
            }
        }))
    }

    /// Reads all of it, so that nothing of a file that is not whole is written.
    fn check(&self) -> Result<Checked, Failure> {
        let (mut sum, mut checked, mut is_whole) =
            (Sha256::new(), Checked { prefix: Vec::new(), lines: 0 }, false);
        for line in self.lines()? {
            let (number, text) = line?;
            let parsed = read(&text).map_err(|reason| self.failed(format!("line {number}: {reason}")))?;
            match (number, parsed) {
                _ if is_whole => return Err(self.failed(format!("line {number} stands behind the end"))),
                (1, Line::Head { prefix }) => checked.prefix = prefix,
                (1, _) => return Err(self.failed("its first line is not that of an export")),
                (_, Line::Head { .. }) => {
                    return Err(self.failed(format!("line {number} begins another export")));
                }
                (_, Line::Key(_)) => checked.lines += 1,
                (_, Line::End { keys, sha256 }) => {
                    if keys != checked.lines || sha256 != hex(&sum.clone().finalize()) {
                        return Err(
                            self.failed("its SHA-256 is another one: a line was changed or is missing")
                        );
                    }
                    is_whole = true;
                }
            }
            sum.update(&text);
        }
        if is_whole { Ok(checked) } else { Err(self.failed("it is not whole: the last line is missing")) }
    }

    /// What a key is called here; nothing for one that does not come along.
    fn renamed(&self, key: &[u8]) -> Option<Bytes> {
        let rest = key.strip_prefix(self.prefix.as_bytes())?;
        let begin = self.dest_prefix.as_ref().unwrap_or(&self.prefix);
        Some([begin.as_bytes(), rest].concat().into())
    }

    async fn act(&self, session: &Session, checked: &Checked, report: &std::sync::Mutex<Report>) -> Done {
        let bar = progress::counting("keys");
        let (mut piece, mut bytes, mut known) = (Vec::new(), 0, BTreeSet::new());
        for line in self.lines()? {
            let Ok(Line::Key(Entry { key, value })) = read(&line?.1) else { continue };
            let Some(key) = self.renamed(&key) else { continue };
            if self.delete {
                if known.len() >= KEYS_MAX {
                    return Err(Failure::error(format!(
                        "--delete remembers {KEYS_MAX} keys at most: import by prefixes"
                    )));
                }
                known.insert(key.clone());
            }
            bytes += key.len() + value.len();
            piece.push((key, Bytes::from(value)));
            if piece.len() >= PIECE_KEYS_MAX || bytes >= PIECE_BYTES_MAX {
                bar.inc(piece.len() as u64);
                self.import(session, std::mem::take(&mut piece), report).await?;
                bytes = 0;
            }
        }
        if !piece.is_empty() {
            self.import(session, piece, report).await?;
        }
        if self.delete {
            self.delete_others(session, checked, &known, report).await?;
        }
        bar.finish_and_clear();
        Ok(())
    }

    /// Looks at some keys and writes those that are something else.
    async fn import(
        &self,
        session: &Session,
        piece: Vec<(Bytes, Bytes)>,
        report: &std::sync::Mutex<Report>,
    ) -> Done {
        let look =
            |key: &Bytes| Request::RequestRange(RangeRequest { key: key.clone(), ..Default::default() });
        let looks = piece.iter().map(|(key, _)| RequestOp { request: Some(look(key)) }).collect();
        let seen = session.call(TxnRequest { success: looks, ..Default::default() }).await?;
        let (mut compare, mut success) = (Vec::new(), Vec::new());
        let (mut created, mut updated, mut same) = (0, 0, 0);
        for ((key, value), seen) in piece.into_iter().zip(seen.responses) {
            let Some(Response::ResponseRange(found)) = seen.response else { continue };
            let known = found.kvs.first();
            match known {
                Some(known) if known.value == value => {
                    same += 1;
                    continue;
                }
                Some(_) => updated += 1,
                None => created += 1,
            }
            self.tell(if known.is_some() { '~' } else { '+' }, &key)?;
            compare.push(unchanged(&key, known.map_or(0, |known| known.mod_revision)));
            let put = PutRequest { key, value, ..Default::default() };
            success.push(RequestOp { request: Some(Request::RequestPut(put)) });
        }
        let revision = self.write(session, compare, success).await?;
        let mut report = report.lock().expect("nobody panics while he holds it");
        report.created += created;
        report.updated += updated;
        report.same += same;
        report.revision = report.revision.max(revision);
        Ok(())
    }

    async fn delete_others(
        &self,
        session: &Session,
        checked: &Checked,
        known: &BTreeSet<Bytes>,
        report: &std::sync::Mutex<Report>,
    ) -> Done {
        // What was exported, as far as it was to come along.
        let begin = if checked.prefix.starts_with(self.prefix.as_bytes()) {
            checked.prefix.clone()
        } else {
            self.prefix.clone().into_bytes()
        };
        let begin = self.renamed(&begin).unwrap_or_default();
        let mut pages =
            Pages::of(&session.client, open_range(begin, true, false), 0, session.patience()).keys_only();
        while let Some(page) = pages.next().await? {
            let others: Vec<_> = page.into_iter().filter(|pair| !known.contains(&pair.key)).collect();
            for piece in others.chunks(PIECE_KEYS_MAX) {
                let (mut compare, mut success) = (Vec::new(), Vec::new());
                for pair in piece {
                    self.tell('-', &pair.key)?;
                    compare.push(unchanged(&pair.key, pair.mod_revision));
                    let delete = DeleteRangeRequest { key: pair.key.clone(), ..Default::default() };
                    success.push(RequestOp { request: Some(Request::RequestDeleteRange(delete)) });
                }
                let revision = self.write(session, compare, success).await?;
                let mut report = report.lock().expect("nobody panics while he holds it");
                report.deleted += piece.len() as u64;
                report.revision = report.revision.max(revision);
            }
        }
        Ok(())
    }

    /// The difference, where that is all that is wanted.
    fn tell(&self, sign: char, key: &[u8]) -> Done {
        if self.dry_run { print_line(&format!("{sign} {}", go::quoted(key))) } else { Ok(()) }
    }

    async fn write(
        &self,
        session: &Session,
        compare: Vec<Compare>,
        success: Vec<RequestOp>,
    ) -> Result<i64, Failure> {
        if self.dry_run || success.is_empty() {
            return Ok(0);
        }
        let reply = session.call(TxnRequest { compare, success, ..Default::default() }).await?;
        if reply.succeeded {
            return Ok(reply.header.map_or(0, |header| header.revision));
        }
        Err(Failure::error("somebody else wrote some of the keys meanwhile: these were not touched"))
    }
}

/// That nobody has changed a key since it was looked at; zero is that it is not there.
fn unchanged(key: &Bytes, seen: i64) -> Compare {
    let (target, union) = match seen {
        0 => (CompareTarget::Create, TargetUnion::CreateRevision(0)),
        seen => (CompareTarget::Mod, TargetUnion::ModRevision(seen)),
    };
    Compare {
        result: CompareResult::Equal.into(),
        target: target.into(),
        key: key.clone(),
        target_union: Some(union),
        ..Default::default()
    }
}

impl Report {
    fn words(&self) -> String {
        let Self { created, updated, deleted, same, .. } = self;
        let done = if self.dry_run { "would be" } else { "were" };
        format!("{created} keys {done} created, {updated} updated, {deleted} deleted; {same} are the same")
    }
}

impl Shown for Report {
    fn simple(&self, _output: Output) -> Vec<u8> {
        format!("{}\n", self.words()).into_bytes()
    }

    fn json(&self, _output: Output) -> Value {
        json!({
            "dryRun": self.dry_run,
            "created": self.created,
            "updated": self.updated,
            "deleted": self.deleted,
            "same": self.same,
            "revision": self.revision,
        })
    }

    fn fields(&self, _output: Output) -> Fields {
        let mut fields = Fields::default();
        fields.value("DryRun", self.dry_run);
        fields.value("Created", self.created);
        fields.value("Updated", self.updated);
        fields.value("Deleted", self.deleted);
        fields.value("Same", self.same);
        fields.value("Revision", self.revision);
        fields
    }
}
