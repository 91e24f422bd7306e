"""python-etcd against three members: what its documentation shows, and what people build on it.

Each argument is the address of a member. Prints nothing unless something is wrong.
"""
import json
import sys
import threading
import time
import urllib.request

import etcd
from etcd import auth

ADDRESSES = [(host, int(port)) for host, port in (address.rsplit(":", 1) for address in sys.argv[1:])]
PATIENCE_S = 20


def client(number=0, **options):
    host, port = ADDRESSES[number]
    return etcd.Client(host=host, port=port, allow_reconnect=False, **options)


def refused(error, call):
    try:
        call()
    except error as why:
        return why
    raise AssertionError(f"nothing was refused, {error.__name__} was expected")


def later(work):
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def reading_and_writing(c):
    c.write("/n/1", 1)
    assert c.read("/n/1").value == "1"
    c.set("/n/1", 2)
    assert c.get("/n/1").value == "2"
    assert client(1).read("/n/1", quorum=True).value == "2"
    assert "/n/1" in c and "/n/none" not in c
    refused(etcd.EtcdAlreadyExist, lambda: c.write("/n/1", 3, prevExist=False))
    refused(etcd.EtcdKeyNotFound, lambda: c.write("/n/none", 3, prevExist=True))
    result = c.read("/n/1")
    result.value = "changed"
    assert c.update(result).value == "changed"
    refused(etcd.EtcdKeyNotFound, lambda: c.read("/none"))
    refused(etcd.EtcdNotFile, lambda: c.write("/n", "x"))
    refused(etcd.EtcdNotDir, lambda: c.write("/n/1/2", "x"))
    assert c.pop("/n/1").value == "changed"
    refused(etcd.EtcdKeyNotFound, lambda: c.delete("/n/1"))
    c.write("/n/ü ä", "ö ß")
    assert c.read("/n/ü ä").value == "ö ß"


def conditions(c):
    c.write("/c", "a")
    refused(etcd.EtcdCompareFailed, lambda: c.write("/c", "b", prevValue="x"))
    c.write("/c", "b", prevValue="a")
    c.write("/c", "c", prevIndex=c.read("/c").modifiedIndex)
    refused(etcd.EtcdCompareFailed, lambda: c.write("/c", "d", prevIndex=1))
    c.test_and_set("/c", "d", "c")
    refused(ValueError, lambda: c.test_and_set("/c", "e", "c"))
    refused(etcd.EtcdCompareFailed, lambda: c.delete("/c", prevValue="x"))
    c.delete("/c", prevValue="d")


def directories(c):
    c.write("/d/e", None, dir=True)
    assert c.read("/d/e").dir
    for name in "cab":
        c.write(f"/d/{name}", name)
    listed = c.read("/d", recursive=True, sorted=True)
    assert [child.key for child in listed.children] == ["/d/a", "/d/b", "/d/c", "/d/e"]
    first, second = c.write("/q", "first", append=True), c.write("/q", "second", append=True)
    assert first.key == f"/q/{first.createdIndex:020}" and first.key < second.key
    jobs = [child.value for child in c.read("/q", sorted=True).children]
    assert jobs == ["first", "second"], jobs
    refused(etcd.EtcdDirNotEmpty, lambda: c.delete("/d", dir=True))
    c.delete("/d", recursive=True, dir=True)
    assert "/d" not in c


def times_to_live(c):
    c.write("/t/long", "v", ttl=60)
    assert c.read("/t/long").ttl in (59, 60)
    c.write("/t/long", "v", ttl=None)
    assert c.read("/t/long").ttl is None
    c.write("/t/kept", "v", ttl=2)
    c.refresh("/t/kept", 60)
    kept = c.read("/t/kept")
    assert kept.value == "v" and kept.ttl > 50
    c.write("/t/short", "v", ttl=1)
    c.write("/t/dir", None, dir=True, ttl=1)
    c.write("/t/dir/inner", "v")
    deadline = time.time() + PATIENCE_S
    while "/t/short" in c or "/t/dir/inner" in c:
        assert time.time() < deadline, "what is due goes"
        # Between two looks.
        time.sleep(0.1)
    assert "/t/kept" in c


def watches(c):
    c.write("/w", "before")
    begun = c.read("/w").etcd_index

    def write_later():
        # The watch is under way by then, or finds the event in the history.
        time.sleep(0.2)
        client(1).write("/w", "after")

    thread = later(write_later)
    assert c.watch("/w", index=begun + 1, timeout=PATIENCE_S).value == "after"
    thread.join()
    again = c.watch("/w", index=begun + 1, timeout=PATIENCE_S)
    assert again.value == "after" and again.action == "set"
    refused(etcd.EtcdWatchTimedOut, lambda: c.watch("/never", timeout=0.5))
    told, index = [], c.read("/w").etcd_index + 1

    def listen():
        for event in client(2).eternal_watch("/e", index=index, recursive=True):
            told.append((event.action, event.key, event.value))
            if len(told) == 5:
                return

    thread = later(listen)
    for number in range(4):
        client(number % 3).write(f"/e/{number}", number)
    c.delete("/e/0")
    thread.join(PATIENCE_S)
    expected = [("set", f"/e/{number}", str(number)) for number in range(4)] + [("delete", "/e/0", None)]
    assert told == expected, told
    for number in range(1010):
        c.write("/w", number)
    refused(etcd.EtcdEventIndexCleared, lambda: c.watch("/w", index=1, timeout=PATIENCE_S))


def locks(c):
    lock, rival = etcd.Lock(c, "lock"), etcd.Lock(client(1), "lock")
    assert lock.acquire(blocking=True, lock_ttl=30) and lock.is_acquired
    assert not rival.acquire(blocking=False, lock_ttl=30)
    times = []

    def wait():
        rival.acquire(blocking=True, lock_ttl=30)
        times.append(time.time())

    thread = later(wait)
    # Long enough for the rival to get it wrongly.
    time.sleep(0.5)
    assert not times
    released = time.time()
    lock.release()
    thread.join(PATIENCE_S)
    assert times and times[0] >= released and rival.is_acquired
    rival.release()
    with etcd.Lock(client(2), "lock") as held:
        assert held.is_acquired


def elections(c):
    """The recipe that Patroni and others use: whoever makes the key leads, and keeps it by refreshing."""
    def campaign(number):
        try:
            client(number).write("/leader", f"node{number}", prevExist=False, ttl=2)
            return True
        except etcd.EtcdAlreadyExist:
            return False

    won = [number for number in range(3) if campaign(number)]
    assert len(won) == 1, won
    leader = won[0]
    for _ in range(3):
        client(leader).write("/leader", f"node{leader}", prevValue=f"node{leader}", ttl=2)
        assert not any(campaign(number) for number in range(3))
    ended = c.watch("/leader", index=c.read("/leader").modifiedIndex + 1, timeout=PATIENCE_S)
    assert ended.action == "expire", ended.action
    assert campaign((leader + 1) % 3)
    refused(etcd.EtcdException, lambda: client(leader).write("/leader", "x", prevValue=f"node{leader}", ttl=2))


def cluster(c):
    assert len(c.machines) == 3, c.machines
    assert len(c.members) == 3 and c.leader["name"], c.leader
    assert c.stats["name"] and c.store_stats["setsSuccess"] > 0


def users(c):
    """Users and roles, with the classes that python-etcd has for them."""
    root = auth.EtcdUser(c, "root")
    root.password = "open sesame"
    root.write()
    role = auth.EtcdRole(c, "readers")
    role.grant("/public/*", "R")
    role.grant("/own/*", "RW")
    role.write()
    ann = auth.EtcdUser(c, "ann")
    ann.password = "pw"
    ann.roles = ["readers"]
    ann.write()
    c.write("/public/x", "1")
    c.write("/private", "1")
    assert not auth.Auth(c).active
    auth.Auth(c).active = True
    wait_until_judged()
    boss = client(username="root", password="open sesame")
    guest = auth.EtcdRole(boss, "guest")
    guest.read()
    assert guest.acls == {"/*": "RW"}, guest.acls
    guest.revoke("/*", "RW")
    guest.write()
    assert [user["user"] for user in auth.EtcdUser(boss, "root").names] == ["ann", "root"]
    assert [role["role"] for role in auth.EtcdRole(boss, "root").names] == ["guest", "readers", "root"]
    reader = client(username="ann", password="pw")
    assert reader.read("/public/x").value == "1"
    reader.write("/own/y", "2")
    for refuse in (
        lambda: reader.write("/public/x", "2"),
        lambda: reader.read("/private"),
        lambda: c.read("/public/x"),
        lambda: client(username="ann", password="wrong").read("/public/x"),
        lambda: auth.EtcdUser(reader, "ann").names,
    ):
        refused(etcd.EtcdInsufficientPermissions, refuse)
    auth.EtcdUser(boss, "ann").delete()
    refused(etcd.EtcdInsufficientPermissions, lambda: reader.read("/public/x"))
    auth.Auth(boss).active = False
    assert c.read("/private").value == "1"


def wait_until_judged():
    """A member judges by what it has applied: all of them, before somebody asks one that lags."""
    deadline = time.time() + PATIENCE_S
    for host, port in ADDRESSES:
        while not json.load(urllib.request.urlopen(f"http://{host}:{port}/v2/auth/enable"))["enabled"]:
            assert time.time() < deadline, "every member knows"
            # Between two looks.
            time.sleep(0.05)


for part in (
    reading_and_writing, conditions, directories, times_to_live, watches, locks, elections, cluster, users,
):
    try:
        part(client())
    except BaseException:
        print(f"in {part.__name__}:", file=sys.stderr)
        raise
