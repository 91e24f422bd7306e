//! How far a mirror has come, in a key beside what it mirrors, written in the same transactions.
//!
//! INVARIANT: whoever finds another position than the one that he wrote last writes nothing.

use std::time::Duration;

use bytes::Bytes;
use client::Client;
use proto::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use proto::etcdserverpb::request_op::Request;
use proto::etcdserverpb::{Compare, PutRequest, RangeRequest};
use serde_json::{Value, json};

use crate::failure::Failure;

/// How far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// What there was at this revision is on its way. Each copy says so before it writes, so that nothing of an older one
    /// comes after it.
    Copying(i64),
    /// Everything up to this revision is there.
    At(i64),
}

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Position {
    key: Bytes,
    /// The cluster that is mirrored, as people write it, and the prefix there.
    cluster: String,
    prefix: String,
    /// What stands in the key; nothing if there is no such key.
    held: Option<Bytes>,
    stage: Option<Stage>,
}

impl Position {
    /// Of a mirror of `prefix` of `cluster`, kept in `key`; not looked up yet.
    pub(super) fn new(key: &str, cluster: u64, prefix: &str) -> Self {
        Self {
            key: Bytes::copy_from_slice(key.as_bytes()),
            cluster: format!("{cluster:x}"),
            prefix: prefix.to_owned(),
            held: None,
            stage: None,
        }
    }

    /// The key, which is not mirrored over.
    pub(super) fn key(&self) -> &Bytes {
        &self.key
    }

    /// Everything up to this revision is there; nothing where a copy was not finished.
    pub(super) fn revision(&self) -> Option<i64> {
        match self.stage {
            Some(Stage::At(revision)) => Some(revision),
            Some(Stage::Copying(_)) | None => None,
        }
    }

    /// Looks it up at the destination.
    pub(super) async fn look_up(
        &mut self,
        target: &Client,
        patience: Option<Duration>,
    ) -> Result<(), Failure> {
        self.look_up_at(target, patience).await.map(drop)
    }

    /// Looks it up at the destination; answers at which revision of that.
    pub(super) async fn look_up_at(
        &mut self,
        target: &Client,
        patience: Option<Duration>,
    ) -> Result<i64, Failure> {
        let request = RangeRequest { key: self.key.clone(), ..Default::default() };
        let reply = target.call(request, patience).await?;
        let revision = reply.header.map_or(0, |header| header.revision);
        let held = reply.kvs.into_iter().next().map(|pair| pair.value);
        self.stage = held.as_ref().map(|held| self.read(held)).transpose()?;
        self.held = held;
        Ok(revision)
    }

    /// Whether what was looked up is this.
    pub(super) fn stands_at(&self, stage: Stage) -> bool {
        self.held.as_ref() == Some(&self.written(stage))
    }

    /// That it is still the one known here.
    pub(super) fn compare(&self) -> Compare {
        let (target, union) = match &self.held {
            Some(held) => (CompareTarget::Value, TargetUnion::Value(held.clone())),
            None => (CompareTarget::Version, TargetUnion::Version(0)),
        };
        Compare {
            result: CompareResult::Equal.into(),
            target: target.into(),
            key: self.key.clone(),
            target_union: Some(union),
            ..Default::default()
        }
    }

    /// Goes on.
    pub(super) fn put(&self, stage: Stage) -> Request {
        Request::RequestPut(PutRequest {
            key: self.key.clone(),
            value: self.written(stage),
            ..Default::default()
        })
    }

    /// Remembers that it was written.
    pub(super) fn went_on(&mut self, stage: Stage) {
        self.held = Some(self.written(stage));
        self.stage = Some(stage);
    }

    /// Somebody else wrote it.
    pub(super) fn lost(&self) -> Failure {
        let key = self.key.escape_ascii();
        Failure::error(format!("another mirror wrote its position to {key}: this one writes nothing more"))
    }

    fn written(&self, stage: Stage) -> Bytes {
        let (name, revision) = match stage {
            Stage::Copying(revision) => ("copying", revision),
            Stage::At(revision) => ("revision", revision),
        };
        json!({"cluster": self.cluster, "prefix": self.prefix, name: revision}).to_string().into()
    }

    fn read(&self, held: &[u8]) -> Result<Stage, Failure> {
        let key = self.key.escape_ascii().to_string();
        let value: Value = serde_json::from_slice(held).unwrap_or_default();
        let (cluster, prefix) = (value["cluster"].as_str(), value["prefix"].as_str());
        let stage = value["revision"].as_i64().map(Stage::At);
        let stage = stage.or_else(|| value["copying"].as_i64().map(Stage::Copying));
        let Some(((cluster, prefix), stage)) = cluster.zip(prefix).zip(stage) else {
            let text = format!("{key} at the destination is no position of a mirror: give another key");
            return Err(Failure::error(text));
        };
        if (cluster, prefix) == (self.cluster.as_str(), self.prefix.as_str()) {
            return Ok(stage);
        }
        Err(Failure::error(format!(
            "{key} at the destination is the position of a mirror of {prefix:?} of cluster {cluster}, not of {:?} of {}: \
             give another key, or delete this one to copy anew",
            self.prefix, self.cluster
        )))
    }
}
