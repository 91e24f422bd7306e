"""etcd3, as its documentation shows it: the gRPC interface of three members, given as host:port on the command line."""

import io
import sys
import threading

import etcd3

MEMBERS = [address.split(":") for address in sys.argv[1:]]
one, two, three = [etcd3.client(host=host, port=int(port), timeout=20) for host, port in MEMBERS]


def keys():
    one.put("bar", "doot")
    value, meta = two.get("bar")
    assert value == b"doot" and meta.key == b"bar" and meta.version == 1
    assert three.delete("bar") is True and three.delete("bar") is False
    assert one.get("bar") == (None, None)
    for number in range(20):
        one.put(f"/doot/range{number}", f"i am a range {number}")
    assert len(list(two.get_prefix("/doot/range"))) == 20
    assert len(list(two.get_range("/doot/range1", "/doot/range2"))) == 11
    assert len(list(three.get_prefix("/doot/range", keys_only=True))) == 20
    values = [meta.key for _, meta in three.get_prefix("/doot/range", sort_order="descend", sort_target="create")]
    assert values[0] == b"/doot/range19"
    assert len(list(one.get_all())) >= 20
    assert one.delete_prefix("/doot/range").deleted == 20
    assert one.put_if_not_exists("once", "1") is True and two.put_if_not_exists("once", "2") is False
    assert two.replace("once", "1", "2") is True and two.replace("once", "1", "3") is False
    assert two.put("once", "4", prev_kv=True).prev_kv.value == b"2"


def transactions():
    one.put("/doot/testing", "doot")
    done, answers = two.transaction(
        compare=[
            two.transactions.value("/doot/testing") == "doot",
            two.transactions.version("/doot/testing") > 0,
        ],
        success=[two.transactions.put("/doot/testing", "success"), two.transactions.get("/doot/testing")],
        failure=[two.transactions.put("/doot/testing", "failure")],
    )
    assert done and answers[1][0][0] == b"success"
    done, answers = three.transaction(
        compare=[three.transactions.create("/doot/testing") == 0],
        success=[],
        failure=[three.transactions.get("/doot/testing"), three.transactions.delete("/doot/testing")],
    )
    assert not done and answers[0][0][0] == b"success"
    assert one.get("/doot/testing") == (None, None)


def leases():
    lease = one.lease(60)
    one.put("leased", "1", lease=lease)
    assert lease.granted_ttl == 60 and 58 <= lease.remaining_ttl <= 60 and list(lease.keys) == [b"leased"]
    assert lease.refresh()[0].TTL == 60
    assert two.get("leased")[1].lease_id == lease.id
    lease.revoke()
    assert three.get("leased") == (None, None)


def locks():
    with one.lock("doot-machine", ttl=60) as lock:
        assert lock.is_acquired()
        assert two.lock("doot-machine", ttl=60).acquire(timeout=1) is False
    lock = three.lock("doot-machine", ttl=60)
    assert lock.acquire() is True and lock.refresh()[0].TTL == 60
    assert lock.release() is True and not lock.is_acquired()


def watches():
    events, cancel = one.watch("/doot/watch", start_revision=1)
    two.put("/doot/watch", "1")
    first = next(events)
    assert isinstance(first, etcd3.events.PutEvent) and first.value == b"1"
    two.put("/doot/watch", "2")
    assert next(events).value == b"2"
    three.delete("/doot/watch")
    assert isinstance(next(events), etcd3.events.DeleteEvent)
    cancel()
    events, cancel = two.watch_prefix("/doot/prefix/", start_revision=1, prev_kv=True)
    one.put("/doot/prefix/a", "1")
    one.put("/doot/prefix/b", "2")
    assert [next(events).key, next(events).key] == [b"/doot/prefix/a", b"/doot/prefix/b"]
    one.put("/doot/prefix/a", "3")
    assert next(events).prev_value == b"1"
    cancel()
    seen, got = [], threading.Event()

    def on(response):
        seen.extend(response.events)
        got.set()

    watch_id = three.add_watch_callback("/anotherkey", on)
    one.put("/anotherkey", "1")
    assert got.wait(20) and seen[0].value == b"1"
    three.cancel_watch(watch_id)
    revision = one.get("/anotherkey")[1].mod_revision
    one.compact(revision)
    # The compaction was answered by one member; a read at another is answered when that has it too.
    two.get("/anotherkey")
    events, cancel = two.watch("/doot/watch", start_revision=2)
    try:
        next(events)
        raise AssertionError("that was compacted")
    except etcd3.exceptions.RevisionCompactedError as error:
        assert error.compacted_revision == revision, error.compacted_revision


def cluster():
    members = list(one.members)
    assert len(members) == 3 and all(member.client_urls for member in members)
    status = one.status()
    assert status.version.startswith("3.") and status.leader is not None and status.db_size > 0
    assert list(one.list_alarms()) == []
    assert list(one.create_alarm())[0].alarm_type == 1
    assert len(list(two.list_alarms())) == 1
    assert list(one.disarm_alarm()) is not None
    assert list(three.list_alarms()) == []
    assert one.hash() > 0
    one.defragment()
    backup = io.BytesIO()
    two.snapshot(backup)
    assert len(backup.getvalue()) > 32


for part in (keys, transactions, leases, locks, watches, cluster):
    part()
    print(part.__name__, "as documented", flush=True)
