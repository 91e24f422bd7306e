//! What takes long and is nobody's request: making a snapshot, fetching one, comparing members. One after the
//! other, on a thread with a runtime of its own.

use std::time::{Duration, Instant};

use consensus::Mailbox;
use types::MemberId;

use crate::applier::Applier;
use crate::depot::Depot;
use crate::integrity;
use crate::member::House;

/// How often it looks whether old snapshots can go.
const ROUND: Duration = Duration::from_secs(5);

/// Something to do.
pub(crate) enum Errand {
    /// A snapshot is to be made.
    Make,
    /// The snapshot that is wanted is to be fetched.
    Fetch,
    /// Whether the members hold the same is to be found out; what is wrong with others counts too.
    Compare,
    /// Whether this member holds the same as the others.
    CompareSelf,
}

/// Runs until the box is closed.
pub(crate) fn run(me: MemberId, house: &House, depot: &Depot, applier: &Applier, errands: &Mailbox<Errand>) {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return tracing::error!(%error, "snapshots are neither made nor fetched"),
    };
    let mut taken = Vec::new();
    while errands.take(&mut taken, Some(Instant::now() + ROUND)) {
        for errand in taken.drain(..) {
            match errand {
                Errand::Make => {
                    depot.make(&house.wing, applier);
                    // raft asks again when it hears of the member that waits.
                    house.driver.door().reach_out();
                }
                other => runtime.block_on(async {
                    tokio::select! {
                        () = go(&other, me, house, applier) => {}
                        // Whoever stops the member does not wait for another one's answer.
                        () = house.shared.stopping() => {}
                    }
                }),
            }
        }
        depot.clean(&house.driver.survey());
        applier.clean();
    }
}

async fn go(errand: &Errand, me: MemberId, house: &House, applier: &Applier) {
    match errand {
        Errand::Make => {}
        Errand::Fetch => applier.fetch().await,
        Errand::Compare => integrity::compare(house, me, None).await,
        Errand::CompareSelf => {
            integrity::compare(house, me, Some(me)).await;
            house.shared.set_compared();
        }
    }
}
