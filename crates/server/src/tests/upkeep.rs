//! What operators ask for: snapshots, room on the disk.

use std::fs;
use std::sync::Arc;

use api::{Consistency, Downgrade, Fault, Member as _};
use mvcc::Mvcc;
use sha2::Digest as _;
use store::{Options, Store};
use tempfile::TempDir;
use types::{KeyRange, MemberId, RangeQuery};

use super::{config, everything, put, ready};
use crate::Member;

async fn member_on(folder: &TempDir) -> (Arc<Member>, folder::Folder) {
    let folder = folder::open(folder.path()).expect("free");
    let member = Member::start(&config(), &folder).expect("starts");
    ready(&member).await;
    (member, folder)
}

/// All of a snapshot, with what it told of its length checked.
async fn saved(member: &Member) -> Vec<u8> {
    let mut stream = member.snapshot().await.expect("begins");
    let (mut bytes, mut end) = (Vec::new(), None);
    while let Some(piece) = stream.next().await.expect("readable") {
        bytes.extend_from_slice(&piece.body.bytes);
        let whole = bytes.len() as u64 + piece.body.remaining;
        assert!(*end.get_or_insert(whole) == whole || piece.body.remaining == 0);
    }
    assert_eq!(end, Some(bytes.len() as u64 - 32), "the checksum is not counted, as in etcd");
    bytes
}

#[tokio::test]
async fn a_snapshot_is_everything_at_one_moment() {
    let parent = tempfile::tempdir().expect("a folder for the test");
    let (member, _folder) = member_on(&parent).await;
    for value in 0..100 {
        member.put(put("a", format!("{value}"))).await.expect("written");
    }
    member.put(put("b", vec![7; 900 << 10])).await.expect("written");
    let before = everything(&member, Consistency::Serializable).await;
    let revision = member.header().revision;
    let mut stream = member.snapshot().await.expect("begins");
    let first = stream.next().await.expect("readable").expect("the head");
    assert_eq!(first.header.revision, revision);
    member.put(put("later", "1")).await.expect("written");
    let mut bytes = first.body.bytes.to_vec();
    while let Some(piece) = stream.next().await.expect("readable") {
        bytes.extend_from_slice(&piece.body.bytes);
    }
    assert_eq!(bytes.len() % 512, 32);

    let (file, sum) = bytes.split_last_chunk::<32>().expect("a checksum");
    assert_eq!(sha2::Sha256::digest(file)[..], sum[..]);
    let file = bolt::Reader::open(file.to_vec()).expect("right");
    let head = etcdfile::head(&file).expect("readable").expect("made here");
    assert_eq!((head.revision, head.member, head.cluster), (revision, member.id(), member.cluster()));
    let store = Arc::new(Store::open(&parent.path().join("restored"), &Options::default()).expect("opens"));
    etcdfile::take_sealed(&file, &store).expect("right");
    let keyspace = Mvcc::open(Arc::clone(&store)).expect("opens");
    let (at, reply) = keyspace.range(&RangeQuery::of(KeyRange::all())).expect("readable");
    assert_eq!((at, reply.kvs.len()), (revision, before.len()));
    let machine = apply::Machine::open(store).expect("opens");
    assert_eq!(machine.position().index, head.id.index);
    assert!(machine.members().get(member.id()).is_some(), "who is in the cluster is in it");
    drop(stream);
    let left = fs::read_dir(parent.path().join("member/snap")).expect("there").count();
    assert_eq!(left, 0, "nothing stays behind");
}

#[tokio::test]
async fn snapshots_at_once_are_few() {
    let parent = tempfile::tempdir().expect("a folder for the test");
    let (member, _folder) = member_on(&parent).await;
    let mut some = Vec::new();
    for _ in 0..crate::export::EXPORTS_MAX {
        some.push(member.snapshot().await.expect("begins"));
    }
    assert_eq!(member.snapshot().await.err(), Some(Fault::TooManyRequests));
    drop(some);
    let bytes = saved(&member).await;
    bolt::Reader::open(bytes).expect("right").names().expect("readable");
}

#[tokio::test]
async fn room_is_given_back_while_it_serves() {
    let parent = tempfile::tempdir().expect("a folder for the test");
    let (member, _folder) = member_on(&parent).await;
    for value in 0..50_u8 {
        member.put(put("a", vec![value; 100 << 10])).await.expect("written");
    }
    let revision = member.header().revision;
    member.compact(super::Compact { revision: revision.to_wire(), physical: true }).await.expect("compacted");
    member.defragment().await.expect("accepted");
    member.defragment().await.expect("accepted again");
    member.put(put("b", "1")).await.expect("written");
    super::cluster::until("room is given back", || !member.defragmenter.is_running()).await;
    assert!(member.status().await.expect("answers").body.db_bytes < 1 << 20);
    assert_eq!(everything(&member, Consistency::Linearizable).await.len(), 2);
}

#[tokio::test]
async fn there_is_no_way_down() {
    let parent = tempfile::tempdir().expect("a folder for the test");
    let (member, _folder) = member_on(&parent).await;
    let ask = async |action| member.downgrade(action).await.map(|reply| reply.body);
    assert_eq!(ask(Downgrade::Validate("x".to_owned())).await, Err(Fault::BadVersion));
    assert_eq!(ask(Downgrade::Validate("3.6.0".to_owned())).await, Err(Fault::BadDowngrade));
    assert_eq!(ask(Downgrade::Enable("3.6".to_owned())).await, Err(Fault::BadDowngrade));
    assert_eq!(ask(Downgrade::Cancel).await.as_deref(), Ok("3.7"));
    assert_ne!(member.id(), MemberId(0));
}
