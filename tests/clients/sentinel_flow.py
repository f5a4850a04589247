"""redis-py behind a stock Sentinel: sentinel_flow.py BINARY. The primary is killed while a client writes; what WAIT has
confirmed has to be there afterwards, and the client goes on by itself."""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time

import redis
from redis.sentinel import MasterNotFoundError, Sentinel

DEADLINE_SECONDS = 60
CORES = (1, 4)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_until(what, holds):
    deadline = time.monotonic() + DEADLINE_SECONDS
    while time.monotonic() < deadline:
        try:
            if holds():
                return
        except (redis.RedisError, MasterNotFoundError):
            pass
        time.sleep(0.02)
    raise AssertionError(what)


class Servers:
    """The processes of one run, all of which end with it."""

    def __init__(self, binary, work):
        self.binary, self.work, self.children = binary, work, []

    def start(self, command, port):
        folder = os.path.join(self.work, str(port))
        os.makedirs(folder, exist_ok=True)
        with open(os.path.join(folder, "log"), "wb") as log:
            child = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)
        self.children.append(child)
        client = redis.Redis(port=port)
        wait_until(f"{command[0]} on port {port}", client.ping)
        return child, client

    def serve(self, cores, *options):
        port = free_port()
        command = [self.binary, "--port", str(port), "--cores", str(cores), "--save", ""]
        command += ["--repl-diskless-sync-delay", "0", *options]
        return port, *self.start(command, port)

    def watch(self, program, primary):
        port = free_port()
        path = os.path.join(self.work, f"sentinel-{port}.conf")
        with open(path, "w", encoding="ascii") as file:
            file.write(
                f"port {port}\nsentinel monitor ours 127.0.0.1 {primary} 1\n"
                "sentinel down-after-milliseconds ours 1000\nsentinel failover-timeout ours 5000\n"
            )
        self.start([program, path, "--sentinel"], port)
        return port

    def end(self):
        for child in self.children:
            child.kill()
            child.wait()


class Writer(threading.Thread):
    """Writes through Sentinel, and remembers what so many replicas have confirmed."""

    def __init__(self, sentinel):
        super().__init__()
        self.client = sentinel.master_for("ours", socket_timeout=2)
        self.wanted, self.confirmed, self.ends = 2, [], False

    def run(self):
        number = 0
        while not self.ends:
            number += 1
            wanted = self.wanted
            try:
                # Both on one connection: WAIT is about what its connection has written.
                pipe = self.client.pipeline(transaction=False)
                _, count = pipe.set(f"key:{number}", number).execute_command("WAIT", wanted, 200).execute()
            except (redis.RedisError, MasterNotFoundError):
                time.sleep(0.01)
                continue
            if count >= wanted:
                self.confirmed.append(number)


def survives(binary, program, cores, work):
    servers = Servers(binary, work)
    try:
        port, primary, _ = servers.serve(cores)
        replicas = [servers.serve(cores, "--replicaof", f"127.0.0.1 {port}") for _ in range(2)]
        for _, _, client in replicas:
            wait_until("a replica follows", lambda: client.info("replication")["master_link_status"] == "up")
        sentinel = Sentinel([("127.0.0.1", servers.watch(program, port))], socket_timeout=2)
        wait_until("the Sentinel knows both", lambda: len(sentinel.discover_slaves("ours")) == 2)
        writer = Writer(sentinel)
        writer.start()
        wait_until("something is confirmed", lambda: len(writer.confirmed) > 200)
        primary.kill()
        wait_until("there is another primary", lambda: sentinel.discover_master("ours")[1] != port)
        writer.wanted, before = 1, len(writer.confirmed)
        wait_until("the client goes on", lambda: len(writer.confirmed) > before + 200)
        writer.ends = True
        writer.join()
        client = sentinel.master_for("ours")
        keys = [f"key:{number}" for number in writer.confirmed]
        lost = [key for key, value in zip(keys, client.mget(keys)) if value is None]
        assert not lost, f"{len(lost)} of {len(keys)} are lost: {lost[:10]}"
        print(f"ok {cores} cores: {len(keys)} confirmed, {before} of them by the first primary")
    finally:
        if "writer" in locals():
            writer.ends = True
            writer.join()
        servers.end()


def main():
    binary = os.path.abspath(sys.argv[1])
    program = os.environ.get("SENTINEL") or shutil.which("redis-sentinel") or shutil.which("redis-server")
    if program is None:
        print("SKIPPED: there is no Sentinel")
        return
    for cores in CORES:
        with tempfile.TemporaryDirectory() as work:
            survives(binary, program, cores, work)


if __name__ == "__main__":
    main()
