"""Celery's own flows over a running server: celery_flow.py PORT. Exits with 1 at the first difference.

The worker is a process of its own; results come back over the backend's pub/sub.
"""

import os
import subprocess
import sys
import tempfile
import time

import redis

PORT = sys.argv[1]
HERE = os.path.dirname(os.path.abspath(__file__))
os.environ["IRONRING_PORT"] = PORT

import celery_app as tasks  # noqa: E402  (it reads the port)
import celery  # noqa: E402
from celery import chain, chord, group  # noqa: E402

# Seconds that a result may take: many times what it needs on a busy machine.
LIMIT = 60


def plain_results():
    assert tasks.add.delay(2, 3).get(timeout=LIMIT) == 5
    results = [tasks.add.delay(n, n) for n in range(50)]
    assert [result.get(timeout=LIMIT) for result in results] == [2 * n for n in range(50)]
    forgotten = results[0]
    forgotten.forget()
    assert redis.Redis(port=PORT).exists(f"celery-task-meta-{forgotten.id}") == 0


def failures_and_retries():
    result = tasks.broken.delay()
    try:
        result.get(timeout=LIMIT)
    except ValueError as error:
        assert str(error) == "on purpose"
    else:
        raise AssertionError("the failure was lost")
    assert result.state == "FAILURE"
    assert tasks.third_time.delay().get(timeout=LIMIT) == 2


def messages_of_states():
    seen = []
    client = tasks.app.backend.client
    client.delete("heard")

    def hear(message):
        # The last words of an earlier task may come late.
        if message["task_id"] == result.id:
            seen.append(message["status"])
            client.set("heard", 1)

    result = tasks.steps.delay()
    assert result.get(on_message=hear, timeout=LIMIT) == "done"
    assert (seen[0], seen[-1]) == ("HALFWAY", "SUCCESS"), seen


def chains_groups_and_chords():
    assert chain(tasks.add.s(1, 2), tasks.add.s(3), tasks.add.s(4)).delay().get(timeout=LIMIT) == 10
    together = group(tasks.add.s(n, 1) for n in range(40)).delay()
    assert together.get(timeout=LIMIT) == list(range(1, 41))
    assert together.successful()
    assert chord((tasks.add.s(n, n) for n in range(30)), tasks.total.s()).delay().get(timeout=LIMIT) == 870
    nested = chord([chord([tasks.add.s(1, n), tasks.add.s(2, n)], tasks.total.s()) for n in range(5)], tasks.total.s())
    assert nested.delay().get(timeout=LIMIT) == 35
    failing = chord([tasks.add.s(1, 1), tasks.broken.s()], tasks.total.s()).delay()
    lost = failing.get(timeout=LIMIT, propagate=False)
    assert isinstance(lost, celery.exceptions.ChordError) and "on purpose" in str(lost), lost


def times_priorities_and_revocation():
    start = time.monotonic()
    assert tasks.add.apply_async((1, 1), countdown=1, priority=6).get(timeout=LIMIT) == 2
    assert time.monotonic() - start >= 0.9
    # Messages to all workers go over a fanout exchange, which is pub/sub.
    control = tasks.app.control
    assert [list(answer.values()) for answer in control.ping(timeout=LIMIT, limit=1)] == [[{"ok": "pong"}]]
    far = tasks.add.apply_async((1, 1), countdown=3600)
    assert control.revoke(far.id, reply=True, timeout=LIMIT, limit=1)
    (held,) = tasks.app.control.inspect(timeout=LIMIT, limit=1).revoked().values()
    assert held == [far.id], held


FLOWS = (
    plain_results,
    failures_and_retries,
    messages_of_states,
    chains_groups_and_chords,
    times_priorities_and_revocation,
)


def main():
    redis.Redis(port=PORT).flushall()
    with tempfile.TemporaryFile() as log:
        worker = subprocess.Popen(
            [sys.executable, "-m", "celery", "-A", "celery_app", "worker", "--pool=threads", "--concurrency=4", "-l", "INFO"],
            cwd=HERE, stdout=log, stderr=subprocess.STDOUT,
        )
        try:
            for flow in FLOWS:
                start = time.monotonic()
                flow()
                print(f"celery {celery.__version__}: {flow.__name__} ok, {time.monotonic() - start:.1f} s")
        except BaseException:
            log.seek(0)
            sys.stderr.write(log.read().decode()[-5000:])
            raise
        finally:
            worker.terminate()
            worker.wait()


main()
