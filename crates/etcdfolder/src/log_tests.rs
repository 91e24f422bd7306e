//! A log as etcd writes it, and what may have become of it.

use std::fs;

use prost::Message;

use super::*;

/// The third of etcd's kinds: how far the log is agreed on.
const STATE: i64 = 3;

/// Files of a log, as they are written.
struct Written {
    folder: tempfile::TempDir,
    paths: Vec<PathBuf>,
    bytes: Vec<u8>,
    crc: u32,
}

impl Written {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder for the test");
        let mut log = Self { folder, paths: Vec::new(), bytes: Vec::new(), crc: 0 };
        log.record(CHECKSUM, Vec::new());
        log
    }

    fn record(&mut self, kind: i64, data: Vec<u8>) {
        self.crc = crc32c::crc32c_append(self.crc, &data);
        let record = Record { kind, crc: self.crc, data: data.into() }.encode_to_vec();
        let padding = record.len().wrapping_neg() % 8;
        let marked = if padding > 0 { (0x80 | padding as u64) << 56 } else { 0 };
        self.bytes.extend_from_slice(&(record.len() as u64 | marked).to_le_bytes());
        self.bytes.extend_from_slice(&record);
        self.bytes.resize(self.bytes.len() + padding, 0);
    }

    fn entry(&mut self, index: u64, term: u64, bytes: usize) {
        let data = vec![b'x'; bytes].into();
        self.record(ENTRY, Entry { kind: 0, term, index, data }.encode_to_vec());
    }

    /// Ends the file, with room behind it as etcd makes it.
    fn cut(&mut self, sequence: u64) {
        let path = self.folder.path().join(format!("{sequence:016x}-{:016x}.wal", 0));
        self.bytes.resize(self.bytes.len() + 4096, 0);
        fs::write(&path, std::mem::take(&mut self.bytes)).expect("written");
        self.paths.push(path);
        self.record(CHECKSUM, Vec::new());
    }

    /// Terms of the entries behind an index, or what is wrong.
    fn terms(&self, behind: u64) -> Result<Vec<u64>, String> {
        let log = Log::open(&self.paths, behind).map_err(|error| error.to_string())?;
        let entry = |at| log.entry(at).expect("read").expect("there").term;
        Ok((0..log.len()).map(entry).collect())
    }

    fn change(&self, file: usize, change: impl FnOnce(&mut Vec<u8>)) {
        let mut bytes = fs::read(&self.paths[file]).expect("read");
        change(&mut bytes);
        fs::write(&self.paths[file], bytes).expect("written");
    }
}

/// Two files; the entries 3 and 4 are written again by a later leader.
fn written() -> Written {
    let mut log = Written::new();
    for index in 1..=4 {
        log.entry(index, 1, 40);
    }
    log.cut(0);
    log.record(STATE, vec![8, 2]);
    for index in 3..=6 {
        log.entry(index, 2, 3000);
    }
    log.cut(1);
    log
}

#[test]
fn what_was_written_last_counts() {
    let log = written();
    assert_eq!(log.terms(0), Ok(vec![1, 1, 2, 2, 2, 2]));
    assert_eq!(log.terms(3), Ok(vec![2, 2, 2]));
    assert_eq!(log.terms(9), Ok(vec![]));
}

#[test]
fn a_sector_that_was_never_written_ends_the_log() {
    let log = written();
    log.change(1, |bytes| {
        let sector = (bytes.len() - 4096 - 1500) / 512 * 512;
        bytes[sector..sector + 512].fill(0);
    });
    assert_eq!(log.terms(0), Ok(vec![1, 1, 2, 2, 2]));
}

#[test]
fn damage_is_told_from_an_end() {
    let check = |file: usize, change: fn(&mut Vec<u8>), expect: &str| {
        let log = written();
        log.change(file, change);
        let refused = log.terms(0).expect_err(expect);
        assert!(refused.contains(expect), "{refused}");
    };
    check(0, |bytes| bytes[100] ^= 1, "a checksum does not match");
    check(1, |bytes| bytes[5000] ^= 1, "a checksum does not match");
    // A length.
    check(1, |bytes| bytes[4] ^= 1, "a record is longer than what is left of the file");
    check(0, |bytes| bytes.truncate(bytes.len() - 4096 - 90), "a record is longer than");
}

#[test]
fn what_is_missing_is_named() {
    let mut log = written();
    log.entry(9, 2, 1);
    log.cut(2);
    assert!(log.terms(0).expect_err("a gap").contains("entries are missing before it"));
    log.paths.remove(1);
    assert!(log.terms(0).expect_err("a file").contains("files of the log are missing before"));
}
