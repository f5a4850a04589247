#!/usr/bin/env python3
"""Records how a stock redis-server 8.0.6 treats its configuration, for the tests of src/config.

    record_config.py path/to/redis-server > tests/data/config-redis-8.0.6.json

Bytes are written as Latin-1. The directory in which the server ran is written as /conf.
"""
import json, os, re, socket, subprocess, sys, tempfile, time

SERVER = os.path.abspath(sys.argv[1])
PORT = 7312
START_OPTIONS = ["--port", str(PORT)]

# CONFIG SET, one after the other, on one server. After each the named directives are asked for.
SET = r"""
    maxmemory|1gb
    maxmemory|1GB|maxmemory-policy|allkeys-LRU
    maxmemory|100b
    maxmemory|-1
    maxmemory|
    maxmemory|1zb
    maxmemory|1.5gb
    maxmemory|2mb|maxmemory-policy|wrong
    maxmemory|3mb|maxmemory|4mb
    MAXMEMORY|3mb|maxMemory|4mb
    slave-priority|7|replica-priority|8
    slave-priority|x
    Replica-Priority|x
    slave-priority|x|nope|1
    nope|1
    nope|1|databases|1
    databases|1|nope|1
    databases|32
    DATABASES|32
    dir|/
    dbfilename|x.rdb
    timeout|-1
    timeout|01
    timeout| 1
    timeout|1.0
    timeout|2147483648
    timeout|9223372036854775808
    timeout|30
    tcp-keepalive|60
    maxclients|0
    maxclients|-1
    maxclients|4294967296
    hz|0
    hz|10000
    hz|-1
    hz|25
    activerehashing|YES
    activerehashing|maybe
    activerehashing|
    lazyfree-lazy-expire|yes|lazyfree-lazy-eviction|1
    loglevel|nothing
    loglevel|loud
    loglevel|notice debug
    maxmemory-policy|
    save|900 1 300 10
    save|
    save|900
    save|900  1
    save|900 
    save|0 1
    save|1 -1
    save|1 x
    save| 5 6
    save|5 6 7
    save|+5 07
    client-output-buffer-limit|normal 1 2 3
    client-output-buffer-limit|slave 1mb 512kb 10 PUBSUB 0 0 0
    client-output-buffer-limit|replica 2mb 1mb 20
    client-output-buffer-limit|normal 1 2
    client-output-buffer-limit|master 1 2 3
    client-output-buffer-limit|normal x 2 3
    client-output-buffer-limit|normal 1 2 -3
    client-output-buffer-limit|normal 1 2 3x
    client-output-buffer-limit|
    oom-score-adj|relative
    oom-score-adj|no
    oom-score-adj|wrong
    oom-score-adj-values|1 2 3
    oom-score-adj-values|1 2
    oom-score-adj-values|1 2 2001
    oom-score-adj-values|-5 0 x
    oom-score-adj-values|
    notify-keyspace-events|KEA
    notify-keyspace-events|Elg
    notify-keyspace-events|AKEmn
    notify-keyspace-events|g$lshzxetdnKEm
    notify-keyspace-events|Kq
    notify-keyspace-events|
    latency-tracking-info-percentiles|0 50 99.95 100
    latency-tracking-info-percentiles|
    latency-tracking-info-percentiles|100.1
    latency-tracking-info-percentiles|-1
    latency-tracking-info-percentiles|50 x
    latency-tracking-info-percentiles|nan
    latency-tracking-info-percentiles|inf
    latency-tracking-info-percentiles|50  60
    latency-tracking-info-percentiles|1e1 .5
    shutdown-on-sigint|force now
    shutdown-on-sigint|save nosave
    shutdown-on-sigint|default
    shutdown-on-sigint|
    shutdown-on-sigterm|NOSAVE default
    shutdown-on-sigterm|save  now
    maxmemory-clients|5%
    maxmemory-clients|101%
    maxmemory-clients|-1%
    maxmemory-clients|%
    maxmemory-clients|5%%
    maxmemory-clients|1gb
    maxmemory-clients|9223372036854775807
    unixsocketperm|700
    unixsocket|/tmp/x
    port|x
    port|65536
    bind|a b c d e f g h i j k l m n o p q
    proto-max-bulk-len|1mb
    proto-max-bulk-len|1048575
    client-query-buffer-limit|2mb
    repl-backlog-size|0
    repl-diskless-load|swapdb
    list-max-listpack-size|-5
    list-max-ziplist-size|128
    list-max-listpack-size|-2147483649
    hash-max-ziplist-value|1kb
    hash-max-listpack-value|-1
    stream-node-max-bytes|-1
    slowlog-max-len|-1
    slowlog-log-slower-than|-1
    slowlog-log-slower-than|-2
    requirepass|with space
    requirepass|
    masterauth|"quoted"
    proc-title-template|{title}
    proc-title-template|{title} {nope}
    proc-title-template|{title} {port}
    proc-title-template|{
    cluster-announce-hostname|a.b-c
    cluster-announce-hostname|a_b
    cluster-announce-human-nodename|bad:name
    cluster-announce-human-nodename|fine
    enable-debug-command|yes
    maxmemory-samples|65
    maxmemory-samples|10
    active-expire-effort|11
    lua-time-limit|100
    busy-reply-threshold|200
    key-load-delay|0
    key-load-delay|x
    na\nme|1
"""

# Files, arguments, and the directives to ask for if the server starts.
LOAD = [
    ({"a.conf": ""}, ["a.conf"] + START_OPTIONS, ["save", "port"]),
    ({"a.conf": "port 1\nport 7312\nMaxMemory 1gb\n"}, ["a.conf"], ["maxmemory"]),
    ({"a.conf": "  port 7312\t\r\n# comment\r\n\r\n\t\n#\n maxmemory '1gb'\r\n"}, ["a.conf"], ["maxmemory"]),
    ({"a.conf": "port 7312\nsave 900 1\nsave 300 10\n"}, ["a.conf"], ["save"]),
    ({"a.conf": "port 7312\nsave 900 1\nsave \"\"\nsave 5 6 7 8"}, ["a.conf"], ["save"]),
    ({"a.conf": "port 7312\nsave\n"}, ["a.conf"], ["save"]),
    ({"a.conf": "port 7312\nsave \"900 1 60 2\"\n"}, ["a.conf", "--save", "1", "2"], ["save"]),
    ({"a.conf": "port 7312\nsave '900  1'\n"}, ["a.conf"], ["save"]),
    ({"a.conf": "port 7312\nsave \"9\\\"\"\n"}, ["a.conf"], ["save"]),
    ({"a.conf": "port 7312\nsave \"9 \\\"\"\n"}, ["a.conf"], ["save"]),
    ({"a.conf": "port 7312\nmasterauth \"a\\x41\\n\\\"b\"\nhz 0\n"}, ["a.conf"], ["hz", "masterauth"]),
    ({"a.conf": "port 7312\nclient-output-buffer-limit normal 1 2 3\nclient-output-buffer-limit replica 4mb 5kb 6\n"}, ["a.conf"], ["client-output-buffer-limit"]),
    ({"a.conf": "port 7312\nlist-max-ziplist-entries 5\nlua-replicate-commands yes\nio-threads-do-reads no\n"}, ["a.conf"], ["port"]),
    ({"a.conf": "port 7312\nlist-max-ziplist-entries\n"}, ["a.conf"], []),
    ({"a.conf": "port 7312\nbind\n"}, ["a.conf"] + ["--unixsocketperm", "0770", "--bind", "127.0.0.1"], ["bind", "unixsocketperm"]),
    ({"a.conf": "port 7312\nuser default on nopass sanitize-payload ~* &* +@all\n"}, ["a.conf"], ["port"]),
    ({"a.conf": "port 7312\nnotify-keyspace-events Kg E\n"}, ["a.conf"], []),
    ({"a.conf": "port 7312\nport\n"}, ["a.conf"], []),
    ({"a.conf": "port 7312 7313\n"}, ["a.conf"], []),
    ({"a.conf": "# one\n\n   foo   \n"}, ["a.conf"], []),
    ({"a.conf": "maxmemory   \"1 x\"  \n"}, ["a.conf"], []),
    ({"a.conf": "port \"7312\n"}, ["a.conf"], []),
    ({"a.conf": "port \"7312\"x\n"}, ["a.conf"], []),
    ({"a.conf": "port 'x\\'\n"}, ["a.conf"], []),
    ({"a.conf": "maxmemory-policy never\n"}, ["a.conf"], []),
    ({"a.conf": "dir /nonexistent/x\n"}, ["a.conf"], []),
    ({"a.conf": "logfile /nonexistent/x\n"}, ["a.conf"], []),
    ({"a.conf": "appendfilename a/b\n"}, ["a.conf"], []),
    ({"a.conf": "appenddirname \"\"\n"}, ["a.conf"], []),
    ({"a.conf": "dbfilename ../x\n"}, ["a.conf"], []),
    ({"a.conf": "unixsocketperm 888\n"}, ["a.conf"], []),
    ({"a.conf": "unixsocketperm 1000\n"}, ["a.conf"], []),
    ({"a.conf": "replicaof a\n"}, ["a.conf"], []),
    ({"a.conf": "replicaof a 65536\n"}, ["a.conf"], []),
    ({"a.conf": "include\n"}, ["a.conf"], []),
    ({"a.conf": "rename-command a\n"}, ["a.conf"], []),
    ({"a.conf": "loadmodule\n"}, ["a.conf"], []),
    ({"a.conf": "user\n"}, ["a.conf"], []),
    ({"a.conf": "port 7312\ninclude b.conf\nhz 20\n", "b.conf": "hz 30\nmaxmemory 1mb\n"}, ["a.conf"], ["hz", "maxmemory"]),
    ({"a.conf": "port 7312\ninclude b.conf\n", "b.conf": "\n\nhz x\n"}, ["a.conf"], []),
    ({"a.conf": "port 7312\ninclude none.conf\n"}, ["a.conf"], []),
    ({"a.conf": "port 7312\ninclude none*.conf\nhz 20\n"}, ["a.conf"], ["hz"]),
    ({"a.conf": "port 7312\ninclude c*.conf\n", "c1.conf": "hz 30\n", "c2.conf": "hz 40\n"}, ["a.conf"], ["hz"]),
    ({}, ["none.conf"], []),
    ({}, ["--port"], []),
    ({}, ["--port=7312"], []),
    ({}, ["--port", "x"], []),
    ({}, ["--port", "7312", "--maxmemory"], []),
    ({}, ["--port", "7312", "--hz", "--maxmemory", "1"], []),
    ({}, ["--port 7312", "--save", "--hz 20"], ["save", "hz"]),
    ({}, ["--port", "7312", "--save"], ["save"]),
    ({}, ["--port", "7312", "--save", ""], ["save"]),
    ({}, ["--port", "7312", "--save", "900 1"], ["save"]),
    ({}, ["--port", "7312", "--save", "900", "1", "--SAVE", "5", "6"], ["save"]),
    ({}, ["--port", "7312", "--proc-title-template", "--x {port}"], ["proc-title-template"]),
    ({}, ["--port", "7312", "--", "1"], []),
    ({}, ["--port", "7312", "-x"], []),
    ({}, ["-x"], []),
    ({}, ["--\"open"], []),
    ({"-": "port 7312\nhz 20"}, ["-"], ["hz"]),
    ({"-": "port 7312\nhz 20\n", "a.conf": "hz 30\n"}, ["a.conf", "--hz", "40", "-"], ["hz"]),
    ({"-": "port 7312\nhz x"}, ["-"], []),
    ({"-": "port 7312\nhz x", "a.conf": "hz 30\n#\n"}, ["a.conf", "-"], []),
]

# An old file, CONFIG SET pairs, and what CONFIG REWRITE makes of it.
REWRITE = [
    ("port 7312\n", []),
    ("port 7312", []),
    ("# head\n\n\n\nport 7312\n# tail", []),
    ("port 7312\nmaxmemory 0\n\nhz   50\ntimeout 0\n", [("maxmemory", "1536mb"), ("timeout", "3"), ("hz", "10")]),
    ("port 7312\nsave 900 1\n# between\nsave 300 10\nsave 60 1000\n", [("save", "5 6")]),
    ("port 7312\nsave 900 1\n", [("save", "5 6 7 8")]),
    ("port 7312\nsave 900 1\nsave 60 5\n", [("save", "")]),
    ("port 7312\nslave-priority 5\nhash-max-ziplist-entries 3\nHZ 11\n", [("replica-priority", "6")]),
    ("port 7312\nhz 1\nhz 2\n\nhz 3\n\nhz 4\n", []),
    ("port 7312\nclient-output-buffer-limit pubsub 1mb 2mb 3\n", []),
    ("port 7312\n", [("client-output-buffer-limit", "normal 1000 2kb 3")]),
    ("port 7312\nclient-output-buffer-limit normal 0 0 0\nclient-output-buffer-limit replica 256mb 64mb 60\n", [("client-output-buffer-limit", "pubsub 1 1 1")]),
    ("port 7312\nnotify-keyspace-events \"\"\nmasterauth old\n", [("notify-keyspace-events", "EA"), ("masterauth", "a b\"c\n\x01\xff")]),
    ("port 7312\nmasterauth old\nmaxmemory-clients 10%\nignore-warnings x\n", [("masterauth", ""), ("ignore-warnings", "")]),
    ("port 7312\nbind 127.0.0.1 -::1\nunixsocketperm 750\noom-score-adj relative\noom-score-adj-values 1 2 3\n", [("shutdown-on-sigint", "now force")]),
    ("port 7312\nbind * -::*\n", [("oom-score-adj-values", "1 200 800"), ("loglevel", "verbose")]),
    ("port 7312\nlatency-tracking-info-percentiles 50 99.5\nuser default on nopass sanitize-payload ~* &* +@all\n", [("latency-tracking-info-percentiles", "")]),
    ("port 7312\n# Generated by CONFIG REWRITE\nlist-max-ziplist-entries 4\nhz 20\n", [("timeout", "4")]),
    ("port 7312\ninclude b.conf\nhz 20\n", [("timeout", "4")]),
    ("\tport 7312  \r\n  # indented\r\nlogfile \"\"\n", []),
]


def encode(args):
    parts = [b"*%d\r\n" % len(args)]
    for arg in args:
        arg = arg if isinstance(arg, bytes) else arg.encode("latin-1")
        parts.append(b"$%d\r\n%s\r\n" % (len(arg), arg))
    return b"".join(parts)


def read_reply(file):
    line = file.readline()
    kind, rest = line[:1], line[1:-2]
    if kind in b"+-":
        return (line[:-2]).decode("latin-1")
    if kind == b":":
        return int(rest)
    if kind == b"$":
        return None if rest == b"-1" else file.read(int(rest) + 2)[:-2].decode("latin-1")
    return [read_reply(file) for _ in range(int(rest))]


class Server:
    def __init__(self, files, args):
        self.dir = tempfile.mkdtemp(prefix="conf")
        for name, text in files.items():
            with open(os.path.join(self.dir, name), "wb") as file:
                file.write(text.encode("latin-1"))
        stdin = open(os.path.join(self.dir, "-"), "rb") if "-" in files else subprocess.DEVNULL
        self.process = subprocess.Popen([SERVER, *args], cwd=self.dir, stdin=stdin,
                                        stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.socket = None
        for _ in range(200):
            if self.process.poll() is not None:
                break
            try:
                self.socket = socket.create_connection(("127.0.0.1", PORT))
                self.file = self.socket.makefile("rb")
                break
            except OSError:
                time.sleep(0.01)

    def ask(self, *args):
        self.socket.sendall(encode(args))
        return read_reply(self.file)

    def stop(self):
        if self.socket:
            self.socket.close()
        self.process.kill()
        out, err = self.process.communicate()
        clean = lambda text: text.decode("latin-1").replace(self.dir, "/conf")
        return clean(out), clean(err)


def record_set():
    server, records = Server({}, START_OPTIONS), []
    for line in SET.strip("\n").split("\n"):
        args = line[4:].replace("\\n", "\n").split("|")
        reply = server.ask("CONFIG", "SET", *args)
        names = {name.lower() for name in args[::2]}
        get = {}
        for name in sorted(names):
            answer = server.ask("CONFIG", "GET", name)
            get.update({answer[0]: answer[1].replace(server.dir, "/conf")} if answer else {})
        records.append({"args": args, "reply": reply, "get": get})
    server.stop()
    return records


def record_load():
    records = []
    for files, args, names in LOAD:
        server, get = Server(files, args), {}
        started = server.socket is not None
        for name in names if started else []:
            answer = server.ask("CONFIG", "GET", name)
            get.update(zip(answer[::2], answer[1::2]))
        out, err = server.stop()
        fatal = re.search(r"Fatal error, can't open config file.*", out)
        record = {"files": files, "args": args, "started": started, "get": get, "stderr": err}
        if fatal:
            record["log"] = fatal.group(0)
        records.append(record)
    return records


def record_rewrite():
    records = []
    for old, pairs in REWRITE:
        server = Server({"a.conf": old, "b.conf": ""}, ["a.conf"])
        for pair in pairs:
            assert server.ask("CONFIG", "SET", *pair) == "+OK", pair
        assert server.ask("CONFIG", "REWRITE") == "+OK"
        with open(os.path.join(server.dir, "a.conf"), "rb") as file:
            new = file.read().decode("latin-1").replace(server.dir, "/conf")
        server.stop()
        records.append({"old": old, "set": pairs, "new": new})
    return records


json.dump({"set": record_set(), "load": record_load(), "rewrite": record_rewrite()},
          sys.stdout, indent=1)
print()
