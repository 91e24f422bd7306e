//! A member that holds other data than the rest is found, and serves nobody.

use std::time::Duration;

use api::{AlarmAction, Consistency, Fault, Member as _};
use types::{Alarm, AlarmKind};

use super::{Cluster, until};
use crate::Config;
use crate::tests::{everything, put};

/// It does not wait half a minute.
fn suspicious(config: Config) -> Config {
    Config { corrupt_check_every: Some(Duration::from_millis(300)), corrupt_check_at_start: true, ..config }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_differs_is_taken_out_of_service() {
    let cluster = Cluster::with(3, suspicious).await;
    let (leader, wrong) = (cluster.leader().await, cluster.follower().await);
    cluster.member(leader).put(put("a", "1")).await.expect("written");
    cluster.agree().await;
    cluster.member(wrong).applier.disturb(&put("ghost", "?"));
    cluster.member(leader).put(put("a", "2")).await.expect("written");

    let member = cluster.member(wrong);
    until("it knows", || member.house.shared.is_corrupt()).await;
    assert_eq!(member.put(put("b", "1")).await.err(), Some(Fault::Corrupt));
    let all = types::RangeQuery::of(types::KeyRange::all());
    assert_eq!(member.range(all, Consistency::Serializable).await.err(), Some(Fault::Corrupt));
    let alarm = Alarm { member: member.id(), kind: AlarmKind::Corrupt };
    let alarms = cluster.member(leader).alarm(AlarmAction::Get(None)).await.expect("told").body;
    assert_eq!(alarms, [alarm], "nobody else is accused");
    cluster.member(leader).put(put("a", "3")).await.expect("the others go on");
    assert_eq!(everything(cluster.member(leader), Consistency::Linearizable).await, ["a=3@4"]);
}
