# a time to live of 0 makes a node that is due at once; without digits it is none
curl -X PUT $KEYS/now -d value=1 -d ttl=0
----
201 index=4
{"action":"set","node":{"key":"/now","value":"1","expiration":"T+0","modifiedIndex":4,"createdIndex":4}}

curl -X PUT $KEYS/ever -d value=1 -d ttl=
----
201 index=5
{"action":"set","node":{"key":"/ever","value":"1","modifiedIndex":5,"createdIndex":5}}

curl -X PUT $KEYS/short -d value=1 -d ttl=1
----
201 index=6
{"action":"set","node":{"key":"/short","value":"1","expiration":"T+1","ttl":1,"modifiedIndex":6,"createdIndex":6}}

curl -X PUT $KEYS/long -d value=1 -d ttl=100
----
201 index=7
{"action":"set","node":{"key":"/long","value":"1","expiration":"T+100","ttl":100,"modifiedIndex":7,"createdIndex":7}}

# more than 64 bits of nanoseconds wrap around: for a new node that is never, for an old one the past
curl -X PUT $KEYS/overflow -d value=1 -d ttl=10000000000
----
201 index=8
{"action":"set","node":{"key":"/overflow","value":"1","modifiedIndex":8,"createdIndex":8}}

curl -X PUT $KEYS/overflow?prevExist=true -d value=2 -d ttl=10000000000
----
200 index=9
{"action":"update","node":{"key":"/overflow","value":"2","expiration":"T+-8446744074","ttl":-8446744073,"modifiedIndex":9,"createdIndex":8},"prevNode":{"key":"/overflow","value":"1","modifiedIndex":8,"createdIndex":8}}

sleep 2

# each went with an event of its own, in order of time
curl $KEYS/overflow?wait=true&waitIndex=9&recursive=true
----
200 index=12
{"action":"update","node":{"key":"/overflow","value":"2","expiration":"T+-8446744074","ttl":-8446744073,"modifiedIndex":9,"createdIndex":8},"prevNode":{"key":"/overflow","value":"1","modifiedIndex":8,"createdIndex":8}}

curl $KEYS?recursive=true&wait=true&waitIndex=10
----
200 index=12
{"action":"expire","node":{"key":"/overflow","modifiedIndex":10,"createdIndex":8},"prevNode":{"key":"/overflow","value":"2","expiration":"T+-8446744074","ttl":-8446744074,"modifiedIndex":9,"createdIndex":8}}

curl $KEYS?recursive=true&wait=true&waitIndex=11
----
200 index=12
{"action":"expire","node":{"key":"/now","modifiedIndex":11,"createdIndex":4},"prevNode":{"key":"/now","value":"1","expiration":"T+0","modifiedIndex":4,"createdIndex":4}}

curl $KEYS?recursive=true
----
200 index=12
{"action":"get","node":{"dir":true,"nodes":[{"key":"/ever","value":"1","modifiedIndex":5,"createdIndex":5},{"key":"/long","value":"1","expiration":"T+100","ttl":98,"modifiedIndex":7,"createdIndex":7}]}}

# every write says anew how long: set, update and swap without a time make it stay
curl -X PUT $KEYS/long -d value=2
----
200 index=13
{"action":"set","node":{"key":"/long","value":"2","modifiedIndex":13,"createdIndex":13},"prevNode":{"key":"/long","value":"1","expiration":"T+100","ttl":98,"modifiedIndex":7,"createdIndex":7}}

curl -X PUT $KEYS/long?prevExist=true -d value=3 -d ttl=50
----
200 index=14
{"action":"update","node":{"key":"/long","value":"3","expiration":"T+52","ttl":50,"modifiedIndex":14,"createdIndex":13},"prevNode":{"key":"/long","value":"2","modifiedIndex":13,"createdIndex":13}}

curl -X PUT $KEYS/long?prevExist=true -d value=4
----
200 index=15
{"action":"update","node":{"key":"/long","value":"4","modifiedIndex":15,"createdIndex":13},"prevNode":{"key":"/long","value":"3","expiration":"T+52","ttl":50,"modifiedIndex":14,"createdIndex":13}}

curl -X PUT $KEYS/long?prevValue=4 -d value=5 -d ttl=40
----
200 index=16
{"action":"compareAndSwap","node":{"key":"/long","value":"5","expiration":"T+42","ttl":40,"modifiedIndex":16,"createdIndex":13},"prevNode":{"key":"/long","value":"4","modifiedIndex":15,"createdIndex":13}}

curl -X PUT $KEYS/long?prevValue=5 -d value=6
----
200 index=17
{"action":"compareAndSwap","node":{"key":"/long","value":"6","modifiedIndex":17,"createdIndex":13},"prevNode":{"key":"/long","value":"5","expiration":"T+42","ttl":40,"modifiedIndex":16,"createdIndex":13}}

# a directory goes with all that is in it, in one event, and times below it are forgotten
curl -X PUT $KEYS/dir -d dir=true -d ttl=1
----
201 index=18
{"action":"set","node":{"key":"/dir","dir":true,"expiration":"T+3","ttl":1,"modifiedIndex":18,"createdIndex":18}}

curl -X PUT $KEYS/dir/file -d value=1 -d ttl=60
----
201 index=19
{"action":"set","node":{"key":"/dir/file","value":"1","expiration":"T+62","ttl":60,"modifiedIndex":19,"createdIndex":19}}

curl -X PUT $KEYS/dir/sub/file -d value=1 -d ttl=2
----
201 index=20
{"action":"set","node":{"key":"/dir/sub/file","value":"1","expiration":"T+4","ttl":2,"modifiedIndex":20,"createdIndex":20}}

curl -X PUT $KEYS/other/file -d value=1 -d ttl=1
----
201 index=21
{"action":"set","node":{"key":"/other/file","value":"1","expiration":"T+3","ttl":1,"modifiedIndex":21,"createdIndex":21}}

curl -X PUT $KEYS/extended -d value=1 -d ttl=1
----
201 index=22
{"action":"set","node":{"key":"/extended","value":"1","expiration":"T+3","ttl":1,"modifiedIndex":22,"createdIndex":22}}

curl -X PUT $KEYS/extended -d value=1 -d ttl=30
----
200 index=23
{"action":"set","node":{"key":"/extended","value":"1","expiration":"T+32","ttl":30,"modifiedIndex":23,"createdIndex":23},"prevNode":{"key":"/extended","value":"1","expiration":"T+3","ttl":1,"modifiedIndex":22,"createdIndex":22}}

sleep 3

curl $KEYS?recursive=true&wait=true&waitIndex=23
----
200 index=25
{"action":"set","node":{"key":"/extended","value":"1","expiration":"T+32","ttl":30,"modifiedIndex":23,"createdIndex":23},"prevNode":{"key":"/extended","value":"1","expiration":"T+3","ttl":1,"modifiedIndex":22,"createdIndex":22}}

curl $KEYS?recursive=true&wait=true&waitIndex=24
----
200 index=25
{"action":"expire","node":{"key":"/dir","dir":true,"modifiedIndex":24,"createdIndex":18},"prevNode":{"key":"/dir","dir":true,"expiration":"T+3","modifiedIndex":18,"createdIndex":18}}

curl $KEYS?recursive=true
----
200 index=25
{"action":"get","node":{"dir":true,"nodes":[{"key":"/ever","value":"1","modifiedIndex":5,"createdIndex":5},{"key":"/extended","value":"1","expiration":"T+32","ttl":27,"modifiedIndex":23,"createdIndex":23},{"key":"/long","value":"6","modifiedIndex":17,"createdIndex":13},{"key":"/other","dir":true,"modifiedIndex":21,"createdIndex":21}]}}

# a deleted node takes its time with it, and a directory that is updated gets one
curl -X PUT $KEYS/other?prevExist=true&dir=true -d ttl=1
----
200 index=26
{"action":"update","node":{"key":"/other","dir":true,"expiration":"T+6","ttl":1,"modifiedIndex":26,"createdIndex":21},"prevNode":{"key":"/other","dir":true,"modifiedIndex":21,"createdIndex":21}}

curl -X PUT $KEYS/d2/f -d value=1 -d ttl=1
----
201 index=27
{"action":"set","node":{"key":"/d2/f","value":"1","expiration":"T+6","ttl":1,"modifiedIndex":27,"createdIndex":27}}

curl -X DELETE $KEYS/d2?recursive=true
----
200 index=28
{"action":"delete","node":{"key":"/d2","dir":true,"modifiedIndex":28,"createdIndex":27},"prevNode":{"key":"/d2","dir":true,"modifiedIndex":27,"createdIndex":27}}

curl -X PUT $KEYS/d2/f -d value=2
----
201 index=29
{"action":"set","node":{"key":"/d2/f","value":"2","modifiedIndex":29,"createdIndex":29}}

curl -X PUT $KEYS/d3/f -d value=2 -d ttl=1
----
201 index=30
{"action":"set","node":{"key":"/d3/f","value":"2","expiration":"T+6","ttl":1,"modifiedIndex":30,"createdIndex":30}}

curl -X DELETE $KEYS/d3/f?prevValue=2
----
200 index=31
{"action":"compareAndDelete","node":{"key":"/d3/f","modifiedIndex":31,"createdIndex":30},"prevNode":{"key":"/d3/f","value":"2","expiration":"T+6","ttl":1,"modifiedIndex":30,"createdIndex":30}}

curl -X PUT $KEYS/replaced -d value=2 -d ttl=1
----
201 index=32
{"action":"set","node":{"key":"/replaced","value":"2","expiration":"T+6","ttl":1,"modifiedIndex":32,"createdIndex":32}}

curl -X PUT $KEYS/replaced -d dir=true
----
200 index=33
{"action":"set","node":{"key":"/replaced","dir":true,"modifiedIndex":33,"createdIndex":33},"prevNode":{"key":"/replaced","value":"2","expiration":"T+6","ttl":1,"modifiedIndex":32,"createdIndex":32}}

sleep 2

curl $KEYS?recursive=true
----
200 index=34
{"action":"get","node":{"dir":true,"nodes":[{"key":"/d2","dir":true,"nodes":[{"key":"/d2/f","value":"2","modifiedIndex":29,"createdIndex":29}],"modifiedIndex":29,"createdIndex":29},{"key":"/d3","dir":true,"modifiedIndex":30,"createdIndex":30},{"key":"/ever","value":"1","modifiedIndex":5,"createdIndex":5},{"key":"/extended","value":"1","expiration":"T+32","ttl":25,"modifiedIndex":23,"createdIndex":23},{"key":"/long","value":"6","modifiedIndex":17,"createdIndex":13},{"key":"/replaced","dir":true,"modifiedIndex":33,"createdIndex":33}]}}
