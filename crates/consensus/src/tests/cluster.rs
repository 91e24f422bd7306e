//! Several replicas: stories that a stranger can read.

use types::{MemberId, Term};

use super::net::{Net, check};
use crate::{Change, Kind, PeerState, Role, Seat};

fn three() -> Net {
    let mut net = Net::new(3);
    net.elect(1);
    check(&mut net, "1 leads in term 2");
    net
}

#[test]
fn a_follower_forwards_writes_and_asks_for_reads() {
    let mut net = three();
    net.propose(1, "a");
    net.propose(2, "b");
    net.read(3, "r");
    net.run();
    net.read(3, "s");
    net.run();
    check(
        &mut net,
        "1 got a at 3
         2 got b at 4
         3 reads r at 2
         3 reads s at 4",
    );
    net.check_same(&[1, 2, 3]);
}

#[test]
fn a_write_commits_without_the_slowest_disk_and_never_before_a_majority_has_it() {
    let mut net = three();
    net.nodes.get_mut(&3).expect("there").slow_disk = true;
    net.propose(1, "a");
    net.run();
    check(&mut net, "1 got a at 3");
    net.nodes.get_mut(&2).expect("there").slow_disk = true;
    net.propose(1, "b");
    net.run();
    check(&mut net, "");
    assert!(net.write_one(3) && net.write_one(3));
    net.run();
    check(&mut net, "1 got b at 4");
}

#[test]
fn the_end_of_a_leaders_process_is_followed_by_an_election_at_once() {
    let mut net = three();
    net.crash(1);
    for id in [2, 3] {
        net.replica(id).gone(MemberId(1));
    }
    net.propose(2, "a");
    // Fewer than an election time-out.
    net.tick(9);
    let story = net.story();
    assert!(story.contains("2 got a"), "{story}");
}

#[test]
fn who_takes_a_living_leader_for_gone_changes_nothing() {
    let mut net = three();
    let term = net.replica(1).standing().term;
    net.replica(3).gone(MemberId(1));
    net.tick(30);
    net.propose(3, "a");
    net.run();
    assert_eq!(net.replica(1).standing().term, term);
    let story = net.story();
    assert!(story.contains("3 got a"), "{story}");
}

#[test]
fn what_comes_while_nobody_leads_waits() {
    let mut net = Net::new(3);
    net.propose(2, "a");
    net.read(3, "r");
    net.run();
    check(&mut net, "");
    net.elect(1);
    net.tick(1);
    check(
        &mut net,
        "1 leads in term 2
         2 got a at 3
         3 reads r at 3",
    );
}

#[test]
fn a_leader_that_was_cut_off_overtakes_nobody_and_reads_nothing_old() {
    let mut net = three();
    for other in [2, 3] {
        net.cut.extend([(1, other), (other, 1)]);
    }
    net.propose(1, "lost");
    net.read(1, "old");
    net.run();
    net.elect(2);
    net.propose(2, "b");
    net.run();
    net.propose(3, "c");
    net.run();
    check(
        &mut net,
        "2 leads in term 3
         2 got b at 4
         3 got c at 5",
    );
    assert_eq!(net.replica(1).standing().role, Role::Leader);
    net.cut.clear();
    net.tick(2);
    check(
        &mut net,
        "1 refused lost: Overtaken
         1 reads old at 5",
    );
    net.check_same(&[1, 2, 3]);
}

#[test]
fn a_paused_leader_answers_reads_only_through_the_new_one() {
    let mut net = three();
    net.nodes.get_mut(&1).expect("there").paused = true;
    net.elect(2);
    net.propose(2, "b");
    net.run();
    net.nodes.get_mut(&1).expect("there").paused = false;
    net.read(1, "r");
    net.work_all();
    net.wires.clear();
    net.tick(4);
    check(
        &mut net,
        "2 leads in term 3
         2 got b at 4
         1 reads r at 4",
    );
}

#[test]
fn what_was_forwarded_to_a_leader_that_never_got_it_goes_to_the_next() {
    let mut net = three();
    net.nodes.get_mut(&1).expect("there").paused = true;
    net.propose(3, "a");
    net.run();
    net.elect(2);
    check(
        &mut net,
        "2 leads in term 3
         3 got a at 4",
    );
}

#[test]
fn a_copy_of_a_forwarded_proposal_is_taken_once() {
    let mut net = three();
    net.propose(2, "a");
    net.work_all();
    let copies: Vec<_> = net.wires.iter().cloned().collect();
    net.wires.extend(copies.clone());
    net.run();
    net.wires.extend(copies.clone());
    net.run();
    // And by no later leader.
    net.replica(1).transfer(MemberId(3));
    net.run();
    for mut copy in copies {
        copy.to = MemberId(3);
        net.wires.push_back(copy);
    }
    net.run();
    check(
        &mut net,
        "2 got a at 3
         3 leads in term 3",
    );
}

#[test]
fn lost_messages_cost_time_and_nothing_else() {
    let mut net = three();
    net.propose(1, "a");
    net.work_all();
    net.wires.clear();
    net.replica(1).unreachable(MemberId(2));
    net.replica(1).unreachable(MemberId(3));
    net.tick(2);
    check(&mut net, "1 got a at 3");
    net.read(2, "r");
    net.work_all();
    net.wires.clear();
    net.tick(4);
    check(&mut net, "2 reads r at 3");
    net.check_same(&[1, 2, 3]);
}

#[test]
fn a_chore_is_done_by_the_leader_of_its_term_or_not_at_all() {
    let mut net = three();
    net.propose_as(1, "a", Kind::Chore(Term(2)));
    net.propose_as(1, "b", Kind::Chore(Term(1)));
    net.propose_as(2, "c", Kind::Chore(Term(2)));
    net.run();
    check(
        &mut net,
        "1 refused b: NotLeader
         2 refused c: NotLeader
         1 got a at 3",
    );
}

#[test]
fn the_lead_is_handed_over_and_what_came_meanwhile_goes_on() {
    let mut net = three();
    net.nodes.get_mut(&3).expect("there").slow_disk = true;
    net.propose(1, "a");
    net.run();
    net.replica(1).transfer(MemberId(3));
    net.propose(1, "b");
    net.propose(2, "c");
    net.run();
    check(&mut net, "1 got a at 3");
    assert_eq!(net.replica(1).survey().transferee, MemberId(3));
    net.nodes.get_mut(&3).expect("there").slow_disk = false;
    net.run();
    check(
        &mut net,
        "3 leads in term 3
         1 got b at 5
         2 got c at 6",
    );
    net.check_same(&[1, 2, 3]);
}

#[test]
fn a_lead_that_cannot_be_handed_over_stays_and_serves() {
    let mut net = three();
    net.cut.insert((1, 3));
    net.replica(1).transfer(MemberId(3));
    net.propose(1, "a");
    net.tick(11);
    check(&mut net, "1 got a at 3");
}

#[test]
fn a_new_member_listens_first_and_gets_a_snapshot() {
    let mut net = three();
    net.propose(1, "a");
    net.run();
    net.story();
    net.join(4, &[1, 2, 3]);
    let add = Kind::Change(Change::AddLearner(MemberId(4)));
    net.propose_as(2, "add4", add);
    net.propose_as(1, "add5", Kind::Change(Change::AddLearner(MemberId(5))));
    net.run();
    net.tick(3);
    check(
        &mut net,
        "1 got add5 at 4
         2 refused add4: ChangePending",
    );
    net.propose_as(2, "add4-again", add);
    net.run();
    net.tick(2);
    check(
        &mut net,
        "2 got add4-again at 5
         4 fetched 5 from 1
         4 installed 5",
    );
    net.propose_as(4, "promote", Kind::Change(Change::Promote(MemberId(4))));
    net.read(4, "r");
    net.run();
    check(
        &mut net,
        "4 got promote at 6
         4 reads r at 5",
    );
    assert_eq!(net.replica(4).standing().seat, Seat::Voter);
    net.tick(2);
    net.check_same(&[1, 2, 3, 4]);
    // It counts: with it, two of the others may be gone.
    net.propose_as(1, "remove5", Kind::Change(Change::Remove(MemberId(5))));
    net.run();
    net.crash(2);
    net.propose(4, "b");
    net.run();
    check(
        &mut net,
        "1 got remove5 at 7
         4 got b at 8",
    );
}

#[test]
fn a_removed_member_falls_silent() {
    let mut net = three();
    net.propose_as(1, "remove3", Kind::Change(Change::Remove(MemberId(3))));
    net.tick(2);
    assert_eq!(net.replica(3).standing().seat, Seat::None);
    net.tick(50);
    check(&mut net, "1 got remove3 at 3");
    assert_eq!(net.replica(1).standing().term, Term(2));
}

#[test]
fn a_removed_leader_steps_down_and_the_others_go_on() {
    let mut net = three();
    net.propose_as(1, "remove1", Kind::Change(Change::Remove(MemberId(1))));
    net.run();
    assert_eq!(net.replica(1).standing().role, Role::Follower);
    net.tick(30);
    net.propose(2, "b");
    net.propose(3, "c");
    net.tick(1);
    net.check_same(&[2, 3]);
    let story = net.story();
    assert!(story.contains("got b") && story.contains("got c"), "{story}");
    assert_eq!(net.replica(1).standing().seat, Seat::None);
    assert_eq!(net.replica(1).standing().role, Role::Follower);
}

#[test]
fn from_one_to_three_and_back_to_another_one() {
    let mut net = Net::new(1);
    net.run();
    net.story();
    for id in [2, 3] {
        net.join(id, &[1]);
        net.propose_as(1, &format!("add{id}"), Kind::Change(Change::AddVoter(MemberId(id))));
        net.tick(3);
    }
    check(
        &mut net,
        "1 got add2 at 3
         2 fetched 3 from 1
         2 installed 3
         1 got add3 at 4
         3 fetched 4 from 1
         3 installed 4",
    );
    net.check_same(&[1, 2, 3]);
    net.replica(1).transfer(MemberId(2));
    net.run();
    for id in [1, 3] {
        net.propose_as(2, &format!("remove{id}"), Kind::Change(Change::Remove(MemberId(id))));
        net.tick(2);
    }
    net.propose(2, "alone");
    net.run();
    check(
        &mut net,
        "2 leads in term 3
         2 got remove1 at 6
         2 got remove3 at 7
         2 got alone at 8",
    );
}

#[test]
fn a_follower_that_the_log_has_left_behind_gets_a_snapshot_and_starts_from_it() {
    let mut net = three();
    net.crash(3);
    for command in ["a", "b", "c"] {
        net.propose(1, command);
        net.run();
    }
    net.flush_and_release(1);
    net.story();
    net.start(3);
    net.tick(2);
    check(
        &mut net,
        "3 fetched 5 from 1
         3 installed 5",
    );
    net.propose(3, "d");
    net.run();
    net.check_same(&[1, 2, 3]);
    net.crash(3);
    net.start(3);
    net.tick(2);
    net.check_same(&[1, 2, 3]);
    check(&mut net, "3 got d at 6");
}

#[test]
fn an_offer_that_was_lost_or_failed_is_made_again() {
    let mut net = three();
    net.crash(3);
    net.propose(1, "a");
    net.run();
    net.flush_and_release(1);
    net.story();
    net.fetches = false;
    net.start(3);
    net.tick(3);
    let peer = net.replica(1).survey().peers[1];
    assert_eq!((peer.id, peer.state), (MemberId(3), PeerState::Snapshot));
    // The receiver starts anew and knows of nothing.
    net.crash(3);
    net.start(3);
    net.fetches = true;
    net.tick(11);
    check(
        &mut net,
        "3 fetched 3 from 1
         3 installed 3",
    );
    net.check_same(&[1, 2, 3]);
}

/// A late refusal can make raft look before what a member has acknowledged, where the log is gone.
#[test]
fn a_member_that_is_offered_what_it_has_gets_entries_again() {
    let mut net = three();
    net.propose(1, "a");
    net.run();
    net.flush_and_release(1);
    let progress = net.replica(1).node.raft.mut_prs().get_mut(3).expect("a follower");
    progress.become_probe();
    progress.next_idx = 2;
    net.propose(1, "b");
    net.run();
    assert_eq!(net.replica(1).survey().peers[1].state, PeerState::Snapshot);
    net.tick(3);
    net.propose(1, "c");
    net.run();
    assert_eq!(net.replica(1).survey().peers[1].state, PeerState::Replicate);
    net.check_same(&[1, 2, 3]);
}

#[test]
fn entries_behind_a_snapshot_wait_for_it_on_a_slow_disk() {
    let mut net = three();
    net.crash(3);
    net.propose(1, "a");
    net.run();
    net.flush_and_release(1);
    net.start(3);
    net.nodes.get_mut(&3).expect("there").slow_disk = true;
    net.tick(3);
    net.propose(1, "b");
    net.propose(2, "c");
    net.tick(25);
    net.story();
    while net.write_one(3) {
        net.run();
    }
    net.nodes.get_mut(&3).expect("there").slow_disk = false;
    net.tick(2);
    check(&mut net, "3 installed 3");
    net.check_same(&[1, 2, 3]);
}

#[test]
fn a_log_that_is_slow_to_read_delays_who_lags_and_no_heartbeat() {
    let mut net = three();
    net.elect(2);
    net.crash(3);
    for command in ["a", "b", "c"] {
        net.propose(2, command);
        net.run();
    }
    // After a start nothing of the log is in memory.
    net.crash(2);
    net.start(2);
    net.elect(2);
    net.story();
    net.nodes.get_mut(&2).expect("there").slow_reading = true;
    net.start(3);
    net.tick(40);
    net.propose(1, "d");
    net.run();
    check(&mut net, "1 got d at 8");
    assert!(net.nodes[&3].machine.index < 5);
    net.nodes.get_mut(&2).expect("there").slow_reading = false;
    net.tick(2);
    net.check_same(&[1, 2, 3]);
    check(&mut net, "");
}
