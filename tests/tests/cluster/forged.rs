//! Logs that no member wrote, sealed by somebody who can read the folder: what CVE-2020-15112, CVE-2020-15106 and the
//! audit of 2020 found in etcd ended the process with a panic, or was believed. Here each is refused at the start, in a
//! sentence that says what is wrong and where, and nothing in the folder is changed by that.

use std::fs;
use std::path::Path;

use ::tests::Cluster;
use ::tests::cluster::{Settings, is_etcd, program};
use anyhow::{Context, ensure};

const HEAD_BYTES: usize = 24;
const START: u8 = 1;
const ENTRY: u8 = 2;
const HARD: u8 = 3;
const CUT: u8 = 4;
const RESET: u8 = 5;

/// A record as docs/FORMATS.md draws it, without what seals it.
#[derive(Clone, Debug)]
struct Record {
    synced: u32,
    kind: u8,
    payload: Vec<u8>,
    /// A length that is told instead of the payload's.
    told: Option<u32>,
}

/// The first segment of a log, taken apart.
struct Segment {
    salted: u32,
    records: Vec<Record>,
}

impl Segment {
    fn read(log: &Path) -> anyhow::Result<Self> {
        let meta = fs::read(log.join("meta"))?;
        let field = |at: usize| meta.get(at..at + 8).context("the identity is whole");
        // Salt, cluster, member, number of the segment.
        let salted = crc32c::crc32c(field(32)?);
        let salted = crc32c::crc32c_append(crc32c::crc32c_append(salted, field(16)?), field(24)?);
        let salted = crc32c::crc32c_append(salted, &1_u32.to_le_bytes());
        let bytes = fs::read(log.join("00000001.seg"))?;
        let mut rest = &bytes[..];
        let mut records = Vec::new();
        while let Some((head, behind)) = rest.split_first_chunk::<HEAD_BYTES>() {
            let (length, kind) = (u32_at(head, 16) as usize, head[20]);
            if kind == 0 {
                break;
            }
            let payload = behind.get(..length).context("a record is whole")?.to_vec();
            records.push(Record { synced: u32_at(head, 12), kind, payload, told: None });
            rest = rest.get((HEAD_BYTES + length).next_multiple_of(8)..).context("a record is whole")?;
        }
        let segment = Self { salted, records };
        ensure!(bytes.starts_with(&segment.sealed()), "what was read is written again as it was");
        Ok(segment)
    }

    /// With heads, chain and checksums.
    fn sealed(&self) -> Vec<u8> {
        let (mut out, mut previous) = (Vec::new(), self.salted);
        for record in &self.records {
            let begin = out.len();
            out.extend([0; 4]);
            let length = record.told.unwrap_or(record.payload.len() as u32);
            for number in [previous, 1, record.synced, length] {
                out.extend(number.to_le_bytes());
            }
            out.extend([record.kind, 0, 0, 0]);
            out.extend(&record.payload);
            out.resize(out.len().next_multiple_of(8), 0);
            previous = crc32c::crc32c_append(self.salted, &out[begin + 4..]);
            out[begin..begin + 4].copy_from_slice(&previous.to_le_bytes());
        }
        out
    }

    /// The number of the last entry among the records.
    fn last_entry(&self) -> usize {
        self.records.iter().rposition(|record| record.kind == ENTRY).expect("something was written")
    }

    /// The index and the term of an entry.
    fn position(&self, at: usize) -> (u64, u64) {
        let payload = &self.records[at].payload;
        (u64_at(payload, 0), u64_at(payload, 8))
    }

    fn push(&mut self, kind: u8, payload: Vec<u8>) {
        let synced = self.records.last().map_or(0, |record| record.synced);
        self.records.push(Record { synced, kind, payload, told: None });
    }

    fn push_entry(&mut self, ahead: u64, term: u64, kind: u8, data: &[u8]) {
        let (last, _) = self.position(self.last_entry());
        let entry = [
            &last.wrapping_add(ahead).to_le_bytes()[..],
            &term.to_le_bytes(),
            &[0, 0, 0, 0, kind, 0, 0, 0],
            data,
        ];
        self.push(ENTRY, entry.concat());
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(*bytes[at..].first_chunk().expect("it is there"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(*bytes[at..].first_chunk().expect("it is there"))
}

fn mark(index: u64, term: u64) -> Vec<u8> {
    [index.to_le_bytes(), term.to_le_bytes()].concat()
}

/// What is forged, how, and what the log has to say of it.
type Forgery = (&'static str, fn(&mut Segment), &'static str);

const FORGERIES: [Forgery; 12] = [
    (
        "a gap of one",
        |log| log.push_entry(2, log.position(log.last_entry()).1, 0, b""),
        "an entry out of order",
    ),
    ("a gap to the end of all", |log| log.push_entry(u64::MAX / 2, 9, 0, b""), "an entry out of order"),
    ("an index twice", |log| log.push_entry(0, 9, 0, b""), "an entry out of order"),
    (
        "a gap before the last",
        |log| {
            let at = log.last_entry();
            let ahead = log.position(at).0 + 1;
            log.records[at].payload[..8].copy_from_slice(&ahead.to_le_bytes());
        },
        "an entry out of order",
    ),
    ("a term that goes back", |log| log.push_entry(1, 0, 0, b""), "an entry out of order"),
    (
        "CVE-2020-15106: a length of four GiB",
        |log| {
            let at = log.records.len() / 2;
            log.records[at].told = Some(u32::MAX);
        },
        "a bad record before data that was synced later",
    ),
    (
        "a context that is longer than its entry",
        |log| {
            let at = log.last_entry();
            log.records[at].payload[16..20].copy_from_slice(&u32::MAX.to_le_bytes());
        },
        "a record of an unknown kind or shape",
    ),
    ("a kind that nobody knows", |log| log.push(9, vec![0; 40]), "a record of an unknown kind or shape"),
    ("a hard state that is cut", |log| log.push(HARD, vec![1; 23]), "a record of an unknown kind or shape"),
    ("a cut beyond the end", |log| log.push(CUT, mark(u64::MAX, 1)), "a cut beyond the end"),
    (
        "a beginning at the end of all",
        |log| log.push(RESET, mark(u64::MAX, 1)),
        "an index that no log reaches",
    ),
    (
        "a start in the middle",
        |log| log.push(START, log.records[0].payload.clone()),
        "a start record inside a segment",
    ),
];

#[test]
fn cve_2020_15112_forged_logs_are_refused_with_their_reason() -> anyhow::Result<()> {
    let program = program()?;
    if is_etcd(&program) {
        return Ok(());
    }
    let mut cluster = Cluster::start(&Settings::new(&program, 1))?;
    let client = cluster.member(0).client()?;
    for number in 0..20 {
        client.put(&format!("k{number}"), "value")?;
    }
    cluster.member_mut(0).kill()?;
    let log = cluster.member(0).data_dir().join("member/wal");
    let file = log.join("00000001.seg");
    let before = fs::read(&file)?;
    for (what, forge, expect) in FORGERIES {
        let mut segment = Segment::read(&log)?;
        forge(&mut segment);
        let mut forged = segment.sealed();
        forged.resize(before.len().max(forged.len()), 0);
        fs::write(&file, &forged)?;
        refused(&mut cluster, what, &[expect, "00000001.seg at byte"])?;
        ensure!(fs::read(&file)? == forged, "{what}: a start that was refused has changed the log");
        fs::write(&file, &before)?;
    }
    // Records that are in order, of an entry that says nothing: it is found when it is applied.
    let mut segment = Segment::read(&log)?;
    segment.push_entry(1, segment.position(segment.last_entry()).1, 0, b"\x03\xff\xff\xff");
    let mut forged = segment.sealed();
    forged.resize(before.len(), 0);
    fs::write(&file, &forged)?;
    refused(&mut cluster, "an entry that is no command", &["a log entry holds bytes that are no command"])?;
    // And the log as it was is as good as before.
    fs::write(&file, &before)?;
    cluster.restart(0)?;
    ensure!(cluster.member(0).client()?.get("k19")?.as_deref() == Some("value"), "what was written is there");
    cluster.done()
}

/// Starts the member, which has to end by itself and say why.
fn refused(cluster: &mut Cluster, what: &str, expect: &[&str]) -> anyhow::Result<()> {
    let logged = cluster.member(0).log().len();
    cluster.spawn(0)?;
    let status = cluster.member_mut(0).wait_ended().with_context(|| what.to_owned())?;
    ensure!(!status.success(), "{what}: it ended with {status}");
    let log = cluster.member(0).log();
    let log = log.get(logged..).unwrap_or(&log);
    for words in expect {
        ensure!(log.contains(words), "{what}: {words:?} is not in the log:\n{log}");
    }
    ensure!(!log.contains("panicked"), "{what}: a panic:\n{log}");
    Ok(())
}
