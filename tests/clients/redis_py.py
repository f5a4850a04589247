"""Drives a running server with redis-py: redis_py.py PORT. Exits with 1 at the first difference."""

import sys
import threading

import redis
from redis.cache import CacheConfig


def strings(client):
    assert client.set("k", "v") is True
    assert client.get("k") == b"v"
    assert client.get("missing") is None
    assert client.set("k", "w", nx=True) is None
    assert client.set("k", "w", get=True) == b"v"
    assert client.append("k", "x") == 2
    assert client.getrange("k", 0, -1) == b"wx"
    assert client.incrby("n", 5) == 5
    assert client.incrbyfloat("f", 0.5) == 0.5
    assert client.mset({"a": 1, "b": 2, "c": 3}) is True
    assert client.mget("a", "none", "c") == [b"1", None, b"3"]
    binary = bytes(range(256))
    client.set(binary, binary)
    assert client.get(binary) == binary


def expiry(client):
    client.set("e", "v", ex=100)
    assert 98 <= client.ttl("e") <= 100
    assert client.persist("e") is True
    assert client.ttl("e") == -1
    assert client.expire("e", 100, nx=True) is True
    assert client.getex("e", persist=True) == b"v"
    assert client.pexpireat("e", 1) is True
    assert client.exists("e") == 0


def errors(client):
    client.set("text", "abc")
    try:
        client.incr("text")
    except redis.ResponseError as error:
        assert str(error) == "value is not an integer or out of range", error
    else:
        raise AssertionError("INCR of a text has no error")


def pipeline(client):
    pipe = client.pipeline(transaction=False)
    for n in range(500):
        pipe.set(f"key:{n}", n)
        pipe.get(f"key:{n}")
    replies = pipe.execute()
    assert replies[1::2] == [str(n).encode() for n in range(500)]


def keyspace(client):
    client.flushdb()
    keys = {f"key:{n}".encode() for n in range(1000)}
    client.mset({key: 1 for key in keys})
    assert client.dbsize() == 1000
    assert set(client.scan_iter()) == keys
    assert set(client.keys("key:99*")) == set(client.scan_iter(match="key:99*"))
    assert client.rename("key:1", "renamed") is True
    assert client.type("renamed") == b"string"
    assert client.delete(*keys) == 999


def lists(client):
    assert client.rpush("l", "a", "b", "c") == 3
    assert client.lpush("l", "z") == 4
    assert client.lrange("l", 0, -1) == [b"z", b"a", b"b", b"c"]
    assert client.linsert("l", "before", "a", "y") == 5
    assert client.lpos("l", "b") == 3
    assert client.lset("l", 0, "x") is True
    assert client.lindex("l", 0) == b"x"
    assert client.lrem("l", 1, "y") == 1
    assert client.lpop("l", 2) == [b"x", b"a"]
    assert client.rpop("l") == b"c"
    assert client.lmove("l", "m", "LEFT", "RIGHT") == b"b"
    assert client.llen("l") == 0
    client.rpush("l", *range(5))
    assert client.ltrim("l", 1, 3) is True
    assert client.lmpop(2, "none", "l", direction="LEFT", count=2) == [b"l", [b"1", b"2"]]
    assert client.sort("m", alpha=True) == [b"b"]


def hashes(client):
    assert client.hset("h", mapping={"a": 1, "b": "x"}) == 2
    assert client.hget("h", "a") == b"1"
    assert client.hgetall("h") == {b"a": b"1", b"b": b"x"}
    assert client.hmget("h", "a", "none") == [b"1", None]
    assert client.hincrby("h", "a", 4) == 5
    assert client.hincrbyfloat("h", "f", 1.5) == 1.5
    assert client.hsetnx("h", "a", 9) in (0, False)
    assert client.hdel("h", "f") == 1
    assert sorted(client.hkeys("h")) == [b"a", b"b"]
    assert client.hlen("h") == 2
    assert client.hexpire("h", 100, "a", "none") == [1, -2]
    assert 98 <= client.httl("h", "a")[0] <= 100
    assert client.hpersist("h", "a") == [1]
    client.hset("big", mapping={f"f{n}": n for n in range(1000)})
    assert len(dict(client.hscan_iter("big"))) == 1000
    assert len(set(client.hrandfield("big", 10))) == 10


def sets(client):
    assert client.sadd("s", "a", "b", "c") == 3
    assert client.sadd("t", "b", "c", "d") == 3
    assert client.smembers("s") == {b"a", b"b", b"c"}
    assert client.sinter("s", "t") == {b"b", b"c"}
    assert client.sunion("s", "t") == {b"a", b"b", b"c", b"d"}
    assert client.sdiff("s", "t") == {b"a"}
    assert client.sinterstore("u", "s", "t") == 2
    assert client.sintercard(2, ["s", "t"]) == 2
    assert client.sismember("s", "a") in (1, True)
    assert client.smismember("s", ["a", "x"]) == [1, 0]
    assert client.smove("s", "t", "a") in (1, True)
    assert client.srem("t", "a", "none") == 1
    assert client.spop("s") in (b"b", b"c")
    assert client.scard("s") == 1
    client.sadd("big", *range(1000))
    assert len(set(client.sscan_iter("big"))) == 1000


def sorted_sets(client):
    assert client.zadd("z", {"a": 1, "b": 2, "c": 3}) == 3
    assert client.zadd("z", {"a": 5}, gt=True, ch=True) == 1
    assert client.zscore("z", "a") == 5.0
    assert client.zrange("z", 0, -1) == [b"b", b"c", b"a"]
    assert client.zrange("z", "(2", "+inf", byscore=True, offset=0, num=1) == [b"c"]
    pairs = client.zrange("z", 0, 0, withscores=True)
    assert [tuple(pair) for pair in pairs] == [(b"b", 2.0)]
    assert client.zrank("z", "c") == 1
    assert client.zincrby("z", 1, "b") == 3.0
    assert client.zcount("z", 3, 5) == 3
    assert client.zunionstore("u", {"z": 2}) == 3
    assert client.zscore("u", "a") == 10.0
    assert client.zmscore("z", ["b", "none"]) == [3.0, None]
    low = client.zpopmin("z")
    assert list(low[0] if isinstance(low[0], (list, tuple)) else low) == [b"b", 3.0]
    assert client.zremrangebyrank("z", 0, 0) == 1
    client.zadd("big", {str(n): n for n in range(1000)})
    assert len(dict(client.zscan_iter("big"))) == 1000


def streams(client):
    first = client.xadd("x", {"f": 1}, id="1-1")
    assert first == b"1-1"
    client.xadd("x", {"f": 2}, id="2-1")
    assert client.xlen("x") == 2
    assert client.xrange("x") == [(b"1-1", {b"f": b"1"}), (b"2-1", {b"f": b"2"})]
    assert client.xgroup_create("x", "g", id="0") is True
    got = client.xreadgroup("g", "me", {"x": ">"}, count=1)
    entries = got[b"x"][0] if isinstance(got, dict) else got[0][1]
    assert entries == [(b"1-1", {b"f": b"1"})]
    assert client.xpending("x", "g")["pending"] == 1
    claimed = client.xautoclaim("x", "g", "you", 0)
    assert claimed[1] == [(b"1-1", {b"f": b"1"})]
    assert client.xack("x", "g", "1-1") == 1
    assert client.xinfo_stream("x")["length"] == 2
    assert client.xinfo_groups("x")[0]["name"] == b"g"
    assert client.xtrim("x", maxlen=1, approximate=False) == 1
    assert client.xdel("x", "2-1") == 1
    assert not client.xread({"x": "$"}, block=10)


def bits_and_places(client):
    assert client.setbit("b", 7, 1) == 0
    assert client.getbit("b", 7) == 1
    assert client.bitcount("b") == 1
    assert client.bitpos("b", 1) == 7
    assert client.bitop("NOT", "n", "b") == 1
    field = client.bitfield("b")
    assert field.set("u8", "#1", 200).incrby("u8", "#1", 55).execute() == [0, 255]
    assert client.pfadd("p", *range(100)) == 1
    assert 95 <= client.pfcount("p") <= 105
    assert client.pfmerge("q", "p") is True
    rome = (12.4964, 41.9028, "rome")
    assert client.geoadd("geo", rome + (2.3522, 48.8566, "paris")) == 2
    assert 1100 < client.geodist("geo", "rome", "paris", unit="km") < 1110
    near = client.geosearch("geo", longitude=12, latitude=42, radius=100, unit="km")
    assert near == [b"rome"]
    assert abs(client.geopos("geo", "rome")[0][0] - 12.4964) < 0.001


def other(client):
    return redis.Redis(port=client.connection_pool.connection_kwargs["port"])


def blocking(client):
    calls = {
        "blpop": lambda: other(client).blpop(["none", "l"], 10),
        "brpop": lambda: other(client).brpop("l", 10),
        "blmove": lambda: other(client).blmove("l", "m", 10, "LEFT", "RIGHT"),
        "blmpop": lambda: other(client).blmpop(10, 2, "none", "l", direction="LEFT"),
        "bzpopmin": lambda: other(client).bzpopmin(["none", "z"], 10),
        "bzmpop": lambda: other(client).bzmpop(10, 2, ["none", "z"], min=True),
        "xread": lambda: other(client).xread({"x": "0-5"}, block=10000),
    }
    wanted = {
        "blpop": (b"l", b"e"),
        "brpop": (b"l", b"e"),
        "blmove": b"e",
        "blmpop": [b"l", [b"e"]],
        "bzpopmin": (b"z", b"e", 1.0),
        "bzmpop": [b"z", [[b"e", b"1"]]],
        "xread": [[b"x", [(b"1-1", {b"f": b"v"})]]],
    }
    for name, call in calls.items():
        got = []
        thread = threading.Thread(target=lambda: got.append(call()))
        thread.start()
        while client.info("clients")["blocked_clients"] == 0:
            pass
        if name == "xread":
            client.xadd("x", {"f": "v"}, id="1-1")
        elif name.startswith("bz"):
            client.zadd("z", {"e": 1})
        else:
            client.rpush("l", "e")
        thread.join(10)
        assert got == [wanted[name]], f"{name}: {got}"
        assert client.exists("l", "z") == 0
    assert client.blpop("none", 0.05) is None
    assert client.bzpopmin("none", 0.05) is None


def transactions(client):
    pipe = client.pipeline(transaction=True)
    pipe.set("a", 1).incr("a").rpush("l", "x", "y").lrange("l", 0, -1).hset("h", "f", "v")
    assert pipe.execute() == [True, 2, 2, [b"x", b"y"], 1]
    with client.pipeline() as pipe:
        pipe.watch("a", "b")
        value = int(pipe.get("a"))
        other(client).set("b", "changed")
        pipe.multi()
        pipe.set("a", value + 1)
        try:
            pipe.execute()
        except redis.WatchError:
            pass
        else:
            raise AssertionError("EXEC ran although a watched key had changed")
    assert client.get("a") == b"2"
    assert client.transaction(lambda pipe: (pipe.multi(), pipe.set("a", 5)), "a") == [True]
    pipe = client.pipeline(transaction=True)
    pipe.set("text", "x").incr("text").set("later", 1)
    replies = pipe.execute(raise_on_error=False)
    assert isinstance(replies[1], redis.ResponseError) and replies[2] is True


def pubsub(client):
    listener = other(client).pubsub()
    listener.subscribe("news", handled=lambda message: handled.append(message["data"]))
    listener.psubscribe("n*")
    handled = []

    def message():
        found = listener.get_message(timeout=5)
        assert found is not None or handled
        return found

    assert [message()["type"] for _ in range(3)] == ["subscribe", "subscribe", "psubscribe"]
    assert client.publish("news", "hello") == 2
    found = message()
    assert (found["type"], found["channel"], found["data"]) == ("message", b"news", b"hello")
    found = message()
    assert (found["type"], found["pattern"], found["data"]) == ("pmessage", b"n*", b"hello")
    assert client.publish("handled", "x") == 1
    assert message() is None and handled == [b"x"]
    assert client.publish("nobody", "x") == 1
    assert message()["channel"] == b"nobody"
    assert dict(client.pubsub_numsub("news", "none")) == {b"news": 1, b"none": 0}
    assert sorted(client.pubsub_channels()) == [b"handled", b"news"]
    assert client.pubsub_numpat() == 1
    listener.ping()
    assert message()["type"] == "pong"
    listener.punsubscribe()
    listener.unsubscribe()
    assert [message()["type"] for _ in range(3)] == ["punsubscribe", "unsubscribe", "unsubscribe"]
    assert client.publish("news", "x") == 0
    client.config_set("notify-keyspace-events", "KEA")
    listener.psubscribe("__key*__:*")
    assert message()["type"] == "psubscribe"
    client.set("k", "v")
    assert [message()["channel"] for _ in range(2)] == [b"__keyspace@0__:k", b"__keyevent@0__:set"]
    client.config_set("notify-keyspace-events", "")
    listener.close()
    shard = other(client).pubsub()
    shard.ssubscribe("s")
    assert shard.get_message(timeout=5)["type"] == "ssubscribe"
    assert client.spublish("s", "x") == 1
    assert shard.get_message(timeout=5)["data"] == b"x"
    shard.close()


def server(client):
    assert client.ping() is True
    assert client.config_get("maxmemory") == {"maxmemory": "0"}
    assert client.info("server")["redis_mode"] == "standalone"
    assert client.client_setname("tester") is True
    assert client.client_getname() in ("tester", b"tester")
    assert any(entry["name"] == "tester" for entry in client.client_list())


def caching(client):
    """A client that keeps what it reads never serves what others have changed."""
    if client.get_connection_kwargs().get("protocol") != 3:
        return
    port = client.get_connection_kwargs()["port"]
    keeper = redis.Redis(port=port, protocol=3, cache_config=CacheConfig())
    for number in range(200):
        key = f"key:{number % 7}"
        client.set(key, number)
        # Whatever the server says behind the change comes behind the invalidation, too.
        assert keeper.ping() is True
        assert keeper.get(key) == str(number).encode()
        assert keeper.get(key) == str(number).encode()
    assert keeper.get_cache().size > 0
    assert keeper.mget("key:1", "key:2") == client.mget("key:1", "key:2")
    client.flushall()
    assert keeper.ping() is True
    assert keeper.get("key:1") is None
    keeper.close()


def logs(client):
    client.config_set("slowlog-log-slower-than", 0)
    client.slowlog_reset()
    client.set("k", "v")
    entries = client.slowlog_get(1)
    assert entries[0]["command"] == b"SET k v", entries
    assert client.slowlog_len() >= 1
    client.config_set("slowlog-log-slower-than", 10000)
    with other(client).monitor() as monitor:
        client.set("watched", "a b")
        command = monitor.next_command()
        assert command["command"] == "SET watched a b", command
        assert command["client_type"] == "tcp" and command["db"] == 0


CHECKS = (
    strings,
    expiry,
    errors,
    pipeline,
    keyspace,
    lists,
    hashes,
    sets,
    sorted_sets,
    streams,
    bits_and_places,
    blocking,
    transactions,
    pubsub,
    caching,
    logs,
    server,
)


def main():
    port = int(sys.argv[1])
    for protocol in (2, 3):
        for check in CHECKS:
            client = redis.Redis(port=port, protocol=protocol, single_connection_client=True)
            client.flushall()
            check(client)
            client.close()
            print(f"redis-py {redis.__version__}: {check.__name__} (RESP{protocol}) ok")


main()
