"""The Celery application whose broker and results are the server of IRONRING_PORT; its worker is `celery worker`."""

import os

from celery import Celery

URL = f"redis://127.0.0.1:{os.environ['IRONRING_PORT']}/0"

app = Celery("celery_app", broker=URL, backend=URL)
app.conf.update(
    worker_prefetch_multiplier=1,
    task_acks_late=True,
    result_expires=600,
    broker_connection_retry_on_startup=True,
    task_default_queue="flow",
    broker_transport_options={"priority_steps": [0, 3, 6, 9]},
)


@app.task
def add(left, right):
    return left + right


@app.task
def total(values):
    return sum(values)


@app.task
def broken():
    raise ValueError("on purpose")


@app.task(bind=True, max_retries=3)
def third_time(self):
    if self.request.retries < 2:
        raise self.retry(countdown=0)
    return self.request.retries


@app.task(bind=True)
def steps(self):
    # Until who waits for it has heard of it: a result that is there first is not waited for.
    while not app.backend.client.exists("heard"):
        self.update_state(state="HALFWAY", meta={"done": 1})
    return "done"
