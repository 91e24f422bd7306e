//! `migrate`: copies a v2 tree into v3 keys, once or again until nothing is missing, and verifies the copy.
//!
//! The keys are those of `--v2-bridge-prefix`: the file `/a/b` becomes `PREFIX` + `a/b`, an empty directory or one that
//! goes one day the key of its path with a slash at the end. docs/COMPATIBILITY.md has the mapping.
//!
//! INVARIANT: a key that is there with something else is not touched without `--overwrite`, and then only if it is
//! still what was looked at.

mod copy;
mod report;
mod source;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use clap::Args;
use client::Client;

use crate::failure::{Done, Failure, exit};
use crate::output::print_line;
use crate::session::{self, Session};
use crate::verbs::signal::unless_stopped;

use copy::{Copy, Standing};
use report::Report;

/// Of keys that are in the way so many are named.
const NAMED_MAX: usize = 20;

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  kvorumctl migrate --prefix=/v2/ --dry-run\n  kvorumctl migrate --prefix=/v2/\n  \
                  kvorumctl --endpoints=old:2379 migrate --prefix=/v2/ --dest-endpoints=new:2379"
)]
pub(crate) struct Migrate {
    /// What the keys begin with: the node /a/b becomes PREFIX + a/b.
    #[arg(long, value_name = "PREFIX")]
    prefix: String,
    /// Where the copy goes; without it, where it comes from.
    #[arg(long, value_delimiter = ',', value_name = "URLS")]
    dest_endpoints: Vec<String>,
    /// What is copied; may be given more than once. Hidden nodes (_NAME) are copied only when they are named.
    #[arg(long = "path", default_value = "/", value_name = "PATH")]
    paths: Vec<String>,
    /// Replaces keys that are there with something else.
    #[arg(long)]
    overwrite: bool,
    /// Says what would be done, and does nothing.
    #[arg(long)]
    dry_run: bool,
    /// Who reads v2, which has users of its own.
    #[arg(long, value_name = "NAME:PASSWORD")]
    v2_user: Option<String>,
}

impl Migrate {
    pub(crate) async fn run(self, session: &Session) -> Done {
        let written = AtomicUsize::new(0);
        let told = || {
            let written = written.load(Ordering::Relaxed);
            format!(
                "migrate stopped: {written} keys are written, and the copy is not whole; run it again to go on"
            )
        };
        unless_stopped(Box::pin(self.copy(session, &written)), told).await
    }

    async fn copy(&self, session: &Session, written: &AtomicUsize) -> Done {
        let target = if self.dest_endpoints.is_empty() {
            session.client.clone()
        } else {
            let endpoints = self.dest_endpoints.iter().map(String::as_str);
            Client::new(session::config(&session.globals, endpoints)?)
        };
        let user = self.v2_user.as_deref();
        let read = Instant::now();
        let tree = source::read(session, &self.paths, user).await?;
        let entries = source::entries(&tree, self.prefix.as_bytes());
        let (client, patience, prefix) = (&target, session.patience(), self.prefix.clone());
        let copy = Copy { client, patience, prefix, read, written };
        let standing = copy.look(&entries).await?;
        let mut report = Report::new(&tree, &self.prefix, &standing);
        if self.dry_run {
            return self.rehearse(&standing, report, session);
        }
        if !standing.others.is_empty() && !self.overwrite {
            return Err(Self::in_the_way(&standing));
        }
        report.revision = copy.write(&standing).await?;
        report.verified = copy.verify(&entries).await?;
        report.index_after = source::index(session, &self.paths, user).await?;
        session.show(&report)
    }

    fn rehearse(&self, standing: &Standing<'_>, mut report: Report, session: &Session) -> Done {
        let show = |word: &str, key: &[u8]| print_line(&format!("{word} {}", String::from_utf8_lossy(key)));
        for entry in &standing.missing {
            show("create", &entry.key)?;
        }
        for (entry, _) in &standing.others {
            show(if self.overwrite { "overwrite" } else { "in the way" }, &entry.key)?;
        }
        report.dry_run = true;
        session.show(&report)
    }

    fn in_the_way(standing: &Standing<'_>) -> Failure {
        let count = standing.others.len();
        let text = format!("{count} keys are there with something else; nothing was copied");
        let name = |key: &[u8]| format!("in the way: {}", String::from_utf8_lossy(key));
        let mut details: Vec<String> =
            standing.others.iter().take(NAMED_MAX).map(|(entry, _)| name(&entry.key)).collect();
        if count > NAMED_MAX {
            details.push(format!("and {} more", count - NAMED_MAX));
        }
        details.push("hint: --overwrite replaces them, another --prefix leaves them".to_owned());
        Failure { status: exit::ERROR, text: Some(text), details }
    }
}
