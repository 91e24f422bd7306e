//! Random histories of v2 requests, on the bridge and on v2's own keyspace, which has a model of its own: answers,
//! refusals, listings, what expires and what watchers are told are the same, but for what `alike` leaves out.

use proptest::prelude::*;
use types::v2::{Action, Condition, Node, Watch};
use v2store::V2Store;

use super::*;

const SECOND_NS: i64 = 1_000_000_000;

/// A request, before it is known what the tree holds.
#[derive(Clone, Debug)]
struct Step {
    kind: u8,
    path: &'static str,
    value: &'static str,
    ttl: u8,
    flags: u8,
    /// Take the index that the node has for the condition.
    right: bool,
    wait_s: u8,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let paths = prop::sample::select(vec![
        "/", "/a", "/b", "/a/b", "/a/c", "/a/b/c", "/a/b/d", "/a-b", "/a/_h", "/_h/x", "/q", "/ä/b", "/a.b/c",
    ]);
    let values = prop::sample::select(vec!["", "x", "y"]);
    let step = (0..7_u8, paths, values, 0..12_u8, any::<u8>(), any::<bool>(), 0..3_u8);
    let step = step.prop_map(|(kind, path, value, ttl, flags, right, wait_s)| Step {
        kind,
        path,
        value,
        ttl,
        flags,
        right,
        wait_s,
    });
    prop::collection::vec(step, 1..60)
}

fn write_of(step: &Step, bench: &Bench, now: Timestamp) -> Write {
    let path = Path::clean(step.path);
    let value = Bytes::from_static(step.value.as_bytes());
    let expiry = if step.ttl < 5 { Expiry::after(now, u64::from(step.ttl) + 1) } else { Expiry::Never };
    let (dir, refresh) = (step.flags & 1 > 0, step.flags & 6 == 6);
    let here = bench.get(step.path, false, now).map(|event| event.node);
    let condition = Condition {
        prev_value: (step.flags & 8 > 0).then(|| value.clone()),
        prev_index: Some(if step.right { here.map_or(9, |node| node.modified_index) } else { 7 }),
    };
    match step.kind {
        0 => Write::Set { path, value, dir, expiry, refresh },
        1 => Write::Create { path, value, dir, expiry, in_order: false },
        2 => Write::Create { path, value, dir, expiry, in_order: true },
        3 => Write::Update { path, value, expiry, refresh },
        4 => Write::CompareAndSwap { path, condition, value, expiry, refresh },
        5 => Write::Delete { path, dir, recursive: step.flags & 2 > 0 },
        _ => Write::CompareAndDelete { path, condition },
    }
}

/// Without what differs, as docs/COMPATIBILITY.md says: indexes of directories, and of creation where a file was set
/// over another.
fn alike(node: &Node) -> Node {
    let modified_index = if node.dir { 0 } else { node.modified_index };
    Node { created_index: 0, modified_index, nodes: node.nodes.iter().map(alike).collect(), ..node.clone() }
}

fn alike_event(event: &Event) -> Event {
    let prev_node = event.prev_node.as_ref().map(alike);
    Event { node: alike(&event.node), prev_node, ..event.clone() }
}

/// What a watcher hears, without times: those of leases that are over are not known any more.
fn heard(event: &Event) -> Event {
    let timeless = |node: Node| Node { expiration: None, ttl: 0, ..node };
    let event = alike_event(event);
    let replaces_file = event.action == Action::Set && event.node.dir;
    // Of a file that became a directory nothing is told.
    let prev_node = event.prev_node.filter(|_| !replaces_file).map(timeless);
    Event { node: timeless(event.node), prev_node, ..event }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn v2_alone_cannot_tell_the_bridge_from_its_own_keyspace(steps in steps()) {
        let mut bench = Bench::new();
        let store = Store::open(File::new("/v2"), &Options::in_memory()).expect("open");
        let v2 = V2Store::open(&store).expect("open");
        let mut now = Timestamp(1_700_000_000 * SECOND_NS);
        let own = |write: &Write, now| {
            let mut batch = store.batch();
            v2.apply(write, now, &mut batch)
        };
        for step in &steps {
            now.0 += i64::from(step.wait_s) * SECOND_NS + 1;
            own(&Write::Expire { now, nodes_max: u64::MAX }, now).expect("expired");
            bench.expire(now);
            let write = write_of(step, &bench, now);
            let revision = bench.mvcc.revision();
            let (ours, theirs) = (bench.write(&write, now), own(&write, now));
            let theirs = theirs.map(|events| alike_event(&events[0]));
            prop_assert_eq!(ours.as_ref().map(alike_event).map_err(Clone::clone), theirs, "{:?}", write);
            let made = u64::from(ours.is_ok());
            prop_assert_eq!(bench.mvcc.revision().0, revision.0 + made, "one revision for each write");
            for (path, recursive) in [("/", false), ("/", true), ("/a", false), ("/a/b", true), (step.path, true)] {
                let get = Get { path: Path::clean(path), recursive, sorted: true };
                let (ours, theirs) = (bench.get(path, recursive, now), v2.get(&get, now));
                let ours = ours.as_ref().map(alike_event).map_err(Clone::clone);
                prop_assert_eq!(ours, theirs.as_ref().map(alike_event).map_err(Clone::clone), "{} after {:?}", path, write);
            }
            for (id, terms) in bench.leases.list() {
                prop_assert!(terms.deadline.is_some() && bench.leases.key_count(id) > 0, "a lease without a key");
            }
        }
        let everything = Watch { path: Path::clean("/"), recursive: true, stream: true, since: Some(4) };
        let theirs = v2.seek(&everything, 4, usize::MAX).expect("remembered").events;
        let is_hidden = |event: &Event| event.node.key.contains("/_");
        let theirs: Vec<Event> = theirs.iter().filter(|event| !is_hidden(event)).map(|event| heard(event)).collect();
        for events_max in [1, 3, 1000] {
            let ours = bench.told(4, events_max);
            let ours: Vec<Event> = ours.iter().filter(|event| !is_hidden(event)).map(|event| heard(event)).collect();
            prop_assert_eq!(&ours, &theirs, "by {}", events_max);
        }
    }
}
