//! `make-mirror --verify`: whether both ends have the same keys with the same values.
//!
//! With a position the destination is read at one revision, and the source at the one that the position says there; what
//! was mirrored after that is in neither. Without one both are read as they are now.

use bytes::Bytes;
use client::Client;
use proto::etcdserverpb::RangeRequest;
use proto::mvccpb::KeyValue;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::time::sleep;

use super::copy::behind;
use super::position::Position;
use super::{Mirror, PAUSE};
use crate::failure::{Done, Failure};
use crate::go;
use crate::output::{Fields, Output, Shown};
use crate::session::Session;

/// Keys that are read at once.
const PAGE_KEYS: i64 = 256;
/// Of keys that differ so many are named.
const NAMED_MAX: usize = 20;
/// A transaction that was too large for one at the destination may be half there; it is looked at again so often.
const LOOKS_MAX: usize = 3;

/// One end, read in order.
struct End<'a> {
    mirror: &'a Mirror,
    client: &'a Client,
    /// What its keys begin with.
    prefix: &'a [u8],
    /// What is not mirrored.
    skipped: Option<&'a Bytes>,
    next: Option<Bytes>,
    until: Bytes,
    page: std::vec::IntoIter<KeyValue>,
    sum: Sha256,
    found: Found,
}

/// What was found at one end.
#[derive(Clone, Debug, Default)]
struct Found {
    revision: i64,
    keys: u64,
    bytes: u64,
    sha256: String,
}

/// What a comparison came to.
struct Compared {
    source: Found,
    target: Found,
    different: u64,
    /// The first of them, with what is wrong.
    named: Vec<String>,
}

impl Mirror {
    /// Compares both ends and shows it; a failure when they differ.
    pub(super) async fn verify(&mut self, session: &Session) -> Done {
        if let Some(key) = self.flags.position.clone() {
            self.find_quietly(&key).await?;
        }
        let mut looks = 1;
        let compared = loop {
            let compared = self.compare().await?;
            if compared.different == 0 || looks == LOOKS_MAX || self.position.is_none() {
                break compared;
            }
            looks += 1;
            sleep(PAUSE).await;
        };
        session.show(&compared)?;
        if compared.different == 0 {
            return Ok(());
        }
        let mut failure = Failure::error(format!("{} keys differ", compared.different));
        if self.position.is_none() {
            failure.details.push("hint: with --position both ends are read at the same revision".to_owned());
        }
        Err(failure)
    }

    async fn find_quietly(&mut self, key: &str) -> Done {
        let request = RangeRequest { key: Bytes::from_static(b"\0"), limit: 1, ..Default::default() };
        let header = self.source.call(request, self.patience).await?.header.unwrap_or_default();
        self.position = Some(Position::new(key, header.cluster_id, &self.flags.prefix));
        Ok(())
    }

    async fn compare(&self) -> Result<Compared, Failure> {
        let (mut source_at, mut target_at) = (0, 0);
        if let Some(position) = &self.position {
            let (mut position, name) = (position.clone(), position.key().escape_ascii().to_string());
            target_at = position.look_up_at(&self.target, self.patience).await?;
            source_at = position.revision().ok_or_else(|| {
                Failure::error(format!(
                    "{name} does not say that a copy is whole: there is nothing to compare yet"
                ))
            })?;
        }
        let compacted = |failure: &Failure| {
            failure.text.as_ref().is_some_and(|text| text.contains("required revision has been compacted"))
        };
        match self.compare_at(source_at, target_at).await {
            // What it stands at was forgotten; nothing below the prefix may have happened since.
            Err(failure) if compacted(&failure) && source_at > 0 => self.compare_at(0, target_at).await,
            compared => compared,
        }
    }

    async fn compare_at(&self, source_at: i64, target_at: i64) -> Result<Compared, Failure> {
        let skipped = self.position.as_ref().map(Position::key);
        let target_prefix = match self.flags.dest_prefix.as_bytes() {
            [] if self.flags.no_dest_prefix => b"",
            [] => self.flags.prefix.as_bytes(),
            prefix => prefix,
        };
        let mut source =
            End::new(self, &self.source, self.flags.prefix.as_bytes(), None, self.range(), source_at);
        let mut target = End::new(self, &self.target, target_prefix, skipped, self.target_range(), target_at);
        let (mut here, mut there) = (source.next().await?, target.next().await?);
        let (mut different, mut named) = (0, Vec::new());
        let mut differs = |key: &[u8], how: &str| {
            different += 1;
            if named.len() < NAMED_MAX {
                named.push(format!("{how}: {}", go::quoted(key)));
            }
        };
        loop {
            let order = match (&here, &there) {
                (None, None) => break,
                (Some(_), None) => std::cmp::Ordering::Less,
                (None, Some(_)) => std::cmp::Ordering::Greater,
                (Some((here, _)), Some((there, _))) => here.cmp(there),
            };
            match (order, &here, &there) {
                (std::cmp::Ordering::Less, Some((key, _)), _) => differs(key, "missing at the destination"),
                (std::cmp::Ordering::Greater, _, Some((key, _))) => differs(key, "only at the destination"),
                (_, Some((key, value)), Some((_, other))) if value != other => differs(key, "another value"),
                _ => {}
            }
            if order.is_le() {
                here = source.next().await?;
            }
            if order.is_ge() {
                there = target.next().await?;
            }
        }
        Ok(Compared { source: source.done(), target: target.done(), different, named })
    }
}

impl<'a> End<'a> {
    fn new(
        mirror: &'a Mirror,
        client: &'a Client,
        prefix: &'a [u8],
        skipped: Option<&'a Bytes>,
        range: (Bytes, Bytes),
        at: i64,
    ) -> Self {
        let found = Found { revision: at, ..Found::default() };
        let (next, page) = (Some(range.0), Vec::new().into_iter());
        Self { mirror, client, prefix, skipped, next, until: range.1, page, sum: Sha256::new(), found }
    }

    /// The next key, without the prefix, and its value.
    async fn next(&mut self) -> Result<Option<(Bytes, Bytes)>, Failure> {
        loop {
            for pair in self.page.by_ref() {
                if self.skipped == Some(&pair.key) {
                    continue;
                }
                let rest = pair.key.strip_prefix(self.prefix).unwrap_or(&pair.key);
                let rest = pair.key.slice_ref(rest);
                for part in [&rest, &pair.value] {
                    self.sum.update((part.len() as u64).to_be_bytes());
                    self.sum.update(part);
                    self.found.bytes += part.len() as u64;
                }
                self.found.keys += 1;
                return Ok(Some((rest, pair.value)));
            }
            let Some(key) = self.next.take() else { return Ok(None) };
            let request = RangeRequest {
                key,
                range_end: self.until.clone(),
                limit: PAGE_KEYS,
                revision: self.found.revision,
                ..Default::default()
            };
            let reply = self.mirror.insist(self.client, request).await?;
            if self.found.revision == 0 {
                self.found.revision = reply.header.map_or(0, |header| header.revision);
            }
            self.next = reply.kvs.last().filter(|_| reply.more).map(|last| behind(&last.key));
            self.page = reply.kvs.into_iter();
        }
    }

    fn done(self) -> Found {
        let sha256 =
            self.sum.finalize().iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat();
        Found { sha256, ..self.found }
    }
}

impl Found {
    fn line(&self, name: &str) -> String {
        let (size, Self { revision, keys, sha256, .. }) = (go::size(self.bytes), self);
        format!("{name:<11} {keys} keys, {size}, at revision {revision}, sha256 {sha256}\n")
    }

    fn json(&self) -> Value {
        json!({"revision": self.revision, "keys": self.keys, "bytes": self.bytes, "sha256": self.sha256})
    }
}

impl Shown for Compared {
    fn simple(&self, _output: Output) -> Vec<u8> {
        let verdict = if self.different == 0 { "equal\n" } else { "different\n" };
        let named = self.named.iter().map(|line| format!("{line}\n")).collect::<Vec<_>>().concat();
        (self.source.line("source") + &self.target.line("destination") + &named + verdict).into_bytes()
    }

    fn json(&self, _output: Output) -> Value {
        json!({
            "equal": self.different == 0,
            "source": self.source.json(),
            "destination": self.target.json(),
            "different": self.different,
            "named": self.named,
        })
    }

    fn fields(&self, _output: Output) -> Fields {
        let mut fields = Fields::default();
        fields.value("Equal", self.different == 0);
        for (name, found) in [("Source", &self.source), ("Destination", &self.target)] {
            fields.value(&format!("{name}Revision"), found.revision);
            fields.value(&format!("{name}Keys"), found.keys);
            fields.value(&format!("{name}Bytes"), found.bytes);
            fields.quoted(&format!("{name}SHA256"), found.sha256.as_bytes());
        }
        fields.value("Different", self.different);
        fields
    }
}
