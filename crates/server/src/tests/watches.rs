//! Watches on a whole member: what is seen and what is not, slow readers, progress, and how streams end.

use api::{WatchBody, WatchId, WatchReply, WatchSpec, WatchStream};
use types::RangeEnd;

use super::*;

pub(super) fn spec(range: KeyRange, start: Option<u64>) -> WatchSpec {
    WatchSpec {
        range,
        start: start.map(Revision),
        progress_notify: false,
        without_puts: false,
        without_deletes: false,
        prev_kv: true,
        fragment: false,
        id: None,
    }
}

pub(super) async fn next(stream: &mut dyn WatchStream) -> WatchReply {
    let reply = tokio::time::timeout(Duration::from_secs(20), stream.next()).await;
    reply.expect("a reply within 20 s").expect("the stream lives")
}

/// `key=value@revision`, with what was there before.
fn told(reply: &WatchReply) -> Vec<String> {
    let WatchBody::Events { events, .. } = &reply.body else { panic!("no events: {reply:?}") };
    let text = |bytes: &Bytes| String::from_utf8_lossy(bytes).into_owned();
    let shown = |event: &std::sync::Arc<api::SharedEvent>| {
        let types::Event { kv, prev, .. } = &event.event;
        let prev = prev.as_ref().map_or_else(String::new, |prev| format!(" was {}", text(&prev.value)));
        format!("{}={}@{}{prev}", text(&kv.key), text(&kv.value), kv.mod_revision)
    };
    events.iter().map(shown).collect()
}

#[tokio::test]
async fn a_watch_sees_what_comes_after_it_and_nothing_before() {
    let member = Disks::new().start(&config()).await;
    let mut stream = api::Member::watch(&*member, true).expect("opened");
    for round in 0..50 {
        let before = member.put(put("a", format!("{round}"))).await.expect("written").header.revision;
        stream.create(spec(KeyRange::single(key("a")), None));
        let created = next(&mut *stream).await;
        assert!(matches!(created.body, WatchBody::Created), "{created:?}");
        assert_eq!((created.header.revision, created.id), (before, WatchId(round)));
        let after = member.put(put("a", format!("{round}+"))).await.expect("written").header.revision;
        let reply = next(&mut *stream).await;
        assert_eq!(told(&reply), [format!("a={round}+@{after} was {round}")]);
        assert_eq!(reply.header.revision, after);
        stream.progress();
        let progress = next(&mut *stream).await;
        assert!(matches!(progress.body, WatchBody::Progress), "{progress:?}");
        assert_eq!((progress.header.revision, progress.id), (after, WatchId::NONE));
        stream.cancel(WatchId(round));
        let canceled = next(&mut *stream).await;
        assert!(matches!(canceled.body, WatchBody::Canceled { compacted: None, .. }), "{canceled:?}");
    }
    member.stop();
    let ended = tokio::time::timeout(Duration::from_secs(20), stream.next()).await.expect("ends");
    assert_eq!(ended.err(), Some(Fault::Stopped));
    assert_eq!(api::Member::watch(&*member, false).err(), Some(Fault::Stopped));
}

#[tokio::test]
async fn what_cannot_be_watched_is_refused_as_in_etcd() {
    let member = Disks::new().start(&config()).await;
    for value in ["1", "2", "3"] {
        member.put(put("a", value)).await.expect("written");
    }
    member.compact(Compact { revision: 3, physical: true }).await.expect("compacted");
    let mut stream = api::Member::watch(&*member, false).expect("opened");
    for forgotten in [0, 1, 2] {
        stream.create(spec(KeyRange::single(key("a")), Some(forgotten)));
        assert!(matches!(next(&mut *stream).await.body, WatchBody::Created));
        let canceled = next(&mut *stream).await;
        let WatchBody::Canceled { compacted, reason } = canceled.body else { panic!("{canceled:?}") };
        assert_eq!((compacted, reason.as_str(), canceled.header.revision.0), (Some(Revision(3)), "", 0));
    }
    // The compacted revision itself can be had, and what it replaced cannot.
    stream.create(WatchSpec { id: Some(WatchId(7)), ..spec(KeyRange::all(), Some(3)) });
    assert!(matches!(next(&mut *stream).await.body, WatchBody::Created));
    assert_eq!(told(&next(&mut *stream).await), ["a=2@3", "a=3@4 was 2"]);
    let empty = KeyRange { start: "b".into(), end: RangeEnd::Before("a".into()) };
    for (spec, expect) in [
        (spec(empty, None), "mvcc: watcher range is empty"),
        (
            WatchSpec { id: Some(WatchId(7)), ..spec(KeyRange::all(), None) },
            "mvcc: duplicate watch ID provided on the WatchStream",
        ),
    ] {
        stream.create(spec);
        let refused = next(&mut *stream).await;
        let WatchBody::Refused { reason } = refused.body else { panic!("{refused:?}") };
        assert_eq!((reason.as_str(), refused.id, refused.header.revision.0), (expect, WatchId::NONE, 4));
    }
}

#[tokio::test]
async fn a_reader_that_sleeps_gets_everything_later_and_holds_nobody_up() {
    const WRITES: u64 = 3_000;
    let member = Disks::new().start(&config()).await;
    let mut slow = api::Member::watch(&*member, false).expect("opened");
    let mut fast = api::Member::watch(&*member, false).expect("opened");
    for stream in [&mut slow, &mut fast] {
        stream.create(spec(KeyRange::all(), None));
        assert!(matches!(next(&mut **stream).await.body, WatchBody::Created));
    }
    let writer = Arc::clone(&member);
    let writing = tokio::spawn(async move {
        for number in 0..WRITES {
            let value = vec![b'0' + (number % 10) as u8; 4096];
            writer.put(put(["a", "b", "c"][(number % 3) as usize], value)).await.expect("written");
        }
    });
    let follow = async |stream: &mut dyn WatchStream| {
        let mut expect = 2;
        while expect < 2 + WRITES {
            let reply = next(stream).await;
            let WatchBody::Events { events, .. } = &reply.body else { panic!("no events: {reply:?}") };
            for event in events.iter() {
                assert_eq!(event.event.kv.mod_revision.0, expect);
                let replaced = event.event.prev.as_ref().map_or(0, |prev| prev.mod_revision.0);
                assert_eq!(replaced, if expect < 5 { 0 } else { expect - 3 });
                expect += 1;
            }
        }
    };
    follow(&mut *fast).await;
    writing.await.expect("written");
    let metrics = api::Member::metrics(&*member);
    assert!(metrics.contains("etcd_debugging_mvcc_slow_watcher_total 1\n"), "the slow one lags: {metrics}");
    slow.progress();
    follow(&mut *slow).await;
    let progress = next(&mut *slow).await;
    assert!(matches!(progress.body, WatchBody::Progress) && progress.header.revision.0 == 1 + WRITES);
    // It is synced again.
    member.put(put("a", "last")).await.expect("written");
    assert_eq!(told(&next(&mut *slow).await).len(), 1);
}

#[tokio::test]
async fn watches_that_begin_while_others_write_miss_nothing() {
    const WATCHES: usize = 300;
    let member = Disks::new().start(&config()).await;
    let writer = Arc::clone(&member);
    let writing = tokio::spawn(async move {
        for number in 0..2_000 {
            writer.put(put("a", format!("{number}"))).await.expect("written");
        }
    });
    let mut stream = api::Member::watch(&*member, false).expect("opened");
    let mut expect = std::collections::BTreeMap::new();
    let mut asked = std::collections::VecDeque::new();
    while expect.len() < WATCHES || expect.values().any(|next| *next < 2_002) {
        if expect.len() + asked.len() < WATCHES {
            let revision = api::Member::header(&*member).revision;
            let start = (expect.len() % 3 > 0).then_some(1 + revision.0 / (1 + expect.len() as u64 % 2));
            stream.create(spec(KeyRange::single(key("a")), start));
            asked.push_back(start);
        }
        let reply = next(&mut *stream).await;
        match &reply.body {
            WatchBody::Created => {
                let start = asked.pop_front().expect("asked").unwrap_or(reply.header.revision.0 + 1);
                expect.insert(reply.id, start.max(2));
            }
            WatchBody::Events { events, .. } => {
                let next = expect.get_mut(&reply.id).expect("created");
                for event in events.iter() {
                    assert_eq!(event.event.kv.mod_revision.0, *next, "watch {:?}", reply.id);
                    *next += 1;
                }
            }
            other => panic!("{other:?}"),
        }
    }
    writing.await.expect("written");
}

#[tokio::test]
async fn a_quiet_watch_is_told_that_nothing_happened() {
    let config = Config { watch_progress_every: Duration::from_millis(100), ..config() };
    let member = Disks::new().start(&config).await;
    let mut stream = api::Member::watch(&*member, false).expect("opened");
    stream.create(WatchSpec { progress_notify: true, ..spec(KeyRange::single(key("a")), None) });
    assert!(matches!(next(&mut *stream).await.body, WatchBody::Created));
    let revision = member.put(put("b", "1")).await.expect("written").header.revision;
    let progress = loop {
        let progress = next(&mut *stream).await;
        assert!(matches!(progress.body, WatchBody::Progress), "{progress:?}");
        if progress.header.revision >= revision {
            break progress;
        }
    };
    assert_eq!((progress.header.revision, progress.id), (revision, WatchId(0)));
}
