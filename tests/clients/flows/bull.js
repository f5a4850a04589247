// Bull's own flows: bull.js PORT. Exits with 1 at the first difference.
'use strict';

const assert = require('node:assert/strict');
const Bull = require('bull');
const { events, run, until } = require('./harness');

async function withQueue(name, port, body, options = {}) {
  const queue = new Bull(name, { redis: { host: '127.0.0.1', port }, ...options });
  queue.setMaxListeners(0);
  await queue.isReady();
  await body(queue);
  await queue.close();
}

const range = (count) => Array.from({ length: count }, (_, n) => n);

async function jobsAreProcessed(port) {
  await withQueue('b-once', port, async (queue) => {
    const heard = events(queue, 'global:completed', 100);
    queue.process(5, async (job) => {
      await job.progress(10);
      return job.data.n + 1;
    });
    const jobs = await queue.addBulk(range(100).map((n) => ({ data: { n } })));
    assert.deepEqual(await Promise.all(jobs.map((job) => job.finished())), range(100).map((n) => n + 1));
    await heard;
    assert.deepEqual(await queue.getJobCounts(), {
      waiting: 0, active: 0, completed: 100, failed: 0, delayed: 0, paused: 0,
    });
    assert.equal((await queue.clean(0, 'completed')).length, 100);
  });
}

async function delaysAndPrioritiesAreKept(port) {
  await withQueue('b-order', port, async (queue) => {
    await queue.pause();
    await queue.add('job', { is: 'last' }, { delay: 150 });
    for (const priority of [3, 1, 2]) {
      await queue.add('job', { is: priority }, { priority });
    }
    assert.equal(await queue.getPausedCount(), 3);
    const order = [];
    const done = events(queue, 'completed', 4);
    queue.process('job', async (job) => { order.push(job.data.is); });
    await queue.resume();
    await done;
    assert.deepEqual(order, [1, 2, 3, 'last']);
  });
}

async function failuresAreRetried(port) {
  await withQueue('b-retry', port, async (queue) => {
    queue.process(async (job) => {
      if (job.attemptsMade < job.data.failures) {
        throw new Error(`attempt ${job.attemptsMade}`);
      }
      return job.attemptsMade;
    });
    const job = await queue.add({ failures: 2 }, { attempts: 3, backoff: 20 });
    assert.equal(await job.finished(), 2);
    const never = await queue.add({ failures: 9 }, { attempts: 2 });
    await assert.rejects(never.finished(), /attempt 1/);
    assert.equal(await queue.getFailedCount(), 1);
    const again = events(queue, 'failed', 1);
    await (await queue.getJob(never.id)).retry();
    await again;
  });
}

async function ratesAreLimited(port) {
  await withQueue('b-rate', port, async (queue) => {
    const times = [];
    await queue.addBulk(range(5).map((n) => ({ data: { n } })));
    const done = events(queue, 'completed', 5);
    queue.process(async () => { times.push(Date.now()); });
    await done;
    assert.ok(times[4] - times[0] >= 450, `${times}`);
  }, { limiter: { max: 2, duration: 250 } });
}

async function repeatsAndRemoval(port) {
  await withQueue('b-repeat', port, async (queue) => {
    const done = events(queue, 'completed', 2);
    queue.process('tick', async () => 'tock');
    await queue.add('tick', {}, { repeat: { every: 100, limit: 2 } });
    await done;
    await queue.add('tick', {}, { repeat: { cron: '0 0 1 1 *' } });
    await until(async () => (await queue.getRepeatableJobs()).length > 0);
    for (const { key } of await queue.getRepeatableJobs()) {
      await queue.removeRepeatableByKey(key);
    }
    assert.equal(await queue.count(), 0);
    await queue.addBulk(range(20).map((n) => ({ name: 'tick', data: { n }, opts: { delay: 100_000 } })));
    await queue.removeJobs('*');
    assert.equal(await queue.getDelayedCount(), 0);
    await queue.obliterate({ force: true });
  });
}

run([jobsAreProcessed, delaysAndPrioritiesAreKept, failuresAreRetried, ratesAreLimited, repeatsAndRemoval]);
