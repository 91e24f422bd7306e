//! The receiving end: a folder that becomes what a manifest says.
//!
//! INVARIANT: what is in the folder under a listed name is a prefix of that file, chunk by chunk as it was sent.
//! INVARIANT: no byte is written that was not checked.
//! INVARIANT: a file counts as proven only if this receiver checked and wrote all of it and then made it durable; at the
//! end every other file is read again.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::thread::{self, JoinHandle};

use crate::files::sync_folder;
use crate::manifest::{CHUNK_BYTES, FileEntry, Manifest};

/// A snapshot on its way in.
#[derive(Debug)]
pub struct Receiver {
    folder: PathBuf,
    manifest: Manifest,
    /// Chunks of each file that are there.
    there: Vec<usize>,
    /// Whether this receiver wrote a file from its first chunk on, and whether it is durable since.
    own: Vec<Own>,
    /// The first file that is not whole, if there is one.
    current: usize,
    /// That file, once it is written to.
    open: Option<File>,
    /// The beginning of a chunk.
    partial: Vec<u8>,
    /// The last whole file, which goes to the disk while the next one comes.
    settling: Option<Settling>,
}

/// What this receiver can say of a file without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Own {
    /// Nothing: some of it is from an earlier attempt.
    No,
    /// All that is there was checked here.
    Written,
    /// All of it was checked here, and is durable.
    Proven,
}

/// A file on its way to the disk. Its thread has ended when this is gone, so that no later attempt meets it.
#[derive(Debug)]
struct Settling {
    file: usize,
    thread: Option<JoinHandle<Result<(), ReceiveError>>>,
}

impl Settling {
    /// Whether it is durable. Waits for it.
    fn end(&mut self) -> Result<(), ReceiveError> {
        self.thread
            .take()
            .map_or(Ok(()), |thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    }
}

impl Drop for Settling {
    fn drop(&mut self) {
        if let Some(thread) = self.thread.take() {
            // A file that could not be made durable was removed; a later attempt finds it missing.
            let _ = thread.join();
        }
    }
}

/// What comes next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The name of a file.
    pub file: String,
    /// The first byte of it that is wanted.
    pub offset: u64,
}

/// Why a snapshot was not received.
#[derive(Debug, thiserror::Error)]
pub enum ReceiveError {
    /// The disk.
    #[error("cannot {what} {path}")]
    Disk {
        /// To do what.
        what: &'static str,
        /// With what.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A chunk is not what the manifest says. It is wanted again, from its beginning.
    #[error("chunk {chunk} of {file} is not what the manifest of the snapshot says")]
    Damaged {
        /// The file.
        file: String,
        /// Which chunk, from 0.
        chunk: usize,
    },
    /// Not the bytes that are wanted next.
    #[error("bytes of {file} from {offset} on are not wanted now")]
    OutOfOrder {
        /// The file.
        file: String,
        /// Where the bytes begin.
        offset: u64,
    },
    /// Something is missing.
    #[error("the snapshot is not whole: {0} is missing, or a part of it")]
    Missing(String),
    /// Something is there that does not belong there.
    #[error("{0} does not belong to the snapshot")]
    Foreign(PathBuf),
}

impl Receiver {
    /// Makes `folder`, or goes on with what is in it from an earlier attempt: what is there and right stays, the
    /// rest is removed. Reads all that is there.
    pub fn open(folder: &Path, manifest: Manifest) -> Result<Self, ReceiveError> {
        DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(disk("make", folder))?;
        for entry in fs::read_dir(folder).map_err(disk("read", folder))? {
            let entry = entry.map_err(disk("read", folder))?;
            let path = entry.path();
            if !entry.file_type().map_err(disk("read", &path))?.is_file() {
                return Err(ReceiveError::Foreign(path));
            }
            if !manifest.files().iter().any(|file| entry.file_name() == file.name()) {
                fs::remove_file(&path).map_err(disk("remove", &path))?;
            }
        }
        let mut there = Vec::with_capacity(manifest.files().len());
        for file in manifest.files() {
            there.push(keep_prefix(&folder.join(file.name()), file)?);
        }
        let own = there.iter().map(|&chunks| if chunks == 0 { Own::Written } else { Own::No }).collect();
        let (folder, partial) = (folder.to_owned(), Vec::new());
        let mut receiver =
            Self { folder, manifest, there, own, current: 0, open: None, partial, settling: None };
        receiver.skip_whole();
        Ok(receiver)
    }

    /// What it has to be given next; `None` when everything is there.
    pub fn wanted(&self) -> Option<Wanted> {
        let file = self.manifest.files().get(self.current)?;
        let offset = (self.there[self.current] * CHUNK_BYTES + self.partial.len()) as u64;
        Some(Wanted { file: file.name().to_owned(), offset })
    }

    /// Bytes that are there and right, of all files together.
    pub fn received_bytes(&self) -> u64 {
        let bytes = |(file, &chunks): (&FileEntry, &usize)| file.size().min((chunks * CHUNK_BYTES) as u64);
        self.manifest.files().iter().zip(&self.there).map(bytes).sum()
    }

    /// The connection broke: what came of a chunk that is not whole is wanted again.
    pub fn interrupt(&mut self) {
        self.partial.clear();
    }

    /// Takes bytes of `file` from `offset` on: those that are wanted, and not beyond the file's end.
    pub fn push(&mut self, file: &str, offset: u64, mut bytes: &[u8]) -> Result<(), ReceiveError> {
        let out_of_order = || ReceiveError::OutOfOrder { file: file.to_owned(), offset };
        let is_wanted = self.wanted().is_some_and(|wanted| wanted.file == file && wanted.offset == offset);
        let left =
            self.manifest.files().get(self.current).map_or(0, |entry| entry.size().saturating_sub(offset));
        if !is_wanted || bytes.len() as u64 > left {
            return Err(out_of_order());
        }
        while !bytes.is_empty() {
            let chunk = self.there[self.current];
            let length = self.manifest.files()[self.current].chunk_bytes(chunk);
            let taken = bytes.len().min(length - self.partial.len());
            let (head, tail) = bytes.split_at(taken);
            if taken == length {
                // The usual case: a chunk came as it is, and is not copied.
                self.write(chunk, head)?;
            } else {
                self.partial.extend_from_slice(head);
                if self.partial.len() == length {
                    let whole = std::mem::take(&mut self.partial);
                    self.write(chunk, &whole)?;
                    self.partial = whole;
                    self.partial.clear();
                }
            }
            bytes = tail;
        }
        self.skip_whole();
        Ok(())
    }

    /// Everything is there: makes it durable and returns the folder. What an earlier attempt left is read once more.
    pub fn finish(mut self) -> Result<PathBuf, ReceiveError> {
        self.settle()?;
        if let Some(wanted) = self.wanted() {
            return Err(ReceiveError::Missing(wanted.file));
        }
        self.open = None;
        for entry in fs::read_dir(&self.folder).map_err(disk("read", &self.folder))? {
            let path = entry.map_err(disk("read", &self.folder))?.path();
            let is_listed = |file: &FileEntry| path.file_name().is_some_and(|name| name == file.name());
            if !self.manifest.files().iter().any(is_listed) {
                return Err(ReceiveError::Foreign(path));
            }
        }
        for (entry, own) in self.manifest.files().iter().zip(&self.own) {
            let path = self.folder.join(entry.name());
            let mut file = File::open(&path).map_err(disk("open", &path))?;
            let size = file.metadata().map_err(disk("read", &path))?.len();
            if *own == Own::Proven && size == entry.size() {
                continue;
            }
            let good = good_chunks(&mut file, entry).map_err(disk("read", &path))?;
            if good < entry.chunk_count() {
                return Err(ReceiveError::Damaged { file: entry.name().to_owned(), chunk: good });
            }
            if size != entry.size() {
                return Err(ReceiveError::Foreign(path));
            }
            // Files of an earlier attempt may not have been made durable by it.
            sync(&file, &path)?;
        }
        sync_folder(&self.folder).map_err(disk("sync", &self.folder))?;
        // Its own name too.
        if let Some(parent) = self.folder.parent() {
            sync_folder(parent).map_err(disk("sync", parent))?;
        }
        Ok(self.folder)
    }

    /// Checks and writes a chunk of the current file.
    fn write(&mut self, chunk: usize, bytes: &[u8]) -> Result<(), ReceiveError> {
        let entry = &self.manifest.files()[self.current];
        if !entry.is_chunk(chunk, bytes) {
            return Err(ReceiveError::Damaged { file: entry.name().to_owned(), chunk });
        }
        let path = self.folder.join(entry.name());
        let mut file = match self.open.take() {
            Some(file) => file,
            None => open_at(&path, (chunk * CHUNK_BYTES) as u64).map_err(disk("open", &path))?,
        };
        // After a failure the file is opened, and cut, anew.
        file.write_all(bytes).map_err(disk("write", &path))?;
        self.there[self.current] += 1;
        if self.there[self.current] < entry.chunk_count() {
            self.open = Some(file);
            return Ok(());
        }
        // One at a time: what was received is never far ahead of what is durable.
        self.settle()?;
        let thread = thread::Builder::new().name("settle".to_owned()).spawn({
            let path = path.clone();
            move || sync(&file, &path)
        });
        let thread = thread.map_err(disk("start a thread to sync", &path))?;
        self.settling = Some(Settling { file: self.current, thread: Some(thread) });
        Ok(())
    }

    /// Waits until the last whole file is durable. If it cannot be made so, it is wanted again.
    fn settle(&mut self) -> Result<(), ReceiveError> {
        let Some(mut settling) = self.settling.take() else { return Ok(()) };
        let settled = settling.end();
        if settled.is_ok() {
            if self.own[settling.file] == Own::Written {
                self.own[settling.file] = Own::Proven;
            }
        } else {
            self.there[settling.file] = 0;
            self.own[settling.file] = Own::Written;
            self.current = settling.file;
            self.open = None;
            self.partial.clear();
        }
        settled
    }

    fn skip_whole(&mut self) {
        let files = self.manifest.files();
        while files.get(self.current).is_some_and(|file| self.there[self.current] == file.chunk_count()) {
            self.current += 1;
        }
    }
}

fn disk(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> ReceiveError + use<> {
    let path = path.to_owned();
    move |source| ReceiveError::Disk { what, path, source }
}

/// Makes a file durable. One that could not be made so goes: the kernel may show for whole what the disk never got,
/// and a later attempt would take it for good.
fn sync(file: &File, path: &Path) -> Result<(), ReceiveError> {
    file.sync_all().map_err(|error| {
        // If it cannot be removed either, the disk has a worse problem, and this error tells of it.
        let _ = fs::remove_file(path);
        disk("sync", path)(error)
    })
}

/// Keeps as much of a file as is right, makes it if it is not there, and returns how many chunks it has.
fn keep_prefix(path: &Path, entry: &FileEntry) -> Result<usize, ReceiveError> {
    let options = File::options().read(true).write(true).create(true).truncate(false).open(path);
    let mut file = options.map_err(disk("open", path))?;
    let good = good_chunks(&mut file, entry).map_err(disk("read", path))?;
    let length = entry.size().min((good * CHUNK_BYTES) as u64);
    file.set_len(length).map_err(disk("cut", path))?;
    Ok(good)
}

/// How many chunks at the beginning of a file are right.
fn good_chunks(file: &mut File, entry: &FileEntry) -> io::Result<usize> {
    let mut bytes = Vec::with_capacity(CHUNK_BYTES);
    for chunk in 0..entry.chunk_count() {
        bytes.clear();
        Read::by_ref(file).take(entry.chunk_bytes(chunk) as u64).read_to_end(&mut bytes)?;
        if !entry.is_chunk(chunk, &bytes) {
            return Ok(chunk);
        }
    }
    Ok(entry.chunk_count())
}

/// A file to be written from `offset` on; what is behind it goes.
fn open_at(path: &Path, offset: u64) -> io::Result<File> {
    let mut file = File::options().write(true).create(true).truncate(false).open(path)?;
    file.set_len(offset)?;
    file.seek(SeekFrom::Start(offset))?;
    Ok(file)
}
