//! A follower whose state machine is behind its log, step by step.

use raft::eraftpb::{Entry, Message, MessageType};

use super::*;
use crate::envelope::Body;

const LEADER: MemberId = MemberId(8);
const ME: MemberId = MemberId(7);

fn follower(wal: &Wal, hard_state: HardState) -> TestReplica {
    let config = ReplicaConfig { voters: vec![ME, LEADER], ..config(BOOTSTRAP_INDEX) };
    Replica::new(&config, wal.reader(), hard_state, Arc::new(NoSnapshots)).expect("the replica starts")
}

/// The leader's entry at `index`, which is committed already.
fn append(replica: &mut TestReplica, index: u64, data: Vec<u8>) {
    let entry = Entry { index, term: 2, data: data.into(), ..Entry::default() };
    let mut message = Message { from: LEADER.0, to: ME.0, term: 2, commit: index, ..Message::default() };
    message.set_msg_type(MessageType::MsgAppend);
    (message.index, message.log_term) = (index - 1, if index == 2 { 1 } else { 2 });
    message.entries = vec![entry].into();
    replica.receive(Envelope { from: LEADER, to: ME, body: Body::Raft(message) });
}

#[test]
fn a_snapshot_waits_until_what_was_handed_out_is_applied() {
    let (mut wal, hard_state) = open(&DoubleDisk::default());
    let mut replica = follower(&wal, hard_state);
    append(&mut replica, 2, Vec::new());
    assert_eq!(work(&mut replica, &mut wal), ["2@2  []"]);
    let (voters, id) = (vec![ME, LEADER], Bytes::from_static(b"s"));
    let mark = SnapshotMark { index: Index(9), term: Term(2), voters, learners: Vec::new(), id };
    replica.snapshot_fetched(SnapshotOffer { from: LEADER, mark: mark.clone() });
    // Entry 2 may hold a change of the members, which is told when it is applied.
    assert!(replica.output().is_none());
    replica.applied(Index(2));
    let append = replica.output().expect("work").append.expect("something to write");
    assert_eq!(append.snapshot, Some(mark));
}

#[test]
fn what_waits_to_be_applied_is_bounded() {
    let (mut wal, hard_state) = open(&DoubleDisk::default());
    let mut replica = follower(&wal, hard_state);
    let mut last = BOOTSTRAP_INDEX;
    while replica.last_index().0 == last {
        last += 1;
        assert!(last < 200, "it takes in whatever comes");
        append(&mut replica, last, vec![0; 1 << 20]);
        work(&mut replica, &mut wal);
    }
    replica.applied(Index(last - 1));
    append(&mut replica, last, Vec::new());
    assert_eq!(work(&mut replica, &mut wal), [format!("{last}@2  []")]);
}

#[test]
fn a_read_request_without_a_context_is_none() {
    let mut message = Message { from: LEADER.0, to: ME.0, ..Message::default() };
    message.set_msg_type(MessageType::MsgReadIndex);
    let check = |message: &Message| {
        let bytes = Envelope { from: LEADER, to: ME, body: Body::Raft(message.clone()) }.encode();
        Envelope::decode(LEADER, ME, bytes).map(|_| ())
    };
    assert_eq!(check(&message), Err(DecodeError::Malformed));
    message.entries = vec![Entry::default()].into();
    assert_eq!(check(&message), Ok(()));
}
