# an empty keyspace stands at 3, and its root has neither key nor indexes
curl $KEYS
----
200 index=3
{"action":"get","node":{"dir":true}}

curl $KEYS/?recursive=true&sorted=true
----
200 index=3
{"action":"get","node":{"dir":true}}

# the root cannot be changed, but a conditional delete stumbles over its being a directory first
curl -X PUT $KEYS/ -d value=x
----
400 index=3
{"errorCode":107,"message":"Root is read only","cause":"/","index":3}

curl -X PUT $KEYS/ -d dir=true
----
400 index=3
{"errorCode":107,"message":"Root is read only","cause":"/","index":3}

curl -X PUT $KEYS/?prevExist=true -d ttl=5
----
400 index=3
{"errorCode":107,"message":"Root is read only","cause":"/","index":3}

curl -X PUT $KEYS/?prevExist=false -d value=x
----
400 index=3
{"errorCode":107,"message":"Root is read only","cause":"/","index":3}

curl -X PUT $KEYS/?prevValue=y -d value=x
----
400 index=3
{"errorCode":107,"message":"Root is read only","cause":"/","index":3}

curl -X DELETE $KEYS/?recursive=true
----
400 index=3
{"errorCode":107,"message":"Root is read only","cause":"/","index":3}

curl -X DELETE $KEYS/?prevValue=x
----
403 index=3
{"errorCode":102,"message":"Not a file","index":3}

# directories on the way are made, and carry the index of the write that made them
curl -X PUT $KEYS/a/b/c -d value=x
----
201 index=4
{"action":"set","node":{"key":"/a/b/c","value":"x","modifiedIndex":4,"createdIndex":4}}

curl $KEYS/a
----
200 index=4
{"action":"get","node":{"key":"/a","dir":true,"nodes":[{"key":"/a/b","dir":true,"modifiedIndex":4,"createdIndex":4}],"modifiedIndex":4,"createdIndex":4}}

curl $KEYS/a/b/
----
200 index=4
{"action":"get","node":{"key":"/a/b","dir":true,"nodes":[{"key":"/a/b/c","value":"x","modifiedIndex":4,"createdIndex":4}],"modifiedIndex":4,"createdIndex":4}}

# a file on the way is named by the refusal; what is missing is named where it is first missed
curl $KEYS/a/b/c/d
----
400 index=4
{"errorCode":104,"message":"Not a directory","cause":"/a/b/c","index":4}

curl $KEYS/a/x/y
----
404 index=4
{"errorCode":100,"message":"Key not found","cause":"/a/x","index":4}

curl -X PUT $KEYS/a/b/c/d/e -d value=1
----
400 index=4
{"errorCode":104,"message":"Not a directory","cause":"/a/b/c","index":4}

curl -X PUT $KEYS/a/b/c/d?prevExist=false -d value=1
----
400 index=4
{"errorCode":104,"message":"Not a directory","cause":"/a/b/c","index":4}

curl -X PUT $KEYS/a/b/c/d?prevExist=true -d value=1
----
400 index=4
{"errorCode":104,"message":"Not a directory","cause":"/a/b/c","index":4}

curl -X PUT $KEYS/a/b/c/d?prevValue=1 -d value=1
----
400 index=4
{"errorCode":104,"message":"Not a directory","cause":"/a/b/c","index":4}

curl -X DELETE $KEYS/a/b/c/d
----
400 index=4
{"errorCode":104,"message":"Not a directory","cause":"/a/b/c","index":4}

curl -X DELETE $KEYS/a/x/y?recursive=true
----
404 index=4
{"errorCode":100,"message":"Key not found","cause":"/a/x","index":4}

# a directory is not replaced, not even by a directory; a file is replaced by one
curl -X PUT $KEYS/a/b -d value=1
----
403 index=4
{"errorCode":102,"message":"Not a file","cause":"/a/b","index":4}

curl -X PUT $KEYS/a/b -d dir=true
----
403 index=4
{"errorCode":102,"message":"Not a file","cause":"/a/b","index":4}

curl -X PUT $KEYS/a/b?prevExist=false -d dir=true
----
412 index=4
{"errorCode":105,"message":"Key already exists","cause":"/a/b","index":4}

curl -X PUT $KEYS/a/b/c -d dir=true -d value=ignored
----
200 index=5
{"action":"set","node":{"key":"/a/b/c","dir":true,"modifiedIndex":5,"createdIndex":5},"prevNode":{"key":"/a/b/c","value":"x","modifiedIndex":4,"createdIndex":4}}

curl -X PUT $KEYS/a/b/c/d -d value=
----
201 index=6
{"action":"set","node":{"key":"/a/b/c/d","value":"","modifiedIndex":6,"createdIndex":6}}

# an update of a directory takes no value, and its modified index shows in the event alone
curl -X PUT $KEYS/a/b?prevExist=true -d value=v
----
403 index=6
{"errorCode":102,"message":"Not a file","cause":"/a/b","index":6}

curl -X PUT $KEYS/a/b?prevExist=true&dir=true -d value=
----
200 index=7
{"action":"update","node":{"key":"/a/b","dir":true,"modifiedIndex":7,"createdIndex":4},"prevNode":{"key":"/a/b","dir":true,"modifiedIndex":4,"createdIndex":4}}

curl $KEYS/a/b
----
200 index=7
{"action":"get","node":{"key":"/a/b","dir":true,"nodes":[{"key":"/a/b/c","dir":true,"modifiedIndex":5,"createdIndex":5}],"modifiedIndex":4,"createdIndex":4}}

# deletes ask for "dir" and for "recursive"
curl -X DELETE $KEYS/a/b
----
403 index=7
{"errorCode":102,"message":"Not a file","cause":"/a/b","index":7}

curl -X DELETE $KEYS/a/b?dir=true
----
403 index=7
{"errorCode":108,"message":"Directory not empty","cause":"/a/b","index":7}

curl -X DELETE $KEYS/a/b/c/d?dir=true
----
200 index=8
{"action":"delete","node":{"key":"/a/b/c/d","modifiedIndex":8,"createdIndex":6},"prevNode":{"key":"/a/b/c/d","value":"","modifiedIndex":6,"createdIndex":6}}

curl -X DELETE $KEYS/a/b/c?dir=true
----
200 index=9
{"action":"delete","node":{"key":"/a/b/c","dir":true,"modifiedIndex":9,"createdIndex":5},"prevNode":{"key":"/a/b/c","dir":true,"modifiedIndex":5,"createdIndex":5}}

curl -X DELETE $KEYS/a?recursive=true
----
200 index=10
{"action":"delete","node":{"key":"/a","dir":true,"modifiedIndex":10,"createdIndex":4},"prevNode":{"key":"/a","dir":true,"modifiedIndex":4,"createdIndex":4}}

curl $KEYS/a/b
----
404 index=10
{"errorCode":100,"message":"Key not found","cause":"/a","index":10}

curl $KEYS?recursive=true
----
200 index=10
{"action":"get","node":{"dir":true}}

# names that begin like another lie beside it, not below it
curl -X PUT $KEYS/n/x -d value=1
----
201 index=11
{"action":"set","node":{"key":"/n/x","value":"1","modifiedIndex":11,"createdIndex":11}}

curl -X PUT $KEYS/n-1/x -d value=2
----
201 index=12
{"action":"set","node":{"key":"/n-1/x","value":"2","modifiedIndex":12,"createdIndex":12}}

curl -X PUT $KEYS/n0 -d value=3
----
201 index=13
{"action":"set","node":{"key":"/n0","value":"3","modifiedIndex":13,"createdIndex":13}}

curl -X PUT $KEYS/n%20%C3%A4/x -d value=4
----
201 index=14
{"action":"set","node":{"key":"/n ä/x","value":"4","modifiedIndex":14,"createdIndex":14}}

curl -X DELETE $KEYS/n?recursive=true
----
200 index=15
{"action":"delete","node":{"key":"/n","dir":true,"modifiedIndex":15,"createdIndex":11},"prevNode":{"key":"/n","dir":true,"modifiedIndex":11,"createdIndex":11}}

curl $KEYS?recursive=true&sorted=true
----
200 index=15
{"action":"get","node":{"dir":true,"nodes":[{"key":"/n ä","dir":true,"nodes":[{"key":"/n ä/x","value":"4","modifiedIndex":14,"createdIndex":14}],"modifiedIndex":14,"createdIndex":14},{"key":"/n-1","dir":true,"nodes":[{"key":"/n-1/x","value":"2","modifiedIndex":12,"createdIndex":12}],"modifiedIndex":12,"createdIndex":12},{"key":"/n0","value":"3","modifiedIndex":13,"createdIndex":13}]}}
