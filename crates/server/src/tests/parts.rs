//! A range in parts.

use api::{Consistency, Fault, Member as _, RangeStream};
use types::{KeyRange, KeyValue, RangeQuery, Revision, RevisionBounds, SortOrder, SortTarget};

use super::{Compact, Disks, config, key, put};
use crate::Member;

/// Values so large that a part holds two.
const LARGE: usize = 300 << 10;

async fn filled() -> (Disks, std::sync::Arc<Member>) {
    let disks = Disks::new();
    let member = disks.start(&config()).await;
    for name in ["a", "b", "c", "d", "e"] {
        member.put(put(name, vec![b'x'; LARGE])).await.expect("written");
    }
    (disks, member)
}

async fn stream(member: &Member, query: RangeQuery) -> Result<Box<dyn RangeStream>, Fault> {
    member.range_stream(query, Consistency::Linearizable).await
}

/// The keys of each part, and the last part's `count` and `more`.
async fn parts(member: &Member, query: RangeQuery) -> (Vec<String>, u64, bool) {
    let mut stream = stream(member, query).await.expect("begins");
    let (mut keys, mut last) = (Vec::new(), (0, false));
    while let Some(part) = stream.next().await.expect("a part") {
        assert_eq!(last, (0, false), "only the last part tells");
        let name = |kv: &KeyValue| String::from_utf8_lossy(&kv.key).into_owned();
        keys.push(part.body.kvs.iter().map(name).collect::<String>());
        last = (part.body.count, part.body.more);
        assert_eq!(part.header.revision, Revision(6));
    }
    (keys, last.0, last.1)
}

#[tokio::test]
async fn a_range_comes_in_parts() {
    let (_disks, member) = filled().await;
    let all = RangeQuery::of(KeyRange::all());
    let of = |keys: &[&str]| keys.iter().map(|keys| (*keys).to_owned()).collect::<Vec<_>>();
    assert_eq!(parts(&member, all.clone()).await, (of(&["ab", "cd", "e"]), 5, false));
    assert_eq!(parts(&member, RangeQuery { limit: 3, ..all.clone() }).await, (of(&["ab", "c"]), 5, true));
    assert_eq!(parts(&member, RangeQuery { limit: 4, ..all.clone() }).await, (of(&["ab", "cd"]), 5, true));
    let limited = RangeQuery { limit: 5, ..all.clone() };
    assert_eq!(parts(&member, limited).await, (of(&["ab", "cd", "e"]), 5, false));
    let past = RangeQuery { at: Some(Revision(3)), ..all.clone() };
    assert_eq!(parts(&member, past).await, (of(&["ab"]), 2, false));
    assert_eq!(
        parts(&member, RangeQuery { keys_only: true, ..all.clone() }).await,
        (of(&["abcde"]), 5, false)
    );
    assert_eq!(parts(&member, RangeQuery { count_only: true, ..all }).await, (of(&[""]), 5, false));
    let one = RangeQuery::of(KeyRange::single(key("c")));
    assert_eq!(parts(&member, one).await, (of(&["c"]), 1, false));
    let none = RangeQuery::of(KeyRange::single(key("z")));
    assert_eq!(parts(&member, none).await, (of(&[""]), 0, false));
}

#[tokio::test]
async fn parts_are_of_one_revision_or_there_is_a_fault() {
    let (_disks, member) = filled().await;
    let mut stream = stream(&member, RangeQuery::of(KeyRange::all())).await.expect("begins");
    stream.next().await.expect("a part").expect("the first");
    let newest = member.put(put("c", "new")).await.expect("written").header.revision;
    let part = stream.next().await.expect("a part").expect("the second");
    assert_eq!((part.body.kvs[0].mod_revision, part.header.revision), (Revision(4), Revision(6)));
    member.compact(Compact { revision: newest.to_wire(), physical: false }).await.expect("compacted");
    assert_eq!(stream.next().await, Err(Fault::Compacted));
}

#[tokio::test]
async fn what_a_stream_cannot_be_asked_for() {
    let (_disks, member) = filled().await;
    let all = RangeQuery::of(KeyRange::all());
    let refused = async |query| stream(&member, query).await.err();
    let down = RangeQuery { order: SortOrder::Descend, ..all.clone() };
    assert_eq!(refused(down).await, Some(Fault::StreamSorted));
    let by_value = RangeQuery { target: SortTarget::Value, ..all.clone() };
    assert_eq!(refused(by_value).await, Some(Fault::StreamSorted));
    let bounds = RevisionBounds { min: Some(Revision(3)), max: None };
    assert_eq!(refused(RangeQuery { mod_bounds: bounds, ..all.clone() }).await, Some(Fault::StreamFiltered));
    assert_eq!(refused(RangeQuery { at: Some(Revision(99)), ..all }).await, Some(Fault::FutureRevision));
}
