//! Which database of the data folder is the live one. A snapshot comes as a whole new one beside the old.
//!
//! ```text
//! member/
//!   db/                    the first, before any snapshot
//!   db-<16 hex digits>/    from a snapshot up to that index
//!   current                which of them lives; no file is `db`
//! ```
//!
//! `current` is one line: `kvorum-current 1 <index> <term> <crc32c of all before, 8 hex digits>`.
//!
//! INVARIANT: `current` names a folder that is complete and durable; it changes by a rename and nothing else.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use apply::Position;
use types::{Index, Term};

use crate::{FolderError, failed, make, sync};

const CURRENT_FILE: &str = "current";
const DRAFT_FILE: &str = "current.tmp";
const MARK: &str = "kvorum-current 1";
const FIRST: &str = "db";
const LATER: &str = "db-";

/// All databases of one data folder.
#[derive(Clone, Debug)]
pub struct Generations {
    member: PathBuf,
}

/// The live one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Generation {
    /// Where it is.
    pub path: PathBuf,
    /// The snapshot that it came from.
    pub snapshot: Option<Position>,
}

impl Generations {
    /// Of the folder `member` in a data folder.
    pub fn new(member: PathBuf) -> Self {
        Self { member }
    }

    /// Which one lives.
    pub fn live(&self) -> Result<Generation, FolderError> {
        let at = self.member.join(CURRENT_FILE);
        let text = match fs::read_to_string(&at) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let path = self.member.join(FIRST);
                // A later one becomes live before the first goes: without the first, the name was lost, and what
                // nobody names must not be taken for dead.
                if !path.exists() && self.has_later()? {
                    return Err(FolderError::Damaged { path: at });
                }
                return Ok(Generation { path, snapshot: None });
            }
            Err(error) if error.kind() == ErrorKind::InvalidData => {
                return Err(FolderError::Damaged { path: at });
            }
            Err(error) => return Err(failed("read the file", &at)(error)),
        };
        let position = decode(&text).ok_or(FolderError::Damaged { path: at })?;
        Ok(Generation { path: self.path_of(position.index), snapshot: Some(position) })
    }

    fn has_later(&self) -> Result<bool, FolderError> {
        let entries = fs::read_dir(&self.member).map_err(failed("read the folder", &self.member))?;
        Ok(entries.flatten().any(|entry| entry.file_name().to_string_lossy().starts_with(LATER)))
    }

    /// Removes what is not alive: older databases, and what was on its way when the process ended.
    pub fn clean(&self) -> Result<Generation, FolderError> {
        let live = self.live()?;
        let is_dead = |name: &str, path: &Path| {
            name == DRAFT_FILE || ((name == FIRST || name.starts_with(LATER)) && path != live.path)
        };
        remove_where(&self.member, is_dead)?;
        // What was received in part may be gone on with.
        remove_where(&self.snap(), |name, path| name.strip_suffix(".recv").is_none() || !path.is_dir())?;
        make(&live.path)?;
        Ok(live)
    }

    /// Where snapshots come and go.
    pub fn snap(&self) -> PathBuf {
        self.member.join("snap")
    }

    /// Makes a database that lies complete and synced in `received` the next one, without making it live yet.
    pub fn adopt(&self, received: &Path, index: Index) -> Result<PathBuf, FolderError> {
        let path = self.path_of(index);
        // One that was adopted and never became live.
        if path.exists() {
            fs::remove_dir_all(&path).map_err(failed("remove the folder", &path))?;
        }
        fs::rename(received, &path).map_err(failed("move the folder", received))?;
        sync(&self.member)?;
        Ok(path)
    }

    /// Makes the database of the snapshot up to `position` the live one, durably.
    pub fn enthrone(&self, position: Position) -> Result<(), FolderError> {
        let draft = self.member.join(DRAFT_FILE);
        let write = || {
            let mut options = OpenOptions::new();
            let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
            file.write_all(encode(position).as_bytes())?;
            file.sync_all()?;
            fs::rename(&draft, self.member.join(CURRENT_FILE))
        };
        write().map_err(failed("write the file", &draft))?;
        sync(&self.member)
    }

    /// Where the database of a snapshot up to `index` lies, if there is one.
    pub fn path_of(&self, index: Index) -> PathBuf {
        self.member.join(format!("{LATER}{:016x}", index.0))
    }
}

fn remove_where(folder: &Path, is_dead: impl Fn(&str, &Path) -> bool) -> Result<(), FolderError> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed("read the folder", folder)(error)),
    };
    for entry in entries {
        let path = entry.map_err(failed("read the folder", folder))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if is_dead(&name, &path) {
            let removed = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
            removed.map_err(failed("remove", &path))?;
        }
    }
    Ok(())
}

fn encode(position: Position) -> String {
    let body = format!("{MARK} {} {}", position.index.0, position.term.0);
    format!("{body} {:08x}\n", crc32c::crc32c(body.as_bytes()))
}

fn decode(text: &str) -> Option<Position> {
    let (body, sum) = text.strip_suffix('\n')?.rsplit_once(' ')?;
    let numbers = body.strip_prefix(MARK)?.strip_prefix(' ')?;
    let (index, term) = numbers.split_once(' ')?;
    let position = Position { index: Index(index.parse().ok()?), term: Term(term.parse().ok()?) };
    (sum.len() == 8 && u32::from_str_radix(sum, 16).ok()? == crc32c::crc32c(body.as_bytes()))
        .then_some(position)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn position(index: u64, term: u64) -> Position {
        Position { index: Index(index), term: Term(term) }
    }

    #[test]
    fn a_snapshot_takes_the_place_of_what_was_there() {
        let parent = tempfile::tempdir().expect("a folder for the test");
        let member = parent.path().to_owned();
        let generations = Generations::new(member.clone());
        for name in ["db", "snap/7-3.recv", "snap/5-3.send", "wal"] {
            fs::create_dir_all(member.join(name)).expect("made");
        }
        assert_eq!(
            generations.live().expect("readable"),
            Generation { path: member.join("db"), snapshot: None }
        );
        fs::write(member.join("snap/7-3.recv/file"), "new").expect("written");
        let path = generations.adopt(&member.join("snap/7-3.recv"), Index(7)).expect("moved");
        assert_eq!(generations.clean().expect("cleaned").path, member.join("db"), "not live yet");
        assert!(
            !path.exists() && !member.join("snap/5-3.send").exists(),
            "a start removes what is left over"
        );

        fs::create_dir_all(member.join("snap/7-3.recv")).expect("made");
        let path = generations.adopt(&member.join("snap/7-3.recv"), Index(7)).expect("moved");
        generations.enthrone(position(7, 3)).expect("written");
        let live = generations.clean().expect("cleaned");
        assert_eq!(live, Generation { path: path.clone(), snapshot: Some(position(7, 3)) });
        assert!(path.exists() && !member.join("db").exists() && member.join("wal").exists());

        fs::remove_file(member.join("current")).expect("removed");
        assert!(
            matches!(generations.clean(), Err(FolderError::Damaged { .. })),
            "nobody knows which one lives"
        );
        assert!(path.exists(), "nothing is removed then");
    }

    #[test]
    fn damage_of_the_name_is_seen() {
        let good = encode(position(1234, 56));
        assert_eq!(decode(&good), Some(position(1234, 56)));
        for at in 0..good.len() {
            let mut bad = good.clone().into_bytes();
            bad[at] ^= 1;
            assert_eq!(String::from_utf8(bad).ok().and_then(|bad| decode(&bad)), None, "byte {at}");
        }
        assert_eq!(decode(""), None);
    }
}
