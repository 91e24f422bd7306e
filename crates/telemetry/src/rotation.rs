//! A file that the log goes to, and what becomes of it when it is full: it is moved beside, to a name with the time in it,
//! perhaps packed, and the oldest of those go. Names and settings are those of etcd's `--log-rotation-config-json`.
//!
//! INVARIANT: nothing but files with such names is ever removed.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, SystemTime};

use flate2::Compression;
use flate2::write::GzEncoder;
use parking_lot::Mutex;
use serde_json::{Map, Value};
use time::OffsetDateTime;
use time::format_description::StaticFormatDescription;
use time::macros::format_description;

/// What a full file is called, between its name and its ending.
const TIMESTAMP: StaticFormatDescription =
    format_description!("[year]-[month]-[day]T[hour]-[minute]-[second].[subsecond digits:3]");
/// How long such a time is.
const TIMESTAMP_LENGTH: usize = "2006-01-02T15-04-05.000".len();
const DAY: Duration = Duration::from_hours(24);

/// When a file is full, and what is kept of those before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rotation {
    /// A file that would become larger is full, in bytes.
    pub file_bytes_max: u64,
    /// Older ones go.
    pub age_max: Option<Duration>,
    /// More than that many go, the oldest first.
    pub backups_max: Option<usize>,
    /// Whether names have the local time.
    pub local_time: bool,
    /// Whether full files are packed with gzip.
    pub compress: bool,
}

impl Rotation {
    /// Reads etcd's JSON.
    pub fn parse(json: &str) -> Result<Self, String> {
        let map: Map<String, Value> = serde_json::from_str(json).map_err(|error| error.to_string())?;
        let known = ["maxsize", "maxage", "maxbackups", "localtime", "compress"];
        if let Some(name) = map.keys().find(|name| !known.contains(&name.as_str())) {
            return Err(format!("unknown key {name:?}: there are {}", known.join(", ")));
        }
        let number = |name: &str| match map.get(name) {
            None => Ok(0),
            Some(value) => value.as_u64().ok_or_else(|| format!("{name} is no number from 0: {value}")),
        };
        let yes = |name: &str| match map.get(name) {
            None => Ok(false),
            Some(value) => {
                value.as_bool().ok_or_else(|| format!("{name} is neither true nor false: {value}"))
            }
        };
        // As in etcd 100 is meant where nothing is.
        let megabytes = Some(number("maxsize")?).filter(|size| *size > 0).unwrap_or(100);
        let days = u32::try_from(number("maxage")?).unwrap_or(u32::MAX);
        let backups = usize::try_from(number("maxbackups")?).unwrap_or(usize::MAX);
        Ok(Self {
            file_bytes_max: megabytes.saturating_mul(1 << 20),
            age_max: (days > 0).then(|| DAY.saturating_mul(days)),
            backups_max: (backups > 0).then_some(backups),
            local_time: yes("localtime")?,
            compress: yes("compress")?,
        })
    }
}

/// A file that lines are appended to.
pub(crate) struct LogFile {
    path: PathBuf,
    rotation: Option<Rotation>,
    open: Mutex<Open>,
}

struct Open {
    file: File,
    bytes: u64,
}

impl Open {
    fn at(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        let bytes = file.metadata()?.len();
        Ok(Self { file, bytes })
    }
}

impl LogFile {
    pub(crate) fn open(path: &Path, rotation: Option<Rotation>) -> io::Result<Self> {
        Ok(Self { path: path.to_owned(), rotation, open: Mutex::new(Open::at(path)?) })
    }

    pub(crate) fn write_line(&self, line: &[u8]) -> io::Result<()> {
        let mut open = self.open.lock();
        let bytes = line.len() as u64;
        if let Some(rotation) = &self.rotation
            && open.bytes > 0
            && open.bytes.saturating_add(bytes) > rotation.file_bytes_max
        {
            // What cannot be moved goes on to grow, which is better than no log.
            drop(self.begin_anew(&mut open, rotation));
        }
        open.bytes = open.bytes.saturating_add(bytes);
        open.file.write_all(line)
    }

    /// Opens it again under its name.
    pub(crate) fn reopen(&self) -> io::Result<()> {
        *self.open.lock() = Open::at(&self.path)?;
        Ok(())
    }

    fn begin_anew(&self, open: &mut Open, rotation: &Rotation) -> io::Result<()> {
        let now = OffsetDateTime::now_utc();
        let now = if rotation.local_time { OffsetDateTime::now_local().unwrap_or(now) } else { now };
        let stamp = now.format(TIMESTAMP).map_err(io::Error::other)?;
        let (stem, ending) = parts(&self.path);
        let backup = self.path.with_file_name(format!("{stem}-{stamp}{ending}"));
        fs::rename(&self.path, &backup)?;
        *open = Open::at(&self.path)?;
        let (path, rotation) = (self.path.clone(), *rotation);
        // Packing a hundred megabytes must not hold up whoever has something to say.
        let tidy = move || {
            if rotation.compress {
                drop(pack(&backup));
            }
            drop(clean(&path, &rotation));
        };
        thread::Builder::new().name("log-rotation".to_owned()).spawn(tidy).map(drop)
    }
}

/// `a.log` is `a` and `.log`.
fn parts(path: &Path) -> (String, String) {
    let text = |part: Option<&std::ffi::OsStr>| part.map(|part| part.to_string_lossy().into_owned());
    let ending = text(path.extension()).map(|ending| format!(".{ending}")).unwrap_or_default();
    (text(path.file_stem()).unwrap_or_default(), ending)
}

fn pack(path: &Path) -> io::Result<()> {
    let packed = PathBuf::from(format!("{}.gz", path.display()));
    let mut out = GzEncoder::new(File::create(&packed)?, Compression::default());
    io::copy(&mut File::open(path)?, &mut out)?;
    out.finish()?.sync_all()?;
    fs::remove_file(path)
}

/// Removes what is too old, or too many.
fn clean(path: &Path, rotation: &Rotation) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let (stem, ending) = parts(path);
    let is_backup = |name: &str| {
        let name = name.strip_suffix(".gz").unwrap_or(name);
        let stamp = name.strip_prefix(&format!("{stem}-")).and_then(|rest| rest.strip_suffix(&ending));
        stamp.is_some_and(|stamp| {
            stamp.len() == TIMESTAMP_LENGTH
                && stamp.bytes().all(|byte| byte.is_ascii_digit() || b"-T.".contains(&byte))
        })
    };
    let entries = fs::read_dir(folder)?.flatten();
    let mut backups: Vec<String> =
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    backups.retain(|name| is_backup(name));
    // Their times are their order.
    backups.sort_unstable_by(|one, other| other.cmp(one));
    // While one is packed it is there twice.
    let mut known: Vec<&str> = backups.iter().map(|name| name.strip_suffix(".gz").unwrap_or(name)).collect();
    known.dedup();
    for name in &backups {
        let file = folder.join(name);
        let position = known.iter().position(|known| name.starts_with(known)).unwrap_or_default();
        // Somebody else may tidy up as well.
        let Ok(age) = fs::metadata(&file).and_then(|file| file.modified()) else { continue };
        let age = SystemTime::now().duration_since(age).unwrap_or_default();
        let is_too_old = rotation.age_max.is_some_and(|max| age > max);
        if is_too_old || rotation.backups_max.is_some_and(|max| position >= max) {
            drop(fs::remove_file(file));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_etcds() {
        let usual =
            r#"{"maxsize": 100, "maxage": 0, "maxbackups": 0, "localtime": false, "compress": false}"#;
        let rotation = Rotation::parse(usual).expect("etcd's default");
        assert_eq!(
            (rotation.file_bytes_max, rotation.age_max, rotation.backups_max),
            (100 << 20, None, None)
        );
        let rotation = Rotation::parse(r#"{"maxage": 2, "maxbackups": 3, "compress": true}"#).expect("right");
        assert_eq!((rotation.age_max, rotation.backups_max), (Some(DAY * 2), Some(3)));
        assert!(rotation.compress && !rotation.local_time && rotation.file_bytes_max == 100 << 20);
        for (json, words) in [
            ("{", "EOF while parsing"),
            (r#"{"size": 1}"#, "unknown key \"size\""),
            (r#"{"maxsize": "1"}"#, "maxsize is no number"),
            (r#"{"compress": 1}"#, "compress is neither"),
        ] {
            assert!(Rotation::parse(json).is_err_and(|error| error.contains(words)), "{json}");
        }
    }

    #[test]
    fn a_full_file_moves_aside_and_the_oldest_go() {
        let folder = tempfile::tempdir().expect("a folder for the test");
        let path = folder.path().join("a.log");
        fs::write(folder.path().join("a-other.log"), "not ours").expect("written");
        fs::write(folder.path().join("a-2020-01-01T00-00-00.000.log"), "old").expect("written");
        let rotation =
            Rotation { file_bytes_max: 8, backups_max: Some(1), ..Rotation::parse("{}").expect("right") };
        let file = LogFile::open(&path, Some(rotation)).expect("it opens");
        for line in ["first\n", "second\n"] {
            file.write_line(line.as_bytes()).expect("written");
        }
        assert_eq!(fs::read_to_string(&path).expect("there"), "second\n");
        clean(&path, &rotation).expect("cleaned");
        let mut names: Vec<String> = fs::read_dir(folder.path())
            .expect("there")
            .flatten()
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        assert_eq!(names.len(), 3, "{names:?}");
        assert!(names.contains(&"a-other.log".to_owned()) && !names.iter().any(|name| name.contains("2020")));
        let backup = folder.path().join(names.iter().find(|name| name.starts_with("a-20")).expect("moved"));
        assert_eq!(fs::read_to_string(&backup).expect("there"), "first\n");
        pack(&backup).expect("packed");
        let mut text = String::new();
        let packed = File::open(format!("{}.gz", backup.display())).expect("there");
        io::Read::read_to_string(&mut flate2::read::GzDecoder::new(packed), &mut text).expect("gzip");
        assert!(text == "first\n" && !backup.exists());
    }

    #[test]
    fn a_file_that_was_moved_away_is_opened_again_under_its_name() {
        let folder = tempfile::tempdir().expect("a folder for the test");
        let path = folder.path().join("a.log");
        let file = LogFile::open(&path, None).expect("it opens");
        file.write_line(b"first\n").expect("written");
        fs::rename(&path, folder.path().join("a.log.1")).expect("moved");
        file.reopen().expect("opened");
        file.write_line(b"second\n").expect("written");
        assert_eq!(fs::read_to_string(&path).expect("there"), "second\n");
    }
}
