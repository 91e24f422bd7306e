# a child in order is named by its own index, twenty digits
curl -X POST $KEYS/queue -d value=Job1
----
201 index=4
{"action":"create","node":{"key":"/queue/00000000000000000004","value":"Job1","modifiedIndex":4,"createdIndex":4}}

curl -X POST $KEYS/queue -d value=Job2
----
201 index=5
{"action":"create","node":{"key":"/queue/00000000000000000005","value":"Job2","modifiedIndex":5,"createdIndex":5}}

curl -X PUT $KEYS/other -d value=x
----
201 index=6
{"action":"set","node":{"key":"/other","value":"x","modifiedIndex":6,"createdIndex":6}}

curl -X POST $KEYS/queue/ -d value=Job3
----
201 index=7
{"action":"create","node":{"key":"/queue/00000000000000000007","value":"Job3","modifiedIndex":7,"createdIndex":7}}

curl $KEYS/queue?recursive=true&sorted=true
----
200 index=7
{"action":"get","node":{"key":"/queue","dir":true,"nodes":[{"key":"/queue/00000000000000000004","value":"Job1","modifiedIndex":4,"createdIndex":4},{"key":"/queue/00000000000000000005","value":"Job2","modifiedIndex":5,"createdIndex":5},{"key":"/queue/00000000000000000007","value":"Job3","modifiedIndex":7,"createdIndex":7}],"modifiedIndex":4,"createdIndex":4}}

# also at the root, also as a directory, also with a time to live; parents are made
curl -X POST $KEYS -d value=at-the-root
----
201 index=8
{"action":"create","node":{"key":"/00000000000000000008","value":"at-the-root","modifiedIndex":8,"createdIndex":8}}

curl -X POST $KEYS/deep/er -d dir=true
----
201 index=9
{"action":"create","node":{"key":"/deep/er/00000000000000000009","dir":true,"modifiedIndex":9,"createdIndex":9}}

curl -X POST $KEYS/queue -d value=gone-soon -d ttl=100
----
201 index=10
{"action":"create","node":{"key":"/queue/00000000000000000010","value":"gone-soon","expiration":"T+100","ttl":100,"modifiedIndex":10,"createdIndex":10}}

# not below a file; and not where somebody has taken the name
curl -X POST $KEYS/other -d value=x
----
400 index=10
{"errorCode":104,"message":"Not a directory","cause":"/other","index":10}

curl -X POST $KEYS/other/below -d value=x
----
400 index=10
{"errorCode":104,"message":"Not a directory","cause":"/other","index":10}

curl -X PUT $KEYS/queue/00000000000000000012 -d value=taken
----
201 index=11
{"action":"set","node":{"key":"/queue/00000000000000000012","value":"taken","modifiedIndex":11,"createdIndex":11}}

curl -X POST $KEYS/queue -d value=refused
----
412 index=11
{"errorCode":105,"message":"Key already exists","cause":"/queue/00000000000000000012","index":11}

curl -X PUT $KEYS/other -d value=y
----
200 index=12
{"action":"set","node":{"key":"/other","value":"y","modifiedIndex":12,"createdIndex":12},"prevNode":{"key":"/other","value":"x","modifiedIndex":6,"createdIndex":6}}

curl $KEYS?recursive=true
----
200 index=12
{"action":"get","node":{"dir":true,"nodes":[{"key":"/00000000000000000008","value":"at-the-root","modifiedIndex":8,"createdIndex":8},{"key":"/deep","dir":true,"nodes":[{"key":"/deep/er","dir":true,"nodes":[{"key":"/deep/er/00000000000000000009","dir":true,"modifiedIndex":9,"createdIndex":9}],"modifiedIndex":9,"createdIndex":9}],"modifiedIndex":9,"createdIndex":9},{"key":"/other","value":"y","modifiedIndex":12,"createdIndex":12},{"key":"/queue","dir":true,"nodes":[{"key":"/queue/00000000000000000004","value":"Job1","modifiedIndex":4,"createdIndex":4},{"key":"/queue/00000000000000000005","value":"Job2","modifiedIndex":5,"createdIndex":5},{"key":"/queue/00000000000000000007","value":"Job3","modifiedIndex":7,"createdIndex":7},{"key":"/queue/00000000000000000010","value":"gone-soon","expiration":"T+100","ttl":100,"modifiedIndex":10,"createdIndex":10},{"key":"/queue/00000000000000000012","value":"taken","modifiedIndex":11,"createdIndex":11}],"modifiedIndex":4,"createdIndex":4}]}}
