// Redlock and rate-limiter-flexible: locks.js PORT. Exits with 1 at the first difference.
'use strict';

const assert = require('node:assert/strict');
const Redis = require('ioredis');
const { default: Redlock, ExecutionError, ResourceLockedError } = require('redlock');
const {
  BurstyRateLimiter, RateLimiterQueue, RateLimiterRedis, RateLimiterRes, RateLimiterUnion,
} = require('rate-limiter-flexible');
const { run, until } = require('./harness');

const range = (count) => Array.from({ length: count }, (_, n) => n);

async function locksExclude(port) {
  const client = new Redis(port);
  const redlock = new Redlock([client], { retryCount: 0 });
  // Two resources on two partitions: a script with two keys.
  const lock = await redlock.acquire(['lock:a', 'lock:b'], 5000);
  assert.equal(lock.attempts.length, 1);
  const refused = await redlock.acquire(['lock:b', 'lock:c'], 5000).catch((error) => error);
  assert.ok(refused instanceof ExecutionError);
  const [reason] = (await refused.attempts[0]).votesAgainst.values();
  assert.ok(reason instanceof ResourceLockedError);
  assert.equal(await client.exists('lock:c'), 0);
  const longer = await lock.extend(60_000);
  assert.ok(await client.pttl('lock:a') > 50_000);
  assert.ok(longer.expiration > Date.now() + 50_000);
  await longer.release();
  assert.equal(await client.exists('lock:a', 'lock:b'), 0);
  await assert.rejects(longer.release(), ExecutionError);
  // A lock that nobody releases ends by itself.
  await redlock.acquire(['lock:short'], 50);
  await until(async () => (await client.exists('lock:short')) === 0);
  client.disconnect();
}

async function locksSerialise(port) {
  const clients = range(4).map(() => new Redis(port));
  let inside = 0;
  let runs = 0;
  await Promise.all(clients.map(async (client) => {
    const redlock = new Redlock([client], { retryCount: -1, retryDelay: 5, retryJitter: 5 });
    for (const _ of range(10)) {
      await redlock.using(['lock:shared'], 10_000, async (signal) => {
        inside += 1;
        assert.equal(inside, 1);
        assert.equal(await client.incr('lock:entries'), (runs += 1));
        assert.equal(signal.aborted, false);
        inside -= 1;
      });
    }
  }));
  assert.equal(runs, 40);
  clients.forEach((client) => client.disconnect());
}

async function pointsAreCounted(port) {
  const client = new Redis(port);
  const limiter = new RateLimiterRedis({ storeClient: client, keyPrefix: 'points', points: 5, duration: 60 });
  const tries = await Promise.allSettled(range(8).map(() => limiter.consume('user')));
  assert.deepEqual(tries.map(({ status }) => status === 'fulfilled'), range(8).map((n) => n < 5));
  assert.ok(tries[7].reason instanceof RateLimiterRes);
  assert.equal(tries[7].reason.consumedPoints, 8);
  assert.ok(tries[7].reason.msBeforeNext > 50_000);
  assert.equal((await limiter.get('user')).remainingPoints, 0);
  assert.equal((await limiter.reward('user', 6)).consumedPoints, 2);
  assert.equal((await limiter.penalty('user', 1)).consumedPoints, 3);
  assert.equal((await limiter.block('user', 100)).msBeforeNext, 100_000);
  await assert.rejects(limiter.consume('user'), RateLimiterRes);
  assert.equal(await limiter.delete('user'), true);
  assert.equal(await limiter.get('user'), null);
  // A window that ends gives the points back.
  const short = new RateLimiterRedis({ storeClient: client, keyPrefix: 'short', points: 1, duration: 1 });
  await short.consume('user');
  await until(async () => short.consume('user').then(() => true, () => false));
  const evenly = new RateLimiterRedis({ storeClient: client, keyPrefix: 'evenly', points: 4, duration: 1, execEvenly: true });
  const start = Date.now();
  await evenly.consume('user');
  await evenly.consume('user');
  assert.ok(Date.now() - start >= 200);
  client.disconnect();
}

async function limitersCombine(port) {
  const client = new Redis(port);
  const limiter = (keyPrefix, points, duration) => new RateLimiterRedis({ storeClient: client, keyPrefix, points, duration });
  const union = new RateLimiterUnion(limiter('union:small', 2, 60), limiter('union:large', 9, 600));
  await union.consume('user');
  await union.consume('user');
  const refused = await union.consume('user').catch((error) => error);
  assert.deepEqual(Object.keys(refused), ['union:small']);
  const bursty = new BurstyRateLimiter(limiter('bursty:base', 1, 60), limiter('bursty:burst', 2, 60));
  const tries = await Promise.allSettled(range(4).map(() => bursty.consume('user')));
  assert.equal(tries.filter(({ status }) => status === 'fulfilled').length, 3);
  const queue = new RateLimiterQueue(limiter('queued', 3, 1));
  const left = await Promise.all(range(6).map(() => queue.removeTokens(1)));
  assert.equal(left.length, 6);
  client.disconnect();
}

run([locksExclude, locksSerialise, pointsAreCounted, limitersCombine]);
