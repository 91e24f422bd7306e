//! `export`: the keys below a prefix as they were at one revision.
//!
//! INVARIANT: a file has its name only when it is whole and on the disk.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};
use tempfile::NamedTempFile;

use super::{end, head, hex, put};
use crate::command_line::number;
use crate::failure::{Done, Failure};
use crate::output::{print, say};
use crate::session::Session;
use crate::verbs::pages::Pages;
use crate::verbs::progress;
use crate::verbs::shown::open_range;
use crate::verbs::signal::unless_stopped;

#[derive(Debug, Args)]
#[command(
    after_help = "Keys and values that are text stand as they are, others as base64. Leases do not go along; a line says of \
                  which lease a key was. The file can be read by everybody who may read the folder: mind the values.\n\n\
                  Examples:\n  kvorumctl export --prefix app/ app.jsonl\n  kvorumctl export --rev 4711 | jq -r .key"
)]
pub(crate) struct Export {
    /// Where to; without it to stdout.
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    /// Only keys that begin so.
    #[arg(long, default_value = "", hide_default_value = true, value_name = "PREFIX")]
    prefix: String,
    /// As it was at this revision; 0 is the present one.
    #[arg(long, default_value = "0", value_parser = number, value_name = "REVISION")]
    rev: i64,
}

/// Where the lines go.
enum Sink {
    Stdout,
    /// Under another name until it is whole; it goes away with this.
    File(NamedTempFile),
}

impl Export {
    pub(crate) async fn run(self, session: &Session) -> Done {
        let place = self.file.as_ref().map(|file| file.display().to_string());
        let told = || match &place {
            Some(place) => {
                format!("export was stopped: {place} was not written, and what was begun is gone again")
            }
            None => {
                "export was stopped: the lines above are not all, and the one that says the end is missing"
                    .to_owned()
            }
        };
        unless_stopped(Box::pin(self.write(session)), told).await
    }

    async fn write(&self, session: &Session) -> Done {
        let mut sink = Sink::open(self.file.as_deref())?;
        let range = open_range(self.prefix.clone().into_bytes().into(), true, false);
        let mut pages = Pages::of(&session.client, range, self.rev, session.patience());
        let (mut sum, mut keys, mut has_head) = (Sha256::new(), 0_u64, false);
        let bar = progress::counting("keys");
        while let Some(page) = pages.next().await.map_err(|failure| self.incomplete(failure))? {
            let mut lines = Vec::new();
            if !has_head {
                has_head = true;
                lines.extend(line(&head(pages.cluster, pages.revision, self.prefix.as_bytes())));
            }
            for pair in &page {
                let mut object = Map::new();
                put(&mut object, "key", &pair.key);
                put(&mut object, "value", &pair.value);
                for (name, number) in [
                    ("createRevision", pair.create_revision),
                    ("modRevision", pair.mod_revision),
                    ("version", pair.version),
                ] {
                    object.insert(name.to_owned(), number.into());
                }
                if pair.lease != 0 {
                    object.insert("lease".to_owned(), format!("{:x}", pair.lease).into());
                }
                lines.extend(line(&Value::Object(object)));
            }
            sum.update(&lines);
            sink.write(&lines)?;
            keys += page.len() as u64;
            bar.inc(page.len() as u64);
        }
        bar.finish_and_clear();
        sink.write(&line(&end(keys, &hex(&sum.finalize()))))?;
        sink.finish(self.file.as_deref())?;
        say(&format!("exported {keys} keys at revision {}", pages.revision));
        Ok(())
    }

    fn incomplete(&self, mut failure: Failure) -> Failure {
        failure.details.push(match &self.file {
            Some(file) => format!("{} was not written", file.display()),
            None => "the lines above are not all of them".to_owned(),
        });
        failure
    }
}

fn line(value: &Value) -> Vec<u8> {
    format!("{value}\n").into_bytes()
}

fn failed(path: &Path, error: &std::io::Error) -> Failure {
    Failure::io(format!("{} was not written: {error}", path.display()))
}

impl Sink {
    fn open(file: Option<&Path>) -> Result<Self, Failure> {
        let Some(path) = file else { return Ok(Self::Stdout) };
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let made = NamedTempFile::with_prefix_in(".export-", folder);
        Ok(Self::File(made.map_err(|error| failed(path, &error))?))
    }

    fn write(&mut self, lines: &[u8]) -> Done {
        match self {
            Self::Stdout => print(lines),
            Self::File(file) => {
                let done = file.write_all(lines);
                done.map_err(|error| {
                    Failure::io(format!("the file was not written: {error}; nothing is left of it"))
                })
            }
        }
    }

    fn finish(self, path: Option<&Path>) -> Done {
        let (Self::File(file), Some(path)) = (self, path) else { return Ok(()) };
        file.as_file().sync_all().map_err(|error| failed(path, &error))?;
        file.persist(path).map_err(|error| failed(path, &error.error))?;
        Ok(())
    }
}
