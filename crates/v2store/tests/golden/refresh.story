# a refresh keeps the value and sets the time; each kind of write does the rest as ever
curl -X PUT $KEYS/f -d value=v -d ttl=50
----
201 index=4
{"action":"set","node":{"key":"/f","value":"v","expiration":"T+50","ttl":50,"modifiedIndex":4,"createdIndex":4}}

curl -X PUT $KEYS/f -d ttl=100 -d refresh=true
----
200 index=5
{"action":"set","node":{"key":"/f","value":"v","expiration":"T+100","ttl":100,"modifiedIndex":5,"createdIndex":5},"prevNode":{"key":"/f","value":"v","expiration":"T+50","ttl":50,"modifiedIndex":4,"createdIndex":4}}

curl -X PUT $KEYS/f?prevExist=true -d ttl=200 -d refresh=true
----
200 index=6
{"action":"update","node":{"key":"/f","value":"v","expiration":"T+200","ttl":200,"modifiedIndex":6,"createdIndex":5},"prevNode":{"key":"/f","value":"v","expiration":"T+100","ttl":100,"modifiedIndex":5,"createdIndex":5}}

curl -X PUT $KEYS/f?prevValue=v -d ttl=300 -d refresh=true
----
200 index=7
{"action":"compareAndSwap","node":{"key":"/f","value":"v","expiration":"T+300","ttl":300,"modifiedIndex":7,"createdIndex":5},"prevNode":{"key":"/f","value":"v","expiration":"T+200","ttl":200,"modifiedIndex":6,"createdIndex":5}}

curl -X PUT $KEYS/f?prevValue=w -d ttl=300 -d refresh=true
----
412 index=7
{"errorCode":101,"message":"Compare failed","cause":"[w != v]","index":7}

curl $KEYS/f
----
200 index=7
{"action":"get","node":{"key":"/f","value":"v","expiration":"T+300","ttl":300,"modifiedIndex":7,"createdIndex":5}}

# a node must be there for it, and a directory is refreshed by an update only
curl -X PUT $KEYS/g -d ttl=100 -d refresh=true
----
404 index=7
{"errorCode":100,"message":"Key not found","cause":"/g","index":7}

curl -X PUT $KEYS/g/h -d ttl=100 -d refresh=true
----
404 index=7
{"errorCode":100,"message":"Key not found","cause":"/g","index":7}

curl -X PUT $KEYS/f/h -d ttl=100 -d refresh=true
----
400 index=7
{"errorCode":104,"message":"Not a directory","cause":"/f","index":7}

curl -X PUT $KEYS/d -d dir=true
----
201 index=8
{"action":"set","node":{"key":"/d","dir":true,"modifiedIndex":8,"createdIndex":8}}

curl -X PUT $KEYS/d -d ttl=100 -d refresh=true
----
403 index=8
{"errorCode":102,"message":"Not a file","cause":"/d","index":8}

curl -X PUT $KEYS/d -d dir=true -d ttl=100 -d refresh=true
----
403 index=8
{"errorCode":102,"message":"Not a file","cause":"/d","index":8}

curl -X PUT $KEYS/d?prevExist=true -d ttl=100 -d refresh=true
----
200 index=9
{"action":"update","node":{"key":"/d","dir":true,"expiration":"T+100","ttl":100,"modifiedIndex":9,"createdIndex":8},"prevNode":{"key":"/d","dir":true,"modifiedIndex":8,"createdIndex":8}}

curl $KEYS/d
----
200 index=9
{"action":"get","node":{"key":"/d","dir":true,"expiration":"T+100","ttl":100,"modifiedIndex":8,"createdIndex":8}}

# a refresh that asks for a directory makes one of a file
curl -X PUT $KEYS/f -d dir=true -d ttl=100 -d refresh=true
----
200 index=10
{"action":"set","node":{"key":"/f","dir":true,"expiration":"T+100","ttl":100,"modifiedIndex":10,"createdIndex":10},"prevNode":{"key":"/f","value":"v","expiration":"T+300","ttl":300,"modifiedIndex":7,"createdIndex":5}}

# creating knows no refresh
curl -X PUT $KEYS/new?prevExist=false -d ttl=100 -d refresh=true
----
201 index=11
{"action":"create","node":{"key":"/new","value":"","expiration":"T+100","ttl":100,"modifiedIndex":11,"createdIndex":11}}

curl -X POST $KEYS/queue -d ttl=100 -d refresh=true
----
201 index=12
{"action":"create","node":{"key":"/queue/00000000000000000012","value":"","expiration":"T+100","ttl":100,"modifiedIndex":12,"createdIndex":12}}

# no watcher hears of it: the first event since the beginning, then since the refreshes
curl $KEYS?recursive=true&wait=true&waitIndex=4
----
200 index=12
{"action":"set","node":{"key":"/f","value":"v","expiration":"T+50","ttl":50,"modifiedIndex":4,"createdIndex":4}}

curl $KEYS?recursive=true&wait=true&waitIndex=5
----
200 index=12
{"action":"set","node":{"key":"/d","dir":true,"modifiedIndex":8,"createdIndex":8}}

curl $KEYS?recursive=true&wait=true&waitIndex=9
----
200 index=12
{"action":"create","node":{"key":"/new","value":"","expiration":"T+100","ttl":100,"modifiedIndex":11,"createdIndex":11}}
