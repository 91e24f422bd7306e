"""etcd3gw, as its documentation shows it: the JSON interface of three members, given as host:port on the command line."""

import base64
import sys
import threading
import uuid

from etcd3gw.client import Etcd3Client
from etcd3gw.exceptions import ConnectionFailedError

MEMBERS = [address.split(":") for address in sys.argv[1:]]
CLIENTS = [Etcd3Client(host=host, port=int(port), api_path="/v3/", timeout=20) for host, port in MEMBERS]
one, two, three = CLIENTS


def keys():
    assert one.put(key="foo", value="bar")
    assert two.get(key="foo") == [b"bar"]
    assert one.put("foo1", "bar1") and one.put("foo2", "bar2")
    assert three.get("foo", metadata=True)[0][1]["key"] == b"foo"
    assert [value for value, _ in two.get_prefix("foo")] == [b"bar", b"bar1", b"bar2"]
    assert [value for value, _ in two.get_prefix("foo", sort_order="descend", sort_target="key")] == [b"bar2", b"bar1", b"bar"]
    assert len(three.get_all()) == 3
    assert one.create("foo", "again") is False and one.create("new", "1") is True
    assert two.replace("new", "1", "2") is True and two.replace("new", "1", "3") is False
    assert three.get("new") == [b"2"]
    assert one.delete("foo1") is True and one.delete("foo1") is False
    assert two.get("foo1") == []
    assert one.delete_prefix("foo") is True
    assert one.put(b"\x00\xff", b"\xfe\x00") and two.get(b"\x00\xff") == [b"\xfe\x00"]


def leases():
    lease = one.lease(ttl=100)
    assert one.put(key="leased", value="bar", lease=lease)
    assert lease.keys() == [b"leased"]
    assert 98 <= lease.ttl() <= 100
    assert lease.refresh() == 100
    assert two.get("leased", metadata=True)[0][1]["lease"] == str(lease.id)
    assert lease.revoke() is True
    assert three.get("leased") == []
    short = two.lease(ttl=2)
    assert two.put("short", "lived", short)
    events, cancel = three.watch("short", start_revision=1)
    for event in events:
        if event.get("type") == "DELETE":
            break
    cancel()
    assert one.get("short") == []


def transactions():
    name = str(uuid.uuid4())
    text = lambda word: base64.b64encode(word.encode()).decode()
    asked = {
        "compare": [{"key": text(name), "result": "EQUAL", "target": "VERSION", "version": 0}],
        "success": [{"request_put": {"key": text(name), "value": text("won")}}],
        "failure": [{"request_range": {"key": text(name)}}],
    }
    assert one.transaction(asked)["succeeded"] is True
    answer = two.transaction(asked)
    assert "succeeded" not in answer or answer["succeeded"] is False
    assert answer["responses"][0]["response_range"]["kvs"][0]["value"] == text("won")


def locks():
    lock = one.lock("mutex", ttl=60)
    assert lock.acquire() and lock.is_acquired()
    assert not two.lock("mutex", ttl=60).acquire()
    assert lock.refresh() == 60
    assert lock.release() and not lock.is_acquired()
    with three.lock("mutex", ttl=60) as held:
        assert held.is_acquired()


def watches():
    begun, seen = threading.Event(), []
    events, cancel = one.watch("watched", start_revision=1)

    def read():
        for event in events:
            seen.append((event.get("type", "PUT"), event["kv"].get("value")))
            begun.set()
            if len(seen) == 4:
                break

    thread = threading.Thread(target=read)
    thread.start()
    two.put("watched", "1")
    assert begun.wait(20)
    three.put("watched", "2")
    three.put("other", "not seen")
    one.delete("watched")
    two.put("watched", "3")
    thread.join(20)
    assert not thread.is_alive(), seen
    cancel()
    assert seen == [("PUT", b"1"), ("PUT", b"2"), ("DELETE", None), ("PUT", b"3")], seen
    two.put("prefix/a", "x")
    events, cancel = three.watch_prefix("prefix/", start_revision=1)
    assert next(events)["kv"]["key"] == b"prefix/a"
    cancel()
    event = three.watch_once("prefix/a", timeout=20, start_revision=1)
    assert event["kv"]["key"] == b"prefix/a"


def cluster():
    assert len(one.members()) == 3
    assert one.status()["version"].startswith("3.")
    try:
        Etcd3Client(host="127.0.0.1", port=1, api_path="/v3/").put("a", "b")
        raise AssertionError("nobody answers there")
    except ConnectionFailedError:
        pass


for part in (keys, leases, transactions, locks, watches, cluster):
    part()
    print(part.__name__, "as documented", flush=True)
