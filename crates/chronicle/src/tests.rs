//! Archives as members leave them, whole and not.

use std::fs;
use std::path::Path;

use types::{ClusterId, Index, MemberId, Term};

use super::*;

const CLUSTER: ClusterId = ClusterId(7);

fn entry(index: u64) -> Entry {
    Entry { index: Index(index), term: Term(2), data: format!("entry {index}").into_bytes().into() }
}

/// A file of `member` with the entries from `first` to `last`, two in a chunk, whose time is the index of the last.
fn file(folder: &Path, member: u64, first: u64, last: u64) {
    let head = Head { cluster: CLUSTER, member: MemberId(member), first: Index(first) };
    let mut writer = Writer::create(folder, head).expect("created");
    let entries: Vec<Entry> = (first..=last).map(entry).collect();
    for chunk in entries.chunks(2) {
        writer.append(chunk.last().map_or(0, |last| last.index.0 as i64), chunk).expect("written");
    }
    let length = fs::metadata(LogFile::path(folder, MemberId(member), Index(first))).expect("there").len();
    assert_eq!(writer.bytes(), length);
}

fn change(folder: &Path, member: u64, first: u64, change: impl FnOnce(&mut Vec<u8>)) {
    let path = LogFile::path(folder, MemberId(member), Index(first));
    let mut bytes = fs::read(&path).expect("read");
    change(&mut bytes);
    fs::write(&path, bytes).expect("written");
}

/// The indexes behind `after`, or what is wrong.
fn walk(folder: &Path, after: u64) -> Result<Vec<u64>, String> {
    let mut walk = Walk::new(folder, CLUSTER, Index(after)).expect("there is a folder");
    let mut indexes = Vec::new();
    loop {
        match walk.next_chunk() {
            Ok(Some(chunk)) => {
                for found in chunk.entries {
                    assert_eq!(found, entry(found.index.0), "as it was written");
                    indexes.push(found.index.0);
                }
            }
            Ok(None) => return Ok(indexes),
            Err(error) => return Err(error.to_string()),
        }
    }
}

#[test]
fn files_are_one_after_the_other_and_may_overlap() {
    let folder = tempfile::tempdir().expect("a folder for the test");
    let folder = folder.path();
    file(folder, 1, 5, 9);
    file(folder, 1, 10, 14);
    file(folder, 2, 8, 17);
    assert_eq!(walk(folder, 4), Ok((5..=17).collect()));
    assert_eq!(walk(folder, 11), Ok((12..=17).collect()));
    assert_eq!(walk(folder, 20), Ok(vec![]));
    assert_eq!(
        walk(folder, 2),
        Err("the archive has a gap: the entries from 3 up to 4 are not in it".to_owned())
    );
}

#[test]
fn a_writer_that_was_stopped_leaves_an_end() {
    let folder = tempfile::tempdir().expect("a folder for the test");
    let folder = folder.path();
    file(folder, 1, 5, 9);
    change(folder, 1, 5, |bytes| bytes.truncate(bytes.len() - 1));
    assert_eq!(walk(folder, 4), Ok(vec![5, 6, 7, 8]));
    file(folder, 1, 9, 10);
    assert_eq!(walk(folder, 4), Ok(vec![5, 6, 7, 8, 9, 10]), "another file goes on");
    fs::remove_file(LogFile::path(folder, MemberId(1), Index(9))).expect("removed");
    file(folder, 1, 10, 10);
    assert_eq!(
        walk(folder, 4),
        Err("the archive has a gap: the entries from 9 up to 9 are not in it".to_owned())
    );
}

#[test]
fn damage_is_seen_unless_another_file_has_it() {
    let folder = tempfile::tempdir().expect("a folder for the test");
    let folder = folder.path();
    for (at, expect) in [(100, "damaged at byte 48"), (20, "is no file of an archive"), (3, "is no file")] {
        file(folder, 1, 5, 9);
        change(folder, 1, 5, |bytes| bytes[at] ^= 1);
        let error = walk(folder, 4).expect_err("damaged");
        assert!(error.contains(expect), "{error}");
    }
    file(folder, 2, 5, 9);
    assert_eq!(walk(folder, 4), Ok(vec![5, 6, 7, 8, 9]));
}

#[test]
fn another_clusters_files_are_passed_over() {
    let folder = tempfile::tempdir().expect("a folder for the test");
    let folder = folder.path();
    let head = Head { cluster: ClusterId(8), member: MemberId(9), first: Index(1) };
    Writer::create(folder, head).and_then(|mut writer| writer.append(0, &[entry(1)])).expect("written");
    file(folder, 1, 3, 4);
    fs::write(folder.join("log-1.kvlog"), "not ours").expect("written");
    assert_eq!(walk(folder, 2), Ok(vec![3, 4]));
}

#[test]
fn snapshots_are_known_by_their_names() {
    let folder = tempfile::tempdir().expect("a folder for the test");
    let folder = folder.path();
    let path = SnapshotFile::path(folder, MemberId(0xa), Index(0x1f), 1_700_000_000);
    fs::write(&path, "").expect("written");
    fs::write(path.with_extension("db.tmp"), "").expect("written");
    let known = SnapshotFile { index: Index(0x1f), seconds: 1_700_000_000, member: MemberId(0xa), path };
    assert_eq!(snapshot_files(folder).expect("read"), [known]);
}
