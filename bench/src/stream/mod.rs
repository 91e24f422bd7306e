//! Streams and what they cost: watches, leases, large answers. Each scenario runs once on one fresh server.
//!
//! A load of calls is described by its rate and latency; a scenario ends with figures of its own, such as events
//! for each second of the server's processor time. Every scenario counts that everything arrived which ought to,
//! and is an error otherwise.
//!
//! Streams are laid out as Go's clientv3 does: one connection for each client, and on it one stream for all watches
//! of the same context, or one for all keepalives.

mod auth;
mod bulk;
mod expiry;
mod fanout;
mod figure;
mod http;
mod idle;
mod keepalive;
mod lag;
mod link;
mod many;
mod meter;
mod v2_expiry;
mod v2_wait;
mod watch;

use anyhow::Result;
use tokio::task::LocalSet;

use self::fanout::Fanout;
pub(crate) use self::figure::{Figure, Wanted};
use self::idle::Idle;

/// The server under load.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    /// Its `host:port`.
    pub(crate) authority: String,
    /// Its process.
    pub(crate) pid: u32,
}

/// Something to be done once, with figures at its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scenario {
    /// Puts whose events go to many watches.
    Fanout(Fanout),
    /// Watches that start far back in history.
    Lag,
    /// Leases kept alive over a few streams.
    Keepalive {
        /// So many on their way on each stream.
        in_flight: u64,
    },
    /// Many leases that expire in the same second.
    Expiry {
        /// Whether each has a key.
        keys: bool,
    },
    /// Watches to which nothing happens.
    Idle(Idle),
    /// Many who wait for one v2 key.
    V2Wait,
    /// Many v2 keys that go in the same second.
    V2Expiry,
    /// Puts of somebody who proves who he is, beside puts where nobody has to.
    AuthPut,
    /// Puts while others prove who they are again and again.
    AuthStorm,
    /// One answer that is larger than anybody should hold in memory.
    Bulk,
}

/// The name of a scenario, and the group that `compare --only` knows.
pub(crate) struct Entry {
    /// The name on the command line.
    pub(crate) name: &'static str,
    /// Its group.
    pub(crate) group: &'static str,
    /// What is done.
    pub(crate) scenario: Scenario,
}

const fn entry(name: &'static str, group: &'static str, scenario: Scenario) -> Entry {
    Entry { name, group, scenario }
}

/// Every scenario.
pub(crate) const SCENARIOS: [Entry; 17] = [
    entry("watch-one", "watch", Scenario::Fanout(Fanout::ONE_KEY)),
    entry("watch-one-streams", "watch", Scenario::Fanout(Fanout::ONE_KEY.on_own_streams())),
    entry("watch-each", "watch", Scenario::Fanout(Fanout::OWN_KEYS)),
    entry("watch-each-calm", "watch", Scenario::Fanout(Fanout::OWN_KEYS_CALM)),
    entry("watch-each-streams", "watch", Scenario::Fanout(Fanout::OWN_KEYS.on_own_streams())),
    entry("watch-lag", "lag", Scenario::Lag),
    entry("keepalive", "lease", Scenario::Keepalive { in_flight: keepalive::TOGETHER }),
    entry("keepalive-single", "lease", Scenario::Keepalive { in_flight: 1 }),
    entry("expiry", "expiry", Scenario::Expiry { keys: false }),
    entry("expiry-keys", "expiry", Scenario::Expiry { keys: true }),
    entry("idle-watches", "idle", Scenario::Idle(Idle::WATCHES)),
    entry("idle-streams", "idle", Scenario::Idle(Idle::STREAMS)),
    entry("bulk", "bulk", Scenario::Bulk),
    entry("v2-wait", "v2-wait", Scenario::V2Wait),
    entry("v2-expiry", "v2-expiry", Scenario::V2Expiry),
    entry("auth-put", "auth", Scenario::AuthPut),
    entry("auth-storm", "auth", Scenario::AuthStorm),
];

/// Names of the groups, in order.
pub(crate) fn groups() -> Vec<&'static str> {
    let mut names: Vec<&str> = SCENARIOS.iter().map(|entry| entry.group).collect();
    names.dedup();
    names
}

impl Scenario {
    /// The scenario called `name`.
    pub(crate) fn named(name: &str) -> Option<Self> {
        SCENARIOS.iter().find(|entry| entry.name == name).map(|entry| entry.scenario)
    }

    /// What is done, in a few words for a table. `scale` divides the counts.
    pub(crate) fn title(self, scale: u64) -> String {
        match self {
            Self::Fanout(fanout) => fanout.title(scale),
            Self::Lag => lag::title(scale),
            Self::Keepalive { in_flight } => keepalive::title(in_flight, scale),
            Self::Expiry { keys } => expiry::title(keys, scale),
            Self::Idle(idle) => idle.title(scale),
            Self::Bulk => bulk::title(scale),
            Self::V2Wait => v2_wait::title(scale),
            Self::V2Expiry => v2_expiry::title(scale),
            Self::AuthPut => auth::put_title(),
            Self::AuthStorm => auth::storm_title(),
        }
    }

    /// About how many seconds it takes, of which most are waiting.
    pub(crate) fn seconds(self) -> u64 {
        match self {
            Self::Fanout(_) | Self::Keepalive { .. } => 8,
            Self::V2Wait => 9,
            Self::AuthPut => 25,
            Self::AuthStorm => 15,
            Self::Lag | Self::Bulk | Self::V2Expiry => 20,
            Self::Expiry { .. } => 60,
            Self::Idle(_) => 10,
        }
    }

    /// Whether the server should be started anew between `prepare` and `measure`, as one that reads is in life.
    pub(crate) fn restarts(self) -> bool {
        self == Self::Bulk
    }

    /// Writes what the scenario wants to find.
    pub(crate) async fn prepare(self, target: &Target, scale: u64) -> Result<()> {
        match self {
            Self::Lag => lag::prepare(target, scale).await,
            Self::Bulk => bulk::prepare(target, scale).await,
            _ => Ok(()),
        }
    }

    /// Does it, and returns what was found.
    pub(crate) async fn measure(self, target: &Target, scale: u64) -> Result<Vec<Figure>> {
        LocalSet::new()
            .run_until(async {
                match self {
                    Self::Fanout(fanout) => fanout.measure(target, scale).await,
                    Self::Lag => lag::measure(target, scale).await,
                    Self::Keepalive { in_flight } => keepalive::measure(target, in_flight, scale).await,
                    Self::Expiry { keys } => expiry::measure(target, keys, scale).await,
                    Self::Idle(idle) => idle.measure(target, scale).await,
                    Self::Bulk => bulk::measure(target, scale).await,
                    Self::V2Wait => v2_wait::measure(target, scale).await,
                    Self::V2Expiry => v2_expiry::measure(target, scale).await,
                    Self::AuthPut => auth::measure_put(target).await,
                    Self::AuthStorm => auth::measure_storm(target).await,
                }
            })
            .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_titles_are_unique() {
        for text in [|entry: &Entry| entry.name.to_owned(), |entry: &Entry| entry.scenario.title(1)] {
            let mut all: Vec<String> = SCENARIOS.iter().map(text).collect();
            all.sort();
            all.dedup();
            assert_eq!(all.len(), SCENARIOS.len());
        }
        assert_eq!(
            groups(),
            ["watch", "lag", "lease", "expiry", "idle", "bulk", "v2-wait", "v2-expiry", "auth"]
        );
    }
}
