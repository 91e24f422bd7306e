//! `snapshot restore`: the data folder of a member of a new cluster, out of a snapshot. Asks nobody.

use std::path::{Path, PathBuf};

use clap::Args;
use restore::{
    Archive, Goal, Origin, Plan, Replayed, RestoreError, Sight, Source, SourceError, restore, restore_folder,
};
use stdx::chain;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use types::Revision;

use super::work::watched;
use crate::failure::{Done, Failure, exit};
use crate::output::say;
use crate::session::Session;

#[derive(Debug, Args)]
#[command(after_help = "Example, on each member with its own name and URLs and the same file:\n  \
    kvorumctl snapshot restore backup.db --name a --initial-cluster a=http://h1:2380,b=http://h2:2380 \
    --initial-advertise-peer-urls http://h1:2380 --data-dir /var/lib/kvorum")]
pub(crate) struct Restore {
    #[arg(value_name = "FILE")]
    args: Vec<String>,
    /// Where the data goes, which has to be empty; NAME.etcd unless it is said.
    #[arg(long, default_value = "", hide_default_value = true, value_name = "FOLDER")]
    data_dir: String,
    /// Where the log goes; the data folder's own is the only place.
    #[arg(long, default_value = "", hide_default_value = true, value_name = "FOLDER")]
    wal_dir: String,
    /// What this member is called.
    #[arg(long, default_value = "default", value_name = "NAME")]
    name: String,
    /// All members of the new cluster.
    #[arg(long, default_value = "default=http://localhost:2380", value_name = "NAME=URL,...")]
    initial_cluster: String,
    /// Goes into the ids of the new cluster and its members.
    #[arg(long, default_value = "etcd-cluster", value_name = "TOKEN")]
    initial_cluster_token: String,
    /// Where the other members will reach this one.
    #[arg(long, default_value = "http://localhost:2380", value_name = "URLS")]
    initial_advertise_peer_urls: String,
    /// Takes a file of etcd's without a checksum, such as a copy of member/snap/db.
    #[arg(long)]
    skip_hash_check: bool,
    /// By how much the revision is raised, so that it is beyond all that clients have seen.
    #[arg(long, value_name = "N")]
    bump_revision: Option<u64>,
    /// Goes on from the snapshot through what a member wrote with its --archive-dir; without a snapshot, from the newest in
    /// that folder that is old enough.
    #[arg(long, value_name = "FOLDER", conflicts_with = "from_data_dir")]
    archive_dir: Option<PathBuf>,
    /// Goes on in the archive up to this revision.
    #[arg(long, value_name = "N", requires = "archive_dir", conflicts_with = "to_time")]
    to_revision: Option<u64>,
    /// Goes on in the archive up to this time, as 2026-11-22T04:30:00Z; nothing later is there, and the last second before
    /// may not be either.
    #[arg(long, value_name = "TIME", requires = "archive_dir", value_parser = moment)]
    to_time: Option<i64>,
    /// Takes the data folder of an etcd that has stopped, v2's tree and its log too, instead of a snapshot.
    #[arg(long, value_name = "FOLDER")]
    from_data_dir: Option<PathBuf>,
    /// Where that etcd's log is, if it is not in its data folder.
    #[arg(long, value_name = "FOLDER", requires = "from_data_dir")]
    from_wal_dir: Option<PathBuf>,
    /// Forgets all history before the raised revision, so that watches begin again; has to stand with --bump-revision.
    #[arg(long)]
    mark_compacted: bool,
}

impl Restore {
    pub(crate) async fn run(self, _session: &Session) -> Done {
        let plan = self.plan()?;
        let archive = self.archive();
        let sight = Sight::default();
        let (name, (done, plan)) = match (self.from_data_dir, self.args.as_slice()) {
            (Some(folder), []) => {
                let (name, log) = (folder.display().to_string(), self.from_wal_dir);
                let work = move || (restore_folder(&folder, log.as_deref(), &plan), plan);
                (name, watched(0, sight, work).await?)
            }
            (None, names @ ([] | [_])) => {
                let path = match (names, &archive) {
                    ([name], _) => PathBuf::from(name),
                    (_, Some(archive)) => archive.base().map_err(|error| refused(&error))?,
                    _ => return Err(Failure::arguments("snapshot restore requires exactly one argument")),
                };
                let mut source = Source::open(&path, sight.clone()).map_err(|error| refused(&error))?;
                let bytes = source.bytes();
                let work = move || (restore(&mut source, archive.as_ref(), &plan), plan);
                (path.display().to_string(), watched(bytes * 2, sight, work).await?)
            }
            _ => return Err(Failure::arguments("snapshot restore requires exactly one argument")),
        };
        let restored = done.map_err(|error| match &error {
            RestoreError::Source(SourceError::Stopped) => {
                let text = format!("stopped: nothing was restored, {} is as it was", plan.data_dir.display());
                Failure::new(exit::INTERRUPTED, text)
            }
            error => refused(error),
        })?;
        let origin = match restored.origin {
            Origin::Kvorum(head) | Origin::Replayed(head, _) => format!("cluster {}", head.cluster),
            Origin::Etcd(_) => "etcd".to_owned(),
        };
        let index = match restored.origin {
            Origin::Replayed(head, _) => head.id.index,
            other => other.position().index,
        };
        say(&format!(
            "restored {name}, which {origin} made at index {index}, to {}: member {} of cluster {}, revision {}",
            plan.data_dir.display(),
            plan.member,
            plan.cluster,
            restored.revision,
        ));
        if let Origin::Replayed(_, replayed) = restored.origin {
            say(&told(replayed));
        }
        if restored.alarms > 0 {
            say(
                "hint: alarms are raised in the snapshot, and stay: `alarm list`, `alarm disarm` when all members run",
            );
        }
        Ok(())
    }

    fn archive(&self) -> Option<Archive> {
        let goal = match (self.to_revision, self.to_time) {
            (Some(revision), _) => Goal::Revision(Revision(revision)),
            (None, Some(time)) => Goal::Time(time),
            (None, None) => Goal::End,
        };
        self.archive_dir.clone().map(|folder| Archive { folder, goal })
    }

    fn plan(&self) -> Result<Plan, Failure> {
        let missing = match (self.bump_revision, self.mark_compacted) {
            (Some(0), _) => return Err(Failure::arguments("--bump-revision has to be greater than 0")),
            (Some(_), false) => Some("mark-compacted"),
            (None, true) => Some("bump-revision"),
            (Some(_), true) | (None, false) => None,
        };
        if let Some(missing) = missing {
            return Err(Failure::error(format!(
                "if any flags in the group [bump-revision mark-compacted] are set they must all be set; missing [{missing}]"
            )));
        }
        let data_dir = match self.data_dir.as_str() {
            "" => PathBuf::from(format!("{}.etcd", self.name)),
            folder => PathBuf::from(folder),
        };
        if !self.wal_dir.is_empty() && Path::new(&self.wal_dir) != data_dir.join("member/wal") {
            return Err(Failure::arguments("the log is always in the data folder: leave --wal-dir out"));
        }
        let plan = Plan::new(
            data_dir,
            &self.name,
            &self.initial_cluster,
            &self.initial_advertise_peer_urls,
            &self.initial_cluster_token,
        );
        let plan = plan.map_err(|error| refused(&error))?;
        Ok(Plan { leap: self.bump_revision, skip_hash_check: self.skip_hash_check, ..plan })
    }
}

/// How far the archive led.
fn told(replayed: Replayed) -> String {
    let index = replayed.position.index;
    let when = replayed.wall_ns.and_then(|at| OffsetDateTime::from_unix_timestamp_nanos(at.into()).ok());
    let when = when.and_then(|at| at.format(&Rfc3339).ok());
    let end = if replayed.is_end { ", where the archive ends" } else { "" };
    match when {
        Some(when) => format!("the archive led on to index {index}, archived at {when}{end}"),
        None => format!("the archive has nothing behind index {index} up to there"),
    }
}

/// Nanoseconds since 1970-01-01 UTC.
fn moment(text: &str) -> Result<i64, String> {
    let time = OffsetDateTime::parse(text, &Rfc3339)
        .map_err(|_| "a time is written as 2026-11-22T04:30:00Z".to_owned())?;
    i64::try_from(time.unix_timestamp_nanos()).map_err(|_| "that time is too far away".to_owned())
}

/// What went wrong, and why.
fn refused(error: &dyn std::error::Error) -> Failure {
    Failure::error(chain(error))
}
