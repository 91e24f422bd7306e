//! `snapshot save`: everything that one member holds, in one file.
//!
//! INVARIANT: the file has its name only when it is whole, on the disk, and its checksum was right.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use proto::etcdserverpb::SnapshotRequest;
use sha2::{Digest as _, Sha256};

use crate::failure::{Done, Failure, exit};
use crate::output::print_line;
use crate::session::Session;
use crate::verbs::signal::Stop;

/// The bytes of the checksum at the end.
const SUM_BYTES: usize = 32;

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  kvorumctl --endpoints=127.0.0.1:2379 snapshot save backup.db")]
pub(crate) struct Save {
    #[arg(value_name = "FILE")]
    args: Vec<String>,
}

impl Save {
    pub(crate) async fn run(self, session: &Session) -> Done {
        let [name] = self.args.as_slice() else {
            return Err(Failure::arguments("snapshot save expects one argument"));
        };
        let endpoints: Vec<String> = session.client.endpoints().map(ToString::to_string).collect();
        if endpoints.len() != 1 {
            return Err(Failure::new(
                exit::INTERRUPTED,
                format!(
                    "snapshot must be requested to one selected node, not multiple [{}]",
                    endpoints.join(" ")
                ),
            ));
        }
        let mut stop = Stop::listen()?;
        let mut part = Part::create(Path::new(name))?;
        tokio::select! {
            fetched = fetch(session, &mut part) => fetched?,
            () = stop.heard() => {
                let text = format!("stopped: nothing was saved, {} is gone again", part.path.display());
                return Err(Failure::new(exit::INTERRUPTED, text));
            }
        }
        part.finish(Path::new(name))?;
        print_line(&format!("Snapshot saved at {name}"))
    }
}

/// The file while it is not whole. It goes away with this unless it was finished.
struct Part {
    path: PathBuf,
    file: File,
    sum: Sha256,
    /// The last bytes, which may be the checksum.
    tail: Vec<u8>,
    bytes: u64,
    is_finished: bool,
}

async fn fetch(session: &Session, part: &mut Part) -> Done {
    let interrupted = |fault| {
        let mut failure = Failure::from(fault).with_status(exit::INTERRUPTED);
        failure.details.push("nothing was saved".to_owned());
        failure
    };
    let mut pieces = session.client.ask(SnapshotRequest {}, session.patience()).await.map_err(interrupted)?;
    let style = ProgressStyle::with_template("{bar:40} {bytes}/{total_bytes} {bytes_per_sec} {eta}")
        .expect("the template is well-formed");
    let bar = ProgressBar::no_length().with_style(style);
    while let Some(piece) = pieces.next().await {
        let piece = piece.map_err(interrupted)?;
        part.write(&piece.blob)?;
        bar.set_length(part.bytes + piece.remaining_bytes);
        bar.set_position(part.bytes);
    }
    bar.finish_and_clear();
    Ok(())
}

impl Part {
    fn create(name: &Path) -> Result<Self, Failure> {
        let path = PathBuf::from(format!("{}.part", name.display()));
        let opened = OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(&path);
        let file = opened.map_err(|error| {
            let text = format!("could not open {0} (open {0}: {1})", path.display(), said(&error));
            Failure::new(exit::INTERRUPTED, text)
        })?;
        Ok(Self { path, file, sum: Sha256::new(), tail: Vec::new(), bytes: 0, is_finished: false })
    }

    fn failed(&self, act: &str, error: &io::Error) -> Failure {
        let text = format!("could not {act} {} ({}); nothing was saved", self.path.display(), said(error));
        Failure::new(exit::INTERRUPTED, text)
    }

    fn write(&mut self, piece: &[u8]) -> Done {
        self.file.write_all(piece).map_err(|error| self.failed("write", &error))?;
        self.bytes += piece.len() as u64;
        self.tail.extend_from_slice(piece);
        let known = self.tail.len().saturating_sub(SUM_BYTES);
        self.sum.update(self.tail.drain(..known).as_slice());
        Ok(())
    }

    /// Checks it, brings it to the disk and gives it its name.
    fn finish(mut self, name: &Path) -> Done {
        if self.sum.clone().finalize().as_slice() != self.tail.as_slice() {
            let text =
                format!("sha256 checksum not found or wrong [bytes: {}]; nothing was saved", self.bytes);
            return Err(Failure::new(exit::INTERRUPTED, text));
        }
        self.file.sync_all().map_err(|error| self.failed("sync", &error))?;
        std::fs::rename(&self.path, name).map_err(|error| self.failed("rename", &error))?;
        self.is_finished = true;
        let folder = name.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(|error| {
            Failure::io(format!("{} was saved, its folder not synced: {error}", name.display()))
        })
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if !self.is_finished {
            // What cannot be removed is seen by its name not to be whole.
            let _left = std::fs::remove_file(&self.path);
        }
    }
}

/// The reason as Go says it.
fn said(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "no such file or directory".to_owned(),
        io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        io::ErrorKind::IsADirectory => "is a directory".to_owned(),
        io::ErrorKind::StorageFull => "no space left on device".to_owned(),
        _ => error.to_string(),
    }
}
