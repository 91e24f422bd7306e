//! The chores of a leader that depend on the time: v2 nodes whose time has come, and telling the cluster who
//! this member is.

use std::sync::Arc;
use std::time::{Duration, Instant};

use command::Command;
use consensus::Mailbox;
use stdx::Clock;
use types::MemberRecord;
use types::v2::{Timestamp, Write};

use crate::member::House;
use crate::ticket::WriteTicket;

/// How often it looks. etcd looks at v2's times twice a second.
const ROUND: Duration = Duration::from_millis(250);
/// How often it looks while it may not act, so that a start waits for no more than that.
const ROUND_BEFORE: Duration = Duration::from_millis(10);

/// Runs until the box is closed; nothing is ever put into it.
pub(crate) fn run(house: &House, clock: &Arc<dyn Clock>, this_member: &MemberRecord, stop: &Mailbox<()>) {
    let mut nothing = Vec::new();
    let mut next = Instant::now();
    while stop.take(&mut nothing, Some(next)) {
        if !house.shared.confirmed() {
            next = Instant::now() + ROUND_BEFORE;
            continue;
        }
        next = Instant::now() + ROUND;
        // Of a member that was removed nothing is told any more.
        let is_told = |known: &MemberRecord| {
            known.name == this_member.name && known.client_urls == this_member.client_urls
        };
        if house.wing.look().members.get(this_member.id).is_some_and(|known| !is_told(&known)) {
            house.propose_silently(&Command::SetMember(this_member.clone()), WriteTicket::silent());
        }
        let now = Timestamp(clock.wall_ns());
        if house.wing.look().v2.next_expiry().is_some_and(|due| due <= now) {
            house.propose_silently(&Command::V2 { write: Write::Expire { now }, now }, WriteTicket::silent());
        }
    }
}
