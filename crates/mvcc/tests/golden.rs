//! The meaning of requests, as stories: `golden/*.txt`. A story is a list of steps; below the line of a step stands
//! what it answers. Steps:
//!
//! ```text
//! put KEY VALUE [lease=N] [prev] [ignore_value] [ignore_lease]
//! get KEY [END|*] [limit=N] [at=N] [asc|desc] [by=version|create|mod|value] [keys] [count] [mod>=N] [create<=N] ...
//! del KEY [END|*] [prev]
//! compact N | sweep N | hash
//! txn if TARGET(KEY [END]) =|!=|<|> X and ... then STEP; STEP else STEP; STEP
//! ```

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use mvcc::{Mvcc, ReadError, WriteError, Writer};
use store::{Options, Store};
use types::{
    Compare, CompareResult, CompareTarget, DeleteRange, Key, KeyRange, KeyValue, LeaseId, OpReply, Put,
    RangeEnd, RangeQuery, RangeReply, Revision, SortOrder, SortTarget, Txn, TxnOp, TxnReply,
};

fn bytes(word: &str) -> Bytes {
    Bytes::copy_from_slice(word.as_bytes())
}

fn range(words: &mut std::iter::Peekable<std::str::SplitWhitespace<'_>>) -> KeyRange {
    let start = bytes(words.next().expect("a key"));
    let is_option =
        |word: &&str| word.contains('=') || matches!(*word, "asc" | "desc" | "keys" | "count" | "prev");
    let end = match words.next_if(|word| !is_option(word)) {
        None => RangeEnd::Single,
        Some("*") => RangeEnd::Unbounded,
        Some(end) => RangeEnd::Before(bytes(end)),
    };
    KeyRange { start, end }
}

fn number<T: std::str::FromStr>(word: &str) -> T {
    word.parse().ok().unwrap_or_else(|| panic!("{word} is no number"))
}

fn query(mut words: std::iter::Peekable<std::str::SplitWhitespace<'_>>) -> RangeQuery {
    let mut query = RangeQuery::of(range(&mut words));
    for word in words {
        let bound = |number: &str| Some(Revision(self::number(number)));
        match word {
            "asc" => query.order = SortOrder::Ascend,
            "desc" => query.order = SortOrder::Descend,
            "keys" => query.keys_only = true,
            "count" => query.count_only = true,
            "by=version" => query.target = SortTarget::Version,
            "by=create" => query.target = SortTarget::Create,
            "by=mod" => query.target = SortTarget::Mod,
            "by=value" => query.target = SortTarget::Value,
            word => match word.split_once('=').expect("an option") {
                ("limit", value) => query.limit = number(value),
                ("at", value) => query.at = bound(value),
                ("mod>", value) => query.mod_bounds.min = bound(value),
                ("mod<", value) => query.mod_bounds.max = bound(value),
                ("create>", value) => query.create_bounds.min = bound(value),
                ("create<", value) => query.create_bounds.max = bound(value),
                _ => panic!("no option {word}"),
            },
        }
    }
    query
}

fn op(text: &str) -> TxnOp {
    let mut words = text.split_whitespace().peekable();
    match words.next().expect("a verb") {
        "get" => TxnOp::Range(query(words)),
        "del" => {
            let range = range(&mut words);
            TxnOp::Delete(DeleteRange { range, prev_kv: words.any(|word| word == "prev") })
        }
        "put" => {
            let key = Key::new(bytes(words.next().expect("a key"))).expect("not empty");
            let value = words.next_if(|word| !word.contains("ignore") && *word != "prev").map(bytes);
            let mut put = Put {
                key,
                value: value.unwrap_or_default(),
                lease: LeaseId::NONE,
                prev_kv: false,
                ignore_value: false,
                ignore_lease: false,
            };
            for word in words {
                match word {
                    "prev" => put.prev_kv = true,
                    "ignore_value" => put.ignore_value = true,
                    "ignore_lease" => put.ignore_lease = true,
                    word => put.lease = LeaseId(number(word.strip_prefix("lease=").expect("a lease"))),
                }
            }
            TxnOp::Put(put)
        }
        "txn" => TxnOp::Txn(txn(text.strip_prefix("txn").expect("it began so"))),
        verb => panic!("no verb {verb}"),
    }
}

/// `( ... )` around a nested transaction.
fn ops(text: &str) -> Vec<TxnOp> {
    let (mut depth, mut parts) = (0, vec![String::new()]);
    for letter in text.chars() {
        depth += i32::from(letter == '(') - i32::from(letter == ')');
        match letter {
            ';' if depth == 0 => parts.push(String::new()),
            letter => parts.last_mut().expect("there is one").push(letter),
        }
    }
    let trim = |part: &str| part.trim().trim_start_matches('(').trim_end_matches(')').trim().to_owned();
    parts.iter().map(|part| trim(part)).filter(|part| !part.is_empty()).map(|part| op(&part)).collect()
}

fn compare(text: &str) -> Compare {
    let (target, rest) = text.trim().split_once(':').expect("target:key");
    let mut words = rest.split_whitespace().peekable();
    let start = bytes(words.next().expect("a key"));
    let result = |word: &str| match word {
        "=" => Some(CompareResult::Equal),
        "!=" => Some(CompareResult::NotEqual),
        "<" => Some(CompareResult::Less),
        ">" => Some(CompareResult::Greater),
        _ => None,
    };
    let end = words
        .next_if(|word| result(word).is_none())
        .map_or(RangeEnd::Single, |end| RangeEnd::Before(bytes(end)));
    let result = words.next().and_then(result).expect("a relation");
    let given = words.next().unwrap_or_default();
    let target = match target {
        "version" => CompareTarget::Version(number(given)),
        "create" => CompareTarget::Create(number(given)),
        "mod" => CompareTarget::Mod(number(given)),
        "lease" => CompareTarget::Lease(number(given)),
        "value" => CompareTarget::Value(bytes(given)),
        target => panic!("no target {target}"),
    };
    Compare { range: KeyRange { start, end }, result, target }
}

/// At the `else` that is not inside parentheses.
fn split_else(text: &str) -> (&str, &str) {
    let outside = |at: &usize| text[..*at].matches('(').count() == text[..*at].matches(')').count();
    let at = text.match_indices(" else").map(|(at, _)| at).find(outside);
    at.map_or((text, ""), |at| (&text[..at], &text[at + " else".len()..]))
}

fn txn(text: &str) -> Txn {
    let (head, failure) = split_else(text);
    let (compares, success) = head.split_once("then").expect("then");
    let compares = compares.trim().strip_prefix("if").unwrap_or_default();
    let compare = compares.split(" and ").filter(|text| !text.trim().is_empty()).map(compare).collect();
    Txn { compare, success: ops(success), failure: ops(failure) }
}

fn show_kv(kv: &KeyValue) -> String {
    let text = |bytes: &Bytes| String::from_utf8_lossy(bytes).into_owned();
    let mut line = format!("{}={} create={} ", text(&kv.key), text(&kv.value), kv.create_revision);
    let _ = write!(line, "mod={} ver={}", kv.mod_revision, kv.version);
    if kv.lease.is_some() {
        let _ = write!(line, " lease={}", kv.lease.0);
    }
    line
}

fn show_range(reply: &RangeReply) -> String {
    let mut text = format!("get count={}{}\n", reply.count, if reply.more { " more" } else { "" });
    for kv in &reply.kvs {
        let _ = writeln!(text, "  {}", show_kv(kv));
    }
    text
}

fn show(reply: &OpReply) -> String {
    match reply {
        OpReply::Range(reply) => show_range(reply),
        OpReply::Put(reply) => {
            let before = reply.prev_kv.as_ref().map(|kv| format!(" before: {}", show_kv(kv)));
            format!("put{}\n", before.unwrap_or_default())
        }
        OpReply::Delete(reply) => {
            let mut text = format!("del {}\n", reply.deleted);
            for kv in &reply.prev_kvs {
                let _ = writeln!(text, "  before: {}", show_kv(kv));
            }
            text
        }
        OpReply::Txn(reply) => show_txn(reply),
    }
}

fn show_txn(reply: &TxnReply) -> String {
    let mut text = String::from(if reply.succeeded { "succeeded\n" } else { "failed\n" });
    for response in &reply.responses {
        let _ = writeln!(
            text,
            "  header={} {}",
            response.revision,
            show(&response.reply).trim_end().replace('\n', "\n  ")
        );
    }
    text
}

fn write(writer: &mut Writer<'_>, op: &TxnOp) -> Result<OpReply, WriteError> {
    Ok(match op {
        TxnOp::Range(query) => OpReply::Range(writer.range(query)?),
        TxnOp::Put(put) => OpReply::Put(writer.put(put)?),
        TxnOp::Delete(delete) => OpReply::Delete(writer.delete_range(delete)?),
        TxnOp::Txn(txn) => OpReply::Txn(writer.txn(txn)?),
    })
}

fn step(mvcc: &Mvcc, store: &Store, text: &str) -> String {
    let read = |error: ReadError| format!("refused: {error}\n");
    let (verb, rest) = text.split_once(' ').unwrap_or((text, ""));
    match verb {
        "sweep" => {
            let swept = mvcc.sweep(number(rest)).expect("sweep");
            return format!("removed={}{}\n", swept.removed, if swept.done { " done" } else { "" });
        }
        "get" => {
            let query = query(rest.split_whitespace().peekable());
            let show =
                |(revision, reply): (Revision, RangeReply)| format!("rev={revision} {}", show_range(&reply));
            return mvcc.range(&query).map_or_else(read, show);
        }
        _ => {}
    }
    let mut writer = mvcc.begin();
    let reply = match verb {
        "compact" => writer.compact(number(rest)).map(|()| String::from("compacted\n")),
        _ => write(&mut writer, &op(text)).map(|reply| show(&reply)),
    };
    let mut batch = store.batch();
    writer.stage(&mut batch);
    store.write(batch).expect("write");
    writer.publish();
    reply.map_or_else(
        |error| format!("refused: {error}\n"),
        |reply| format!("rev={} {reply}", mvcc.revision()),
    )
}

/// Runs a story and writes down what is answered.
fn tell(story: &str) -> String {
    let store = Arc::new(Store::open(Path::new("/golden"), &Options::in_memory()).expect("open"));
    let mvcc = Mvcc::open(Arc::clone(&store)).expect("open");
    let mut told = String::new();
    let mut in_answer = false;
    for line in story.lines() {
        match line {
            "----" => in_answer = true,
            "" => {
                in_answer = false;
                told.push('\n');
            }
            _ if in_answer => {}
            comment if comment.starts_with('#') => drop(writeln!(told, "{comment}")),
            text => drop(write!(told, "{text}\n----\n{}", step(&mvcc, &store, text))),
        }
    }
    told
}

fn check(story: &str) {
    let told = tell(story);
    assert!(told.trim_end() == story.trim_end(), "the story went otherwise:\n{told}");
}

#[test]
fn ranges() {
    check(include_str!("golden/ranges.txt"));
}

#[test]
fn transactions() {
    check(include_str!("golden/transactions.txt"));
}

#[test]
fn compaction() {
    check(include_str!("golden/compaction.txt"));
}
