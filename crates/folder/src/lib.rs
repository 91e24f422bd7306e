//! The data folder: who may use it, and what it was written by.
//!
//! ```text
//! DATA-DIR/           0700
//!   member/           0700
//!     lock            held (flock) while a member runs; its text is the process id, for people
//!     format          one line: "kvorum 1"
//!     wal/ db/ snap/  `wal` may be a link to a folder on another disk; and what `generation` puts beside `db`
//! ```
//!
//! It never touches what is not ours: a folder that somebody else wrote is refused before the first change.
//!
//! INVARIANT: `format` is durable before anything is written into `wal`, `db` or `snap`.

mod generation;

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

pub use generation::{Generation, Generations};

/// The form of what this version writes. A larger number on disk is refused.
pub const FORMAT: u32 = 1;

const FORMAT_FILE: &str = "format";
const LOCK_FILE: &str = "lock";
const ROOMS: [&str; 2] = ["wal", "snap"];

/// A data folder that no other process has, until this is dropped.
#[derive(Debug)]
pub struct Folder {
    member: PathBuf,
    fresh: bool,
    _lock: File,
}

/// Why a folder cannot be used: what happened, to what, and what to do next.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// Another process has it.
    #[error(
        "the data folder {} is in use by another Kvorum process{holder}: stop that one, or give this one a folder \
         of its own with --data-dir", path.display()
    )]
    Locked {
        /// The folder.
        path: PathBuf,
        /// ` (pid N)`, or nothing where that is not known.
        holder: String,
    },
    /// It holds etcd's files.
    #[error(
        "the data folder {0} was written by etcd, whose files Kvorum does not go on with; nothing was changed. Stop \
         etcd, take what is in it into a new folder with `kvorumctl snapshot restore --from-data-dir {0} --data-dir \
         NEW_FOLDER` (with --name, --initial-cluster and --initial-advertise-peer-urls as those of this member), and \
         start with --data-dir NEW_FOLDER", path.display()
    )]
    Etcd {
        /// The folder.
        path: PathBuf,
    },
    /// It holds files of nobody we know.
    #[error(
        "the data folder {} holds {entry}, which Kvorum did not write: give an empty folder with --data-dir; \
         nothing was changed", path.display()
    )]
    Foreign {
        /// The folder.
        path: PathBuf,
        /// What is in the way.
        entry: String,
    },
    /// It is a file.
    #[error("the data folder {} is not a folder: give another path with --data-dir", path.display())]
    NotAFolder {
        /// The path.
        path: PathBuf,
    },
    /// The log is not where it should be.
    #[error("--wal-dir says {}, and the log of this member is in {}: give that path, or stop the member and move the \
             files there", wanted.display(), found.display())]
    LogElsewhere {
        /// Where it should be.
        wanted: PathBuf,
        /// Where it is.
        found: PathBuf,
    },
    /// There is something where the log should be.
    #[error("the folder {} of --wal-dir is not empty, and there is no member yet whose log it could be: give an empty one", path.display())]
    LogInTheWay {
        /// The folder.
        path: PathBuf,
    },
    /// A newer version wrote it.
    #[error(
        "the data folder {} was written by a newer Kvorum (format {found}, this one knows {FORMAT}): start that \
         version again; nothing was changed", path.display()
    )]
    Newer {
        /// The folder.
        path: PathBuf,
        /// Its format.
        found: u32,
    },
    /// The format cannot be read.
    #[error(
        "the file {} is damaged, so nobody can tell what wrote this data: bring it back from a copy of the folder",
        path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
    },
    /// The file system refused.
    #[error("cannot {act} {}: {source}", path.display())]
    Io {
        /// What was tried.
        act: &'static str,
        /// On what.
        path: PathBuf,
        /// The reason.
        #[source]
        source: io::Error,
    },
}

/// Takes the folder at `path` for this process, and makes it if it is not there.
pub fn open(path: &Path) -> Result<Folder, FolderError> {
    open_with_log(path, None)
}

/// The same with the log in another folder, to which a link leads. Without one it is where it was.
pub fn open_with_log(path: &Path, log: Option<&Path>) -> Result<Folder, FolderError> {
    make_or_check(path)?;
    let member = path.join("member");
    refuse_foreign(path, &member)?;
    make(&member)?;
    let lock = take_lock(path, &member)?;
    let fresh = !is_marked(path, &member)?;
    if fresh {
        write_mark(&member)?;
    }
    if let Some(log) = log {
        place_log(&member, log)?;
    }
    for room in ROOMS {
        make(&member.join(room))?;
    }
    sync(&member)?;
    sync(path)?;
    Ok(Folder { member, fresh, _lock: lock })
}

/// Whether a member has a log in the folder at `path`. It takes no lock and changes nothing.
pub fn has_log(path: &Path) -> bool {
    fs::read_dir(path.join("member").join("wal")).is_ok_and(|mut entries| entries.next().is_some())
}

impl Folder {
    /// Where the log is.
    pub fn wal(&self) -> PathBuf {
        self.member.join("wal")
    }

    /// The databases in it.
    pub fn generations(&self) -> Generations {
        Generations::new(self.member.clone())
    }

    /// Whether it was made just now.
    pub fn is_fresh(&self) -> bool {
        self.fresh
    }
}

fn make_or_check(path: &Path) -> Result<(), FolderError> {
    match fs::metadata(path) {
        Ok(found) if !found.is_dir() => Err(FolderError::NotAFolder { path: path.to_owned() }),
        Ok(found) => {
            let mode = found.permissions().mode() & 0o777;
            if mode != 0o700 {
                tracing::warn!(dir = %path.display(), mode = format!("{mode:o}"), "check file permission");
            }
            Ok(())
        }
        Err(error) if error.kind() == ErrorKind::NotFound => make_durably(path),
        Err(error) => Err(failed("read the data folder", path)(error)),
    }
}

/// Makes `wal` a link to this folder, unless it is one.
fn place_log(member: &Path, log: &Path) -> Result<(), FolderError> {
    let at = member.join("wal");
    make_durably(log)?;
    let wanted = log.canonicalize().map_err(failed("find the folder", log))?;
    if let Ok(found) = at.canonicalize() {
        if found == wanted {
            return Ok(());
        }
        // It is the empty one of a start that came no further, or it has the log.
        fs::remove_dir(&at).map_err(|_| FolderError::LogElsewhere { wanted: wanted.clone(), found })?;
    }
    let mut entries = fs::read_dir(&wanted).map_err(failed("read the folder", &wanted))?;
    if entries.next().is_some() {
        return Err(FolderError::LogInTheWay { path: wanted });
    }
    std::os::unix::fs::symlink(&wanted, &at).map_err(failed("make the link", &at))
}

pub(crate) fn make(path: &Path) -> Result<(), FolderError> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(failed("make the folder", path))
}

/// Makes the folder and all that are missing above it. Each lasts only when the one that names it is synced.
fn make_durably(path: &Path) -> Result<(), FolderError> {
    let missing = path.ancestors().take_while(|folder| !folder.as_os_str().is_empty() && !folder.exists());
    let missing: Vec<&Path> = missing.collect();
    make(path)?;
    missing.into_iter().filter_map(Path::parent).try_for_each(|parent| match parent.as_os_str() {
        relative if relative.is_empty() => sync(Path::new(".")),
        _ => sync(parent),
    })
}

/// Without our mark there may be nothing in `member` except what a start leaves that was cut off before it
/// wrote the mark.
fn refuse_foreign(path: &Path, member: &Path) -> Result<(), FolderError> {
    if member.join(FORMAT_FILE).exists() {
        return Ok(());
    }
    let entries = match fs::read_dir(member) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed("read the folder", member)(error)),
    };
    if member.join("snap/db").is_file() || has_etcd_log(&member.join("wal")) {
        return Err(FolderError::Etcd { path: path.to_owned() });
    }
    for entry in entries {
        let name =
            entry.map_err(failed("read the folder", member))?.file_name().to_string_lossy().into_owned();
        // Another process may be making this folder right now; the mark comes before the rooms.
        if name != LOCK_FILE && name != draft_name() && !member.join(FORMAT_FILE).exists() {
            return Err(FolderError::Foreign { path: path.to_owned(), entry: format!("member/{name}") });
        }
    }
    Ok(())
}

/// Whether there is a file named as etcd names its log: two numbers of 16 hexadecimal digits.
fn has_etcd_log(wal: &Path) -> bool {
    let is_segment = |name: &str| {
        let numbers = name.strip_suffix(".wal").and_then(|stem| stem.split_once('-'));
        let hex = |digits: &str| digits.len() == 16 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
        numbers.is_some_and(|(sequence, index)| hex(sequence) && hex(index))
    };
    fs::read_dir(wal)
        .is_ok_and(|entries| entries.flatten().any(|entry| is_segment(&entry.file_name().to_string_lossy())))
}

fn take_lock(path: &Path, member: &Path) -> Result<File, FolderError> {
    let at = member.join(LOCK_FILE);
    let mut options = OpenOptions::new();
    let options = options.read(true).write(true).create(true).truncate(false).mode(0o600);
    let mut lock = options.open(&at).map_err(failed("open the lock file", &at))?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let pid = fs::read_to_string(&at).ok().and_then(|text| text.trim().parse::<u32>().ok());
            let holder = pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default();
            return Err(FolderError::Locked { path: path.to_owned(), holder });
        }
        Err(TryLockError::Error(error)) => return Err(failed("lock the file", &at)(error)),
    }
    let written = lock.set_len(0).and_then(|()| writeln!(lock, "{}", std::process::id()));
    written.map_err(failed("write the lock file", &at))?;
    Ok(lock)
}

/// Whether the mark is there, and is one that this version knows.
fn is_marked(path: &Path, member: &Path) -> Result<bool, FolderError> {
    let at = member.join(FORMAT_FILE);
    let text = match fs::read_to_string(&at) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
        Err(error) if error.kind() == ErrorKind::InvalidData => {
            return Err(FolderError::Damaged { path: at });
        }
        Err(error) => return Err(failed("read the file", &at)(error)),
    };
    match text.strip_prefix("kvorum ").and_then(|number| number.trim_end().parse::<u32>().ok()) {
        Some(FORMAT) => Ok(true),
        Some(found) if found > FORMAT => Err(FolderError::Newer { path: path.to_owned(), found }),
        Some(_) | None => Err(FolderError::Damaged { path: at }),
    }
}

fn draft_name() -> String {
    format!("{FORMAT_FILE}.tmp")
}

/// Writes the mark beside its place, and moves it there when it is on disk.
fn write_mark(member: &Path) -> Result<(), FolderError> {
    let draft = member.join(draft_name());
    let write = || {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
        writeln!(file, "kvorum {FORMAT}")?;
        file.sync_all()?;
        fs::rename(&draft, member.join(FORMAT_FILE))
    };
    write().map_err(failed("write the file", &draft))?;
    sync(member)
}

/// Makes the names in a folder durable.
pub fn sync(folder: &Path) -> Result<(), FolderError> {
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed("sync the folder", folder))
}

pub(crate) fn failed(act: &'static str, path: &Path) -> impl Fn(io::Error) -> FolderError {
    let path = path.to_owned();
    move |source| FolderError::Io { act, path: path.clone(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Opens a folder in which `files` are, and says what became of it: `fresh`, `old`, or the words of the
    /// refusal after the folder's name.
    fn check(files: &[(&str, &str)], expect: &str) {
        let parent = tempfile::tempdir().expect("a folder for the test");
        let path = parent.path().join("data");
        for (name, text) in files {
            let at = path.join(name);
            fs::create_dir_all(at.parent().expect("below the folder")).expect("made");
            fs::write(at, text).expect("written");
        }
        let before = listing(&path);
        let (outcome, refused) = match open(&path) {
            Ok(folder) => (if folder.is_fresh() { "fresh".to_owned() } else { "old".to_owned() }, false),
            Err(error) => (error.to_string().replace(&path.display().to_string(), "DATA"), true),
        };
        assert!(outcome.starts_with(expect), "{files:?}: {outcome}");
        assert!(
            !refused || matches!(files, [("member/format", _)]) || listing(&path) == before,
            "{files:?}: changed"
        );
    }

    fn listing(path: &Path) -> Vec<String> {
        let mut names = Vec::new();
        let mut folders = vec![path.to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
                names.push(entry.path().display().to_string());
                if entry.path().is_dir() {
                    folders.push(entry.path());
                }
            }
        }
        names.sort();
        names
    }

    #[test]
    fn folders_are_taken_or_refused() {
        check(&[], "fresh");
        check(&[("lost+found/x", "")], "fresh");
        check(&[("member/lock", "1\n"), ("member/format.tmp", "kv")], "fresh");
        check(&[("member/format", "kvorum 1\n"), ("member/wal/0.wal", "")], "old");
        check(&[("member/snap/db", "")], "the data folder DATA was written by etcd, ");
        check(
            &[("member/wal/0000000000000000-0000000000000000.wal", "")],
            "the data folder DATA was written by etcd, whose files Kvorum does not go on with; nothing was changed. Stop etcd",
        );
        check(
            &[("member/photos/cat", "")],
            "the data folder DATA holds member/photos, which Kvorum did not write: ",
        );
        check(
            &[("member/format", "kvorum 2\n")],
            "the data folder DATA was written by a newer Kvorum (format 2, ",
        );
        for damaged in ["", "kvorum", "kvorum one\n", "kvorum 0\n", "etcd 1\n", "kvorum 1\nand more\n"] {
            check(&[("member/format", damaged)], "the file DATA/member/format is damaged, ");
        }
    }

    #[test]
    fn a_file_is_not_a_folder() {
        let file = tempfile::NamedTempFile::new().expect("a file for the test");
        let error = open(file.path()).expect_err("refused").to_string();
        assert!(error.ends_with("is not a folder: give another path with --data-dir"), "{error}");
        let error = open(&file.path().join("below")).expect_err("refused").to_string();
        assert!(error.starts_with("cannot "), "{error}");
    }

    #[test]
    fn one_process_has_it_and_says_who() {
        let parent = tempfile::tempdir().expect("a folder for the test");
        let folder = open(parent.path()).expect("free");
        let error = open(parent.path()).expect_err("taken").to_string();
        let holder =
            format!(" is in use by another Kvorum process (pid {}): stop that one, ", std::process::id());
        assert!(error.contains(&holder), "{error}");
        drop(folder);
        assert!(!open(parent.path()).expect("free again").is_fresh());
    }

    #[test]
    fn cve_2020_15113_its_rooms_are_for_its_owner_alone() {
        let parent = tempfile::tempdir().expect("a folder for the test");
        let path = parent.path().join("a/b");
        let folder = open(&path).expect("free");
        assert!(folder.wal().is_dir() && folder.generations().snap().is_dir());
        assert!(!has_log(&path));
        fs::write(folder.wal().join("segment"), "").expect("written");
        assert!(has_log(&path));
        let mode = |path: &Path| fs::metadata(path).expect("there").permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(&folder.wal())), (0o700, 0o700));
    }

    #[test]
    fn a_log_may_lie_elsewhere_and_is_found_again() {
        let parent = tempfile::tempdir().expect("a folder for the test");
        let [data, log, other] = ["data", "log", "other"].map(|name| parent.path().join(name));
        drop(open_with_log(&data, Some(&log)).expect("made"));
        let folder = open_with_log(&data, Some(&log)).expect("there already");
        fs::write(folder.wal().join("segment"), "x").expect("written");
        assert_eq!(fs::read_to_string(log.join("segment")).expect("it lies there"), "x");
        assert!(has_log(&data));
        drop(folder);
        drop(open(&data).expect("the link leads there"));
        let refused = open_with_log(&data, Some(&other)).expect_err("the log is not there");
        assert!(matches!(refused, FolderError::LogElsewhere { .. }), "{refused}");
        let refused = open_with_log(&parent.path().join("new"), Some(&log)).expect_err("it is another's");
        assert!(matches!(refused, FolderError::LogInTheWay { .. }), "{refused}");
    }
}
