# set makes a new node of an old one, update keeps when it was created
curl -X PUT $KEYS/f -d value=one
----
201 index=4
{"action":"set","node":{"key":"/f","value":"one","modifiedIndex":4,"createdIndex":4}}

curl -X PUT $KEYS/f -d value=two
----
200 index=5
{"action":"set","node":{"key":"/f","value":"two","modifiedIndex":5,"createdIndex":5},"prevNode":{"key":"/f","value":"one","modifiedIndex":4,"createdIndex":4}}

curl -X PUT $KEYS/f?prevExist=true -d value=three
----
200 index=6
{"action":"update","node":{"key":"/f","value":"three","modifiedIndex":6,"createdIndex":5},"prevNode":{"key":"/f","value":"two","modifiedIndex":5,"createdIndex":5}}

curl -X PUT $KEYS/f?prevExist=true
----
200 index=7
{"action":"update","node":{"key":"/f","value":"","modifiedIndex":7,"createdIndex":5},"prevNode":{"key":"/f","value":"three","modifiedIndex":6,"createdIndex":5}}

curl -X PUT $KEYS/f?prevExist=false -d value=four
----
412 index=7
{"errorCode":105,"message":"Key already exists","cause":"/f","index":7}

curl -X PUT $KEYS/g?prevExist=true -d value=one
----
404 index=7
{"errorCode":100,"message":"Key not found","cause":"/g","index":7}

curl -X PUT $KEYS/g?prevExist=false -d value=one
----
201 index=8
{"action":"create","node":{"key":"/g","value":"one","modifiedIndex":8,"createdIndex":8}}

# compare and swap: value, index, both; a refusal shows both sides of what did not hold
curl -X PUT $KEYS/g?prevValue=zwei -d value=2
----
412 index=8
{"errorCode":101,"message":"Compare failed","cause":"[zwei != one]","index":8}

curl -X PUT $KEYS/g?prevIndex=1 -d value=2
----
412 index=8
{"errorCode":101,"message":"Compare failed","cause":"[1 != 8]","index":8}

curl -X PUT $KEYS/g?prevValue=zwei&prevIndex=1 -d value=2
----
412 index=8
{"errorCode":101,"message":"Compare failed","cause":"[zwei != one] [1 != 8]","index":8}

curl -X PUT $KEYS/g?prevValue=one&prevIndex=1 -d value=2
----
412 index=8
{"errorCode":101,"message":"Compare failed","cause":"[1 != 8]","index":8}

curl -X PUT $KEYS/g?prevValue=zwei&prevIndex=8 -d value=2
----
412 index=8
{"errorCode":101,"message":"Compare failed","cause":"[zwei != one]","index":8}

curl -X PUT $KEYS/g?prevValue=one&prevIndex=8 -d value=2
----
200 index=9
{"action":"compareAndSwap","node":{"key":"/g","value":"2","modifiedIndex":9,"createdIndex":8},"prevNode":{"key":"/g","value":"one","modifiedIndex":8,"createdIndex":8}}

curl -X PUT $KEYS/g?prevValue=2&prevExist=true -d value=
----
200 index=10
{"action":"compareAndSwap","node":{"key":"/g","value":"","modifiedIndex":10,"createdIndex":8},"prevNode":{"key":"/g","value":"2","modifiedIndex":9,"createdIndex":8}}

curl -X PUT $KEYS/g?prevValue=x -d value=3
----
412 index=10
{"errorCode":101,"message":"Compare failed","cause":"[x != ]","index":10}

curl -X PUT $KEYS/g?prevIndex=10 -d value=3
----
200 index=11
{"action":"compareAndSwap","node":{"key":"/g","value":"3","modifiedIndex":11,"createdIndex":8},"prevNode":{"key":"/g","value":"","modifiedIndex":10,"createdIndex":8}}

curl -X PUT $KEYS/missing?prevIndex=10 -d value=3
----
404 index=11
{"errorCode":100,"message":"Key not found","cause":"/missing","index":11}

# an index of 0 compares with nothing, and "must not be there" comes before every condition
curl -X PUT $KEYS/g?prevIndex=0 -d value=4
----
200 index=12
{"action":"set","node":{"key":"/g","value":"4","modifiedIndex":12,"createdIndex":12},"prevNode":{"key":"/g","value":"3","modifiedIndex":11,"createdIndex":8}}

curl -X PUT $KEYS/g?prevIndex=0&prevExist=true -d value=5
----
200 index=13
{"action":"update","node":{"key":"/g","value":"5","modifiedIndex":13,"createdIndex":12},"prevNode":{"key":"/g","value":"4","modifiedIndex":12,"createdIndex":12}}

curl -X PUT $KEYS/g?prevValue=5&prevExist=false -d value=6
----
412 index=13
{"errorCode":105,"message":"Key already exists","cause":"/g","index":13}

# conditions are for files
curl -X PUT $KEYS/dir -d dir=true
----
201 index=14
{"action":"set","node":{"key":"/dir","dir":true,"modifiedIndex":14,"createdIndex":14}}

curl -X PUT $KEYS/dir?prevIndex=14 -d value=1
----
403 index=14
{"errorCode":102,"message":"Not a file","cause":"/dir","index":14}

curl -X DELETE $KEYS/dir?prevIndex=14
----
403 index=14
{"errorCode":102,"message":"Not a file","cause":"/dir","index":14}

curl -X DELETE $KEYS/dir?prevIndex=14&recursive=true
----
403 index=14
{"errorCode":102,"message":"Not a file","cause":"/dir","index":14}

# compare and delete
curl -X DELETE $KEYS/g?prevValue=4
----
412 index=14
{"errorCode":101,"message":"Compare failed","cause":"[4 != 5]","index":14}

curl -X DELETE $KEYS/g?prevIndex=4&prevValue=4
----
412 index=14
{"errorCode":101,"message":"Compare failed","cause":"[4 != 5] [4 != 13]","index":14}

curl -X DELETE $KEYS/g?prevValue=5&dir=true
----
200 index=15
{"action":"compareAndDelete","node":{"key":"/g","modifiedIndex":15,"createdIndex":12},"prevNode":{"key":"/g","value":"5","modifiedIndex":13,"createdIndex":12}}

curl -X DELETE $KEYS/g?prevValue=5
----
404 index=15
{"errorCode":100,"message":"Key not found","cause":"/g","index":15}

curl -X DELETE $KEYS/f?prevIndex=7
----
200 index=16
{"action":"compareAndDelete","node":{"key":"/f","modifiedIndex":16,"createdIndex":5},"prevNode":{"key":"/f","value":"","modifiedIndex":7,"createdIndex":5}}

curl $KEYS
----
200 index=16
{"action":"get","node":{"dir":true,"nodes":[{"key":"/dir","dir":true,"modifiedIndex":14,"createdIndex":14}]}}
