//! From folder to folder, with all that may come between.

use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use tempfile::TempDir;
use types::{ClusterId, Index, Term};

use super::*;

const CLUSTER: ClusterId = ClusterId(0xabc);
const ID: SnapshotId = SnapshotId { index: Index(0x2a), term: Term(3) };

struct Scene {
    root: TempDir,
    source: PathBuf,
    target: PathBuf,
}

fn content(length: usize, salt: usize) -> Vec<u8> {
    (0..length).map(|at| ((at * 31 + salt) % 251) as u8).collect()
}

/// A folder with an empty file, a small one, one of exactly two chunks and one of a bit more.
fn scene() -> Scene {
    let root = tempfile::tempdir().expect("a folder");
    let (source, target) = (root.path().join("source"), root.path().join(ID.receive_folder()));
    fs::create_dir(&source).expect("a folder");
    let files = [
        ("CURRENT", 0),
        ("MANIFEST-000004", 77),
        ("000007.sst", 2 * CHUNK_BYTES),
        ("000009.sst", 2 * CHUNK_BYTES + 5),
    ];
    for (name, length) in files {
        fs::write(source.join(name), content(length, length + 1)).expect("written");
    }
    fs::hard_link(source.join("000007.sst"), root.path().join("linked")).expect("linked");
    Scene { root, source, target }
}

impl Scene {
    fn manifest(&self) -> Manifest {
        let made = Manifest::make(&self.source, CLUSTER, ID).expect("plain files");
        let read = Manifest::decode(&made.encode(), CLUSTER, ID).expect("as it was written");
        assert_eq!(made, read);
        read
    }

    fn receiver(&self) -> Receiver {
        Receiver::open(&self.target, self.manifest()).expect("a folder")
    }

    fn finished(&self, receiver: Receiver) {
        assert_eq!(receiver.finish().expect("whole"), self.target);
        let names = |folder: &Path| {
            let mut names: Vec<_> =
                fs::read_dir(folder).expect("there").map(|entry| entry.expect("there").file_name()).collect();
            names.sort();
            names
        };
        assert_eq!(names(&self.source), names(&self.target));
        for name in names(&self.source) {
            assert!(
                fs::read(self.source.join(&name)).expect("there")
                    == fs::read(self.target.join(&name)).expect("there")
            );
        }
    }
}

/// Gives a receiver what it wants in pieces of `piece_bytes`, at most `pieces_max` of them.
fn feed(scene: &Scene, receiver: &mut Receiver, piece_bytes: usize, pieces_max: usize) {
    for _ in 0..pieces_max {
        let Some(Wanted { file, offset }) = receiver.wanted() else { return };
        let piece = read_piece(&scene.source, &file, offset, piece_bytes).expect("read").expect("there");
        receiver.push(&file, offset, &piece).expect("right");
    }
}

#[test]
fn a_snapshot_arrives_in_pieces_of_any_size() {
    for piece_bytes in [CHUNK_BYTES, 70_001, 3 * CHUNK_BYTES] {
        let scene = scene();
        let mut receiver = scene.receiver();
        feed(&scene, &mut receiver, piece_bytes, usize::MAX);
        assert_eq!(receiver.received_bytes(), scene.manifest().bytes());
        scene.finished(receiver);
    }
}

#[test]
fn after_a_break_it_goes_on_behind_what_is_there() {
    let scene = scene();
    let mut receiver = scene.receiver();
    feed(&scene, &mut receiver, CHUNK_BYTES / 2, 3);
    let wanted = |file: &str, offset: usize| Some(Wanted { file: file.to_owned(), offset: offset as u64 });
    assert_eq!(receiver.wanted(), wanted("000007.sst", CHUNK_BYTES * 3 / 2));
    receiver.interrupt();
    assert_eq!(receiver.wanted(), wanted("000007.sst", CHUNK_BYTES));
    feed(&scene, &mut receiver, CHUNK_BYTES / 2, 3);
    drop(receiver);
    // The process ended, and a write was torn.
    fs::write(scene.target.join("000009.sst"), content(2 * CHUNK_BYTES - 9, 2 * CHUNK_BYTES + 6))
        .expect("written");
    fs::write(scene.target.join("stray"), "of an earlier one").expect("written");
    let mut receiver = scene.receiver();
    assert_eq!(receiver.wanted(), wanted("000009.sst", CHUNK_BYTES));
    assert_eq!(receiver.received_bytes(), 3 * CHUNK_BYTES as u64);
    feed(&scene, &mut receiver, CHUNK_BYTES, usize::MAX);
    scene.finished(receiver);
    let receiver = scene.receiver();
    assert_eq!(receiver.wanted(), None);
    scene.finished(receiver);
}

#[test]
fn what_is_not_right_is_not_taken_and_wanted_again() {
    let scene = scene();
    let mut receiver = scene.receiver();
    let before = receiver.wanted();
    let mut bad = content(CHUNK_BYTES, 2 * CHUNK_BYTES + 1);
    bad[CHUNK_BYTES - 1] ^= 4;
    for (file, offset, bytes, expect) in [
        ("000007.sst", 0, &bad[..], "chunk 0 of 000007.sst is not what the manifest of the snapshot says"),
        ("000007.sst", 1, &bad[..], "bytes of 000007.sst from 1 on are not wanted now"),
        ("../x", 0, &bad[..], "bytes of ../x from 0 on are not wanted now"),
        ("000007.sst", 0, &vec![0; 3 * CHUNK_BYTES][..], "bytes of 000007.sst from 0 on are not wanted now"),
    ] {
        assert_eq!(receiver.push(file, offset, bytes).expect_err("wrong").to_string(), expect);
        assert_eq!(receiver.wanted(), before);
    }
    let error = receiver.finish().expect_err("nothing is there");
    assert_eq!(error.to_string(), "the snapshot is not whole: 000007.sst is missing, or a part of it");
}

#[test]
fn damage_on_disk_is_found_at_the_end_and_by_the_next_attempt() {
    type Harm = fn(&Path);
    let harms: [(&str, Harm); 4] = [
        ("chunk 1 of 000009.sst", |folder| {
            let mut bytes = fs::read(folder.join("000009.sst")).expect("there");
            bytes[CHUNK_BYTES + 3] ^= 1;
            fs::write(folder.join("000009.sst"), bytes).expect("written");
        }),
        ("chunk 1 of 000007.sst", |folder| {
            let file = fs::File::options().write(true).open(folder.join("000007.sst")).expect("there");
            file.set_len(2 * CHUNK_BYTES as u64 - 1).expect("cut");
        }),
        ("MANIFEST-000004 does not belong", |folder| {
            fs::write(folder.join("MANIFEST-000004"), content(78, 78)).expect("written");
        }),
        ("extra does not belong", |folder| fs::write(folder.join("extra"), "x").expect("written")),
    ];
    for (expect, harm) in harms {
        let scene = scene();
        let mut receiver = scene.receiver();
        // One part comes in another life than the other.
        feed(&scene, &mut receiver, CHUNK_BYTES, 3);
        drop(receiver);
        let mut receiver = scene.receiver();
        feed(&scene, &mut receiver, CHUNK_BYTES, usize::MAX);
        drop(receiver);
        // What this receiver has not written itself it reads again.
        let receiver = scene.receiver();
        harm(&scene.target);
        let error = receiver.finish().expect_err(expect).to_string();
        assert!(error.contains(expect), "{error}");
        let mut receiver = scene.receiver();
        feed(&scene, &mut receiver, CHUNK_BYTES, usize::MAX);
        scene.finished(receiver);
    }
}

#[test]
fn a_file_that_changed_its_length_after_it_was_received_is_found_at_the_end() {
    for length in [2 * CHUNK_BYTES - 1, 2 * CHUNK_BYTES + 1] {
        let scene = scene();
        let mut receiver = scene.receiver();
        feed(&scene, &mut receiver, CHUNK_BYTES, usize::MAX);
        let file = fs::File::options().write(true).open(scene.target.join("000007.sst")).expect("there");
        file.set_len(length as u64).expect("cut");
        let error = receiver.finish().expect_err("too short or too long").to_string();
        assert!(error.contains("000007.sst"), "{error}");
    }
}

#[test]
fn names_that_lead_elsewhere_are_refused() {
    let scene = scene();
    let good = scene.manifest().encode();
    for name in ["../00007.sst", "/00007.sst0", "a/00007.sst", ".00007.sst", "000\u{0}07.sst"] {
        let mut bad = good.to_vec();
        let at = good.windows(10).position(|part| part == b"000007.sst").expect("listed");
        bad.splice(at - 1..at + 10, [&[name.len() as u8], name.as_bytes()].concat());
        let body = bad.len() - 4;
        let crc = crc32c::crc32c(&bad[..body]).to_le_bytes();
        bad[body..].copy_from_slice(&crc);
        assert_eq!(Manifest::decode(&bad, CLUSTER, ID), Err(ManifestError::Name(name.to_owned())));
        assert_eq!(read_piece(&scene.source, name, 0, 10).expect("no error"), None);
    }
    fs::write(scene.source.join("a b"), "x").expect("written");
    assert!(matches!(Manifest::make(&scene.source, CLUSTER, ID), Err(MakeError::Unfit(_))));
}

#[test]
fn a_manifest_that_is_damaged_or_of_something_else_is_refused() {
    let good = scene().manifest().encode();
    for bit in 0..good.len() * 8 {
        let mut bad = good.to_vec();
        bad[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(Manifest::decode(&bad, CLUSTER, ID), Err(ManifestError::Damaged), "bit {bit}");
    }
    for length in 0..good.len() {
        assert_eq!(Manifest::decode(&good[..length], CLUSTER, ID), Err(ManifestError::Damaged), "{length}");
    }
    let other = SnapshotId { index: Index(5), ..ID };
    let refused = Manifest::decode(&good, CLUSTER, other).expect_err("another snapshot");
    assert_eq!(refused, ManifestError::Other { cluster: CLUSTER, id: ID });
    assert!(Manifest::decode(&good, ClusterId(1), ID).is_err());
}

#[test]
fn left_overs_go_and_nothing_else() {
    let scene = scene();
    let root = scene.root.path();
    let keep = SnapshotId { index: Index(9), term: Term(1) };
    for name in [ID.send_folder(), ID.receive_folder(), keep.receive_folder(), "x.send".to_owned()] {
        fs::create_dir(root.join(name)).expect("a folder");
    }
    prune(root, |name| name == keep.receive_folder()).expect("removed");
    let mut names: Vec<_> =
        fs::read_dir(root).expect("there").map(|entry| entry.expect("there").file_name()).collect();
    names.sort();
    assert_eq!(names, ["0000000000000009-0000000000000001.recv", "linked", "source", "x.send"]);
}

#[test]
fn an_id_has_one_name() {
    assert_eq!(ID.to_string(), "000000000000002a-0000000000000003");
    assert_eq!(ID.to_string().parse(), Ok(ID));
    for text in ["", "2a-3", "000000000000002A-0000000000000003", "000000000000002a-0000000000000003-"] {
        assert!(text.parse::<SnapshotId>().is_err(), "{text}");
    }
}

proptest! {
    #[test]
    fn no_bytes_make_decoding_fail_badly(mut bytes in proptest::collection::vec(any::<u8>(), 0..200), head in any::<bool>()) {
        if head {
            let good = empty().encode();
            bytes.splice(0..0, good[..good.len() - 4].iter().copied());
        }
        let crc = crc32c::crc32c(&bytes).to_le_bytes();
        bytes.extend(crc);
        let _ = Manifest::decode(&bytes, CLUSTER, ID);
    }
}

/// A manifest of no files.
fn empty() -> Manifest {
    let folder = tempfile::tempdir().expect("a folder");
    Manifest::make(folder.path(), CLUSTER, ID).expect("an empty folder")
}
