# a name that begins with an underscore is left out of the listing of its parent
curl -X PUT $KEYS/a/_hidden -d value=1
----
201 index=4
{"action":"set","node":{"key":"/a/_hidden","value":"1","modifiedIndex":4,"createdIndex":4}}

curl -X PUT $KEYS/a/_dir/x -d value=2
----
201 index=5
{"action":"set","node":{"key":"/a/_dir/x","value":"2","modifiedIndex":5,"createdIndex":5}}

curl -X PUT $KEYS/a/_dir/_y -d value=3
----
201 index=6
{"action":"set","node":{"key":"/a/_dir/_y","value":"3","modifiedIndex":6,"createdIndex":6}}

curl -X PUT $KEYS/a/seen_ -d value=4
----
201 index=7
{"action":"set","node":{"key":"/a/seen_","value":"4","modifiedIndex":7,"createdIndex":7}}

curl $KEYS/a
----
200 index=7
{"action":"get","node":{"key":"/a","dir":true,"nodes":[{"key":"/a/seen_","value":"4","modifiedIndex":7,"createdIndex":7}],"modifiedIndex":4,"createdIndex":4}}

curl $KEYS?recursive=true
----
200 index=7
{"action":"get","node":{"dir":true,"nodes":[{"key":"/a","dir":true,"nodes":[{"key":"/a/seen_","value":"4","modifiedIndex":7,"createdIndex":7}],"modifiedIndex":4,"createdIndex":4}]}}

# by its own path it is as any other
curl $KEYS/a/_hidden
----
200 index=7
{"action":"get","node":{"key":"/a/_hidden","value":"1","modifiedIndex":4,"createdIndex":4}}

curl $KEYS/a/_dir
----
200 index=7
{"action":"get","node":{"key":"/a/_dir","dir":true,"nodes":[{"key":"/a/_dir/x","value":"2","modifiedIndex":5,"createdIndex":5}],"modifiedIndex":5,"createdIndex":5}}

curl -X DELETE $KEYS/a?dir=true
----
403 index=7
{"errorCode":108,"message":"Directory not empty","cause":"/a","index":7}

curl -X DELETE $KEYS/a/seen_
----
200 index=8
{"action":"delete","node":{"key":"/a/seen_","modifiedIndex":8,"createdIndex":7},"prevNode":{"key":"/a/seen_","value":"4","modifiedIndex":7,"createdIndex":7}}

curl $KEYS/a
----
200 index=8
{"action":"get","node":{"key":"/a","dir":true,"modifiedIndex":4,"createdIndex":4}}

curl -X DELETE $KEYS/a?dir=true
----
403 index=8
{"errorCode":108,"message":"Directory not empty","cause":"/a","index":8}

curl -X DELETE $KEYS/a?recursive=true
----
200 index=9
{"action":"delete","node":{"key":"/a","dir":true,"modifiedIndex":9,"createdIndex":4},"prevNode":{"key":"/a","dir":true,"modifiedIndex":4,"createdIndex":4}}
