//! An archive, out and back.

use std::fs;
use std::path::{Path, PathBuf};

use types::{ClusterId, Index, MemberId, Revision, Term};

use super::*;

const HEAD: ArchiveHead = ArchiveHead {
    cluster: ClusterId(0xabc),
    member: MemberId(0xbee),
    id: SnapshotId { index: Index(0x2a), term: Term(3) },
    revision: Revision(17),
};

fn source(root: &Path) -> PathBuf {
    let folder = root.join("source");
    fs::create_dir(&folder).expect("a folder");
    for (name, length) in [("CURRENT", 0), ("000004.sst", CHUNK_BYTES + 7), ("000009.sst", 300)] {
        fs::write(folder.join(name), content(length)).expect("written");
    }
    folder
}

fn content(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at * 31 % 251) as u8).collect()
}

/// The archive's bytes, with what was told of its length in between.
fn packed(root: &Path) -> Vec<u8> {
    let mut writer = ArchiveFiles::take(source(root)).expect("plain files").pack(HEAD);
    let mut bytes = Vec::new();
    while let Some(chunk) = writer.next_chunk().expect("readable") {
        assert!(chunk.len() <= CHUNK_BYTES + 4);
        bytes.extend_from_slice(&chunk);
    }
    assert_eq!(bytes.len() as u64, writer.bytes() + CHECKSUM_BYTES as u64);
    bytes
}

#[test]
fn what_is_packed_comes_out_again() {
    let root = tempfile::tempdir().expect("a folder");
    let bytes = packed(root.path());
    assert_eq!(bytes.len() % 512, 32, "etcdctl looks for it");
    assert!(!root.path().join("source").exists(), "it took the folder");
    assert_eq!(verify(bytes.as_slice()).expect("right"), HEAD);
    let target = root.path().join("target");
    assert_eq!(unpack(bytes.as_slice(), &target).expect("right"), HEAD);
    for (name, length) in [("CURRENT", 0), ("000004.sst", CHUNK_BYTES + 7), ("000009.sst", 300)] {
        assert!(fs::read(target.join(name)).expect("there") == content(length), "{name}");
    }
    assert_eq!(fs::read_dir(&target).expect("there").count(), 3);
    assert!(matches!(unpack(bytes.as_slice(), &target), Err(UnpackError::Exists(_))));
}

#[test]
fn the_bytes_are_as_documented() {
    let root = tempfile::tempdir().expect("a folder");
    let folder = root.path().join("source");
    fs::create_dir(&folder).expect("a folder");
    fs::write(folder.join("a"), "xyz").expect("written");
    let mut writer = ArchiveFiles::take(folder).expect("plain files").pack(HEAD);
    let head = writer.next_chunk().expect("readable").expect("the head");
    let mut expect = Vec::from(*b"KVORUMAR\x01\0\0\0\x01\0\0\0");
    for number in [0xabc_u64, 0xbee, 0x2a, 3, 17] {
        expect.extend(number.to_le_bytes());
    }
    expect.extend(b"\x01a\x03\0\0\0\0\0\0\0");
    expect.extend(crc32c::crc32c(&expect).to_le_bytes());
    assert_eq!(head, expect);
    let chunk = writer.next_chunk().expect("readable").expect("the file");
    assert_eq!(chunk, [&b"xyz"[..], &crc32c::crc32c(b"xyz").to_le_bytes()].concat());
    assert_eq!(writer.bytes(), 512);
}

#[test]
fn damage_anywhere_is_seen() {
    let root = tempfile::tempdir().expect("a folder");
    let good = packed(root.path());
    let some = (0..200).chain((200..good.len()).step_by(9_973)).chain(good.len() - 600..good.len());
    for at in some {
        let mut bad = good.clone();
        bad[at] ^= 0x10;
        assert!(verify(bad.as_slice()).is_err(), "byte {at}");
    }
    for length in [0, 7, 60, 300, good.len() - 33, good.len() - 1] {
        assert!(matches!(verify(&good[..length]), Err(UnpackError::CutOff)), "{length} bytes");
    }
    let mut longer = good.clone();
    longer.push(0);
    assert!(matches!(verify(longer.as_slice()), Err(UnpackError::Damaged(_))));
    assert!(matches!(verify(&[0; 4096][..]), Err(UnpackError::Foreign)));
}

#[test]
fn a_folder_that_nobody_packs_goes() {
    let root = tempfile::tempdir().expect("a folder");
    drop(ArchiveFiles::take(source(root.path())).expect("plain files"));
    assert!(!root.path().join("source").exists());
    fs::create_dir_all(root.path().join("odd/folder")).expect("made");
    assert!(matches!(ArchiveFiles::take(root.path().join("odd")), Err(MakeError::Unfit(_))));
}
