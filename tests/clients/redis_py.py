"""Drives a running server with redis-py: redis_py.py PORT. Exits with 1 at the first difference."""

import sys

import redis


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


def server(client):
    assert client.ping() is True
    assert client.config_get("maxmemory") == {"maxmemory": "0"}
    assert client.info("server")["redis_mode"] == "standalone"
    assert client.client_setname("tester") is True
    assert client.client_getname() in ("tester", b"tester")
    assert any(entry["name"] == "tester" for entry in client.client_list())


def main():
    port = int(sys.argv[1])
    for protocol in (2, 3):
        for check in (strings, expiry, errors, pipeline, keyspace, server):
            client = redis.Redis(port=port, protocol=protocol, single_connection_client=True)
            client.flushall()
            check(client)
            client.close()
            print(f"redis-py {redis.__version__}: {check.__name__} (RESP{protocol}) ok")


main()
