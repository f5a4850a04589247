// BullMQ's own flows: bullmq.js PORT. Exits with 1 at the first difference.
'use strict';

const assert = require('node:assert/strict');
const { DelayedError, FlowProducer, Queue, QueueEvents, UnrecoverableError, Worker } = require('bullmq');
const { events, run, until } = require('./harness');

// A queue with its events, and workers that are closed with it.
class Bench {
  constructor(name, port) {
    this.name = name;
    this.connection = { host: '127.0.0.1', port, maxRetriesPerRequest: null };
    this.queue = new Queue(name, { connection: this.connection });
    this.events = new QueueEvents(name, { connection: this.connection });
    this.open = [this.queue, this.events];
    // Every job that is waited for listens on both.
    this.open.forEach((one) => one.setMaxListeners(0));
  }

  async ready() {
    await Promise.all([this.queue.waitUntilReady(), this.events.waitUntilReady()]);
  }

  worker(handler, options = {}, name = this.name) {
    const worker = new Worker(name, handler, { connection: this.connection, ...options });
    worker.on('error', (error) => { this.error = error; });
    this.open.push(worker);
    return worker;
  }

  async close() {
    await Promise.all(this.open.reverse().map((one) => one.close()));
    assert.equal(this.error, undefined);
  }
}

async function withBench(name, port, body) {
  const bench = new Bench(name, port);
  await bench.ready();
  await body(bench, bench.queue);
  await bench.close();
}

const range = (count) => Array.from({ length: count }, (_, n) => n);

async function jobsAreProcessedOnce(port) {
  await withBench('once', port, async (bench, queue) => {
    const ran = new Map();
    const handler = async (job) => {
      ran.set(job.data.n, (ran.get(job.data.n) || 0) + 1);
      await job.updateProgress(50);
      await job.log('half way');
      return job.data.n * 2;
    };
    const workers = range(4).map(() => bench.worker(handler, { concurrency: 5 }));
    const progress = events(bench.events, 'progress', 200);
    const jobs = await queue.addBulk(range(200).map((n) => ({ name: 'double', data: { n } })));
    const results = await Promise.all(jobs.map((job) => job.waitUntilFinished(bench.events)));
    assert.deepEqual(results, range(200).map((n) => n * 2));
    assert.deepEqual([...ran.values()], range(200).map(() => 1));
    await progress;
    assert.equal(workers.length, 4);
    assert.deepEqual(await queue.getJobCounts('wait', 'active', 'completed', 'failed'), {
      wait: 0, active: 0, completed: 200, failed: 0,
    });
    assert.equal((await queue.getJob(jobs[7].id)).returnvalue, 14);
    assert.deepEqual((await queue.getJobLogs(jobs[7].id)).logs, ['half way']);
    assert.equal((await queue.getCompleted(0, 49)).length, 50);
    // One removal by id, then by age and count.
    assert.equal(await queue.remove(jobs[0].id), 1);
    assert.equal((await queue.clean(0, 99, 'completed')).length, 99);
    assert.equal(await queue.getCompletedCount(), 100);
  });
}

async function idsAreUniqueAndJobsDeduplicated(port) {
  await withBench('ids', port, async (bench, queue) => {
    const first = await queue.add('a', { v: 1 }, { jobId: 'mine' });
    const again = await queue.add('a', { v: 2 }, { jobId: 'mine' });
    assert.equal(first.id, again.id);
    assert.deepEqual((await queue.getJob('mine')).data, { v: 1 });
    const told = events(bench.events, 'deduplicated', 1);
    const one = await queue.add('b', {}, { deduplication: { id: 'only' } });
    const two = await queue.add('b', {}, { deduplication: { id: 'only' } });
    assert.equal(one.id, two.id);
    const [[{ deduplicationId }]] = await told;
    assert.equal(deduplicationId, 'only');
    assert.equal(await queue.getWaitingCount(), 2);
    await queue.drain();
    assert.equal(await queue.getWaitingCount(), 0);
  });
}

async function delayedJobsWaitTheirTime(port) {
  await withBench('delayed', port, async (bench, queue) => {
    const order = [];
    bench.worker(async (job) => {
      order.push(job.name);
      return Date.now() - job.timestamp;
    });
    const jobs = [];
    for (const [name, delay] of [['third', 600], ['first', 100], ['second', 350]]) {
      jobs.push([await queue.add(name, {}, { delay }), delay]);
    }
    for (const [job, delay] of jobs) {
      assert.ok(await job.waitUntilFinished(bench.events) >= delay - 1);
    }
    assert.deepEqual(order, ['first', 'second', 'third']);
    const late = await queue.add('promoted', {}, { delay: 3_600_000 });
    assert.equal(await late.getState(), 'delayed');
    await late.promote();
    await late.waitUntilFinished(bench.events);
  });
}

async function jobsPostponeThemselves(port) {
  await withBench('postponed', port, async (bench, queue) => {
    let runs = 0;
    bench.worker(async (job, token) => {
      runs += 1;
      if (runs === 1) {
        await job.moveToDelayed(Date.now() + 50, token);
        throw new DelayedError();
      }
      return runs;
    });
    const job = await queue.add('later', {});
    assert.equal(await job.waitUntilFinished(bench.events), 2);
  });
}

async function prioritiesAreKept(port) {
  await withBench('priority', port, async (bench, queue) => {
    const order = [];
    for (const priority of [5, 1, 3, 1, 4, 2]) {
      await queue.add(`p${priority}`, {}, { priority });
    }
    await queue.add('none', {});
    const moved = await queue.add('moved', {}, { priority: 9 });
    await moved.changePriority({ priority: 2 });
    assert.deepEqual(await queue.getCountsPerPriority([0, 1, 2]), { 0: 1, 1: 2, 2: 2 });
    const worker = bench.worker(async (job) => { order.push(job.name); }, { autorun: false });
    const done = events(worker, 'completed', 8);
    worker.run();
    await done;
    assert.deepEqual(order, ['none', 'p1', 'p1', 'p2', 'moved', 'p3', 'p4', 'p5']);
  });
}

async function ratesAreLimited(port) {
  await withBench('rate', port, async (bench, queue) => {
    await queue.addBulk(range(7).map((n) => ({ name: 'slow', data: { n } })));
    const times = [];
    const worker = bench.worker(async () => { times.push(Date.now()); }, {
      autorun: false, limiter: { max: 3, duration: 300 }, concurrency: 10,
    });
    const done = events(worker, 'completed', 7);
    worker.run();
    await done;
    // Never more than three within a window: the fourth starts a window after the first, and so on.
    assert.ok(times[3] - times[0] >= 280, `${times}`);
    assert.ok(times[6] - times[3] >= 280, `${times}`);
  });
}

async function failuresAreRetried(port) {
  await withBench('retry', port, async (bench, queue) => {
    bench.worker(async (job) => {
      if (job.name === 'hopeless') {
        throw new UnrecoverableError('no use');
      }
      if (job.attemptsMade < job.data.failures) {
        throw new Error(`attempt ${job.attemptsMade}`);
      }
      return job.attemptsMade;
    });
    const third = await queue.add('third', { failures: 2 }, { attempts: 3, backoff: { type: 'exponential', delay: 20 } });
    assert.equal(await third.waitUntilFinished(bench.events), 2);
    const never = await queue.add('never', { failures: 9 }, { attempts: 2 });
    await assert.rejects(never.waitUntilFinished(bench.events), /attempt 1/);
    const hopeless = await queue.add('hopeless', {}, { attempts: 5 });
    await assert.rejects(hopeless.waitUntilFinished(bench.events), /no use/);
    assert.equal(await queue.getFailedCount(), 2);
    const stored = await queue.getJob(never.id);
    assert.equal(await stored.getState(), 'failed');
    assert.equal(stored.stacktrace.length, 2);
    await stored.updateData({ failures: 0 });
    const completed = events(bench.events, 'completed', 1, ({ jobId }) => jobId === never.id);
    await stored.retry();
    await completed;
    assert.equal(await queue.getFailedCount(), 1);
    await queue.retryJobs({ count: 10 });
    await until(async () => (await queue.getFailed()).every((job) => job.attemptsStarted === 2));
  });
}

async function parentsWaitForTheirChildren(port) {
  await withBench('parents', port, async (bench) => {
    const flow = new FlowProducer({ connection: bench.connection });
    const children = new QueueEvents('children', { connection: bench.connection });
    await children.waitUntilReady();
    bench.open.push(flow, children);
    bench.worker(async (job) => job.data.value, { concurrency: 3 }, 'children');
    bench.worker(async (job) => {
      const values = Object.values(await job.getChildrenValues());
      return values.reduce((sum, value) => sum + value, 0);
    });
    const leaves = (base) => range(10).map((n) => ({ name: 'leaf', queueName: 'children', data: { value: base + n } }));
    const tree = await flow.add({
      name: 'root',
      queueName: 'parents',
      children: [
        { name: 'left', queueName: 'parents', children: leaves(0) },
        { name: 'right', queueName: 'parents', children: leaves(100) },
      ],
    });
    assert.equal(await tree.job.waitUntilFinished(bench.events), 45 + 1045);
    assert.deepEqual(await tree.job.getDependenciesCount(), { processed: 2, unprocessed: 0, failed: 0, ignored: 0 });
    const read = await flow.getFlow({ id: tree.job.id, queueName: 'parents' });
    assert.equal(read.children.length, 2);
    assert.equal(read.children[0].children.length, 10);
    await tree.job.remove({ removeChildren: true });
    assert.equal(await flow.getFlow({ id: tree.job.id, queueName: 'parents' }), undefined);
  });
}

async function aFailedChildFailsItsParent(port) {
  await withBench('failing', port, async (bench) => {
    const flow = new FlowProducer({ connection: bench.connection });
    bench.open.push(flow);
    bench.worker(async (job) => {
      if (job.name === 'child') {
        throw new Error('broken');
      }
    });
    const tree = await flow.add({
      name: 'parent',
      queueName: 'failing',
      children: [{ name: 'child', queueName: 'failing', opts: { failParentOnFailure: true } }],
    });
    await assert.rejects(tree.job.waitUntilFinished(bench.events), /child .* failed/);
    assert.equal(await tree.job.getState(), 'failed');
  });
}

async function schedulersRepeat(port) {
  await withBench('repeat', port, async (bench, queue) => {
    const worker = bench.worker(async (job) => job.name);
    const done = events(worker, 'completed', 4);
    await queue.upsertJobScheduler('every', { every: 100, limit: 4 }, { name: 'tick', data: { a: 1 } });
    for (const [job] of await done) {
      assert.equal(job.name, 'tick');
      assert.deepEqual(job.data, { a: 1 });
    }
    await queue.upsertJobScheduler('cron', { pattern: '0 0 1 1 *' }, { name: 'yearly' });
    assert.deepEqual((await queue.getJobSchedulers()).map(({ key }) => key).sort(), ['cron', 'every']);
    assert.equal(await queue.removeJobScheduler('every'), true);
    assert.equal(await queue.getDelayedCount(), 1);
    assert.equal(await queue.removeJobScheduler('cron'), true);
    assert.equal(await queue.getDelayedCount(), 0);
  });
}

async function queuesPauseAndResume(port) {
  await withBench('pause', port, async (bench, queue) => {
    const worker = bench.worker(async () => 'ran');
    await worker.waitUntilReady();
    const paused = events(bench.events, 'paused', 1);
    await queue.pause();
    await paused;
    assert.equal(await queue.isPaused(), true);
    const jobs = await queue.addBulk(range(5).map((n) => ({ name: 'held', data: { n } })));
    assert.equal((await queue.getJobCounts('paused')).paused, 5);
    const resumed = events(bench.events, 'resumed', 1);
    await queue.resume();
    await resumed;
    const results = await Promise.all(jobs.map((job) => job.waitUntilFinished(bench.events)));
    assert.deepEqual(results, range(5).map(() => 'ran'));
    // A worker waits in BZPOPMIN between jobs; it hears of the next one, and closes at once.
    assert.equal(await (await queue.add('idle', {})).waitUntilFinished(bench.events), 'ran');
  });
}

async function stalledJobsComeBack(port) {
  await withBench('stalled', port, async (bench, queue) => {
    const job = await queue.add('lost', {});
    // A worker that takes the job and vanishes: its lock runs out.
    const taker = new Worker('stalled', null, { connection: bench.connection, lockDuration: 100 });
    bench.open.push(taker);
    assert.equal((await taker.getNextJob('token')).id, job.id);
    const stalled = events(bench.events, 'stalled', 1);
    bench.worker(async () => 'saved', { stalledInterval: 100 });
    assert.equal(await job.waitUntilFinished(bench.events), 'saved');
    await stalled;
  });
}

async function obliterateLeavesNothing(port) {
  await withBench('gone', port, async (bench, queue) => {
    await queue.addBulk(range(50).map((n) => ({ name: 'x', data: { n }, opts: { delay: n % 2 ? 100_000 : 0 } })));
    await queue.obliterate({ force: true });
    const client = await queue.client;
    assert.deepEqual((await client.keys('bull:gone:*')).filter((key) => !key.endsWith(':meta')), []);
  });
}

run([
  jobsAreProcessedOnce,
  idsAreUniqueAndJobsDeduplicated,
  delayedJobsWaitTheirTime,
  jobsPostponeThemselves,
  prioritiesAreKept,
  ratesAreLimited,
  failuresAreRetried,
  parentsWaitForTheirChildren,
  aFailedChildFailsItsParent,
  schedulersRepeat,
  queuesPauseAndResume,
  stalledJobsComeBack,
  obliterateLeavesNothing,
]);
