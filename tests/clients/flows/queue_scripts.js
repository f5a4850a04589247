// The shapes of the scripts of asynq and of Laravel's queue, which cannot be installed here: hash tags or none,
// keys made in the script from ARGV or from what another key holds: queue_scripts.js PORT.
'use strict';

const assert = require('node:assert/strict');
const Redis = require('ioredis');
const { run } = require('./harness');

const range = (count) => Array.from({ length: count }, (_, n) => n);

// asynq keeps a task in a hash whose name is a prefix (an argument) and an id that a list or sorted set gives out.
const ENQUEUE = `
if redis.call("EXISTS", KEYS[1]) == 1 then
  return 0
end
redis.call("HSET", KEYS[1], "msg", ARGV[1], "state", "pending", "pending_since", ARGV[3])
redis.call("LPUSH", KEYS[2], ARGV[2])
return 1`;
const DEQUEUE = `
if redis.call("EXISTS", KEYS[2]) ~= 0 then
  return nil
end
local id = redis.call("RPOPLPUSH", KEYS[1], KEYS[3])
if not id then
  return nil
end
local task = ARGV[2] .. id
redis.call("HSET", task, "state", "active")
redis.call("HDEL", task, "pending_since")
redis.call("ZADD", KEYS[4], ARGV[1], id)
return redis.call("HGET", task, "msg")`;
const RETRY = `
if redis.call("LREM", KEYS[2], 0, ARGV[1]) == 0 then
  return redis.error_reply("NOT FOUND")
end
if redis.call("ZREM", KEYS[3], ARGV[1]) == 0 then
  return redis.error_reply("NOT FOUND")
end
redis.call("ZADD", KEYS[4], ARGV[3], ARGV[1])
redis.call("HSET", KEYS[1], "msg", ARGV[2], "state", "retry")
local failed = redis.call("INCR", KEYS[5])
if tonumber(failed) == 1 then
  redis.call("EXPIREAT", KEYS[5], ARGV[4])
end
return redis.status_reply("OK")`;
const FORWARD = `
local ids = redis.call("ZRANGEBYSCORE", KEYS[1], "-inf", ARGV[1], "LIMIT", 0, 100)
for _, id in ipairs(ids) do
  local task = ARGV[2] .. id
  local group = redis.call("HGET", task, "group")
  if group and group ~= "" then
    redis.call("ZADD", ARGV[3] .. group, ARGV[1], id)
    redis.call("HSET", task, "state", "aggregating")
  else
    redis.call("LPUSH", KEYS[2], id)
    redis.call("HSET", task, "state", "pending", "pending_since", ARGV[1])
  end
  redis.call("ZREM", KEYS[1], id)
end
return table.getn(ids)`;
const DELETE_ALL = `
local ids = redis.call("LRANGE", KEYS[1], 0, -1)
if #ids > 0 then
  for _, id in ipairs(ids) do
    redis.call("DEL", ARGV[1] .. id)
  end
  redis.call("DEL", KEYS[1])
end
return #ids`;
const STATS = `
local found = {}
for at, key in ipairs(KEYS) do
  local kind = redis.call("TYPE", key).ok
  local size = 0
  if kind == "list" then
    size = redis.call("LLEN", key)
  elseif kind == "zset" then
    size = redis.call("ZCARD", key)
  elseif kind == "string" then
    size = tonumber(redis.call("GET", key))
  end
  found[2 * at - 1] = key
  found[2 * at] = size
end
return found`;

async function asynqShapes(port) {
  const client = new Redis(port);
  // Without a hash tag, the keys of one queue lie on all partitions.
  for (const base of ['asynq:{mail}', 'asynq:plain']) {
    const task = (n) => `${base}:t:${n}`;
    const [pending, paused, active, lease, retry, failed] = ['pending', 'paused', 'active', 'lease', 'retry', 'failed']
      .map((part) => `${base}:${part}`);
    for (const n of range(20)) {
      assert.equal(await client.eval(ENQUEUE, 2, task(n), pending, `payload ${n}`, n, 1000), 1);
    }
    assert.equal(await client.eval(ENQUEUE, 2, task(3), pending, 'again', 3, 1000), 0);
    await client.set(paused, 1);
    const take = () => client.eval(DEQUEUE, 4, pending, paused, active, lease, 2000, `${base}:t:`);
    assert.equal(await take(), null);
    await client.del(paused);
    // Twenty takers at once: each task once, oldest first.
    const workers = range(4).map(() => new Redis(port));
    const taken = await Promise.all(range(22).map((n) => workers[n % 4]
      .eval(DEQUEUE, 4, pending, paused, active, lease, 2000, `${base}:t:`)));
    assert.deepEqual(taken.filter((one) => one !== null).sort(), range(20).map((n) => `payload ${n}`).sort());
    workers.forEach((worker) => worker.disconnect());
    assert.deepEqual(await client.hgetall(task(0)), { msg: 'payload 0', state: 'active' });

    const fail = (id) => client.eval(RETRY, 5, task(id), active, lease, retry, failed, id, `retried ${id}`, 3000, 99999999999);
    assert.equal(await fail(5), 'OK');
    assert.equal(await fail(6), 'OK');
    await assert.rejects(fail(5), /NOT FOUND/);
    assert.equal(await client.get(failed), '2');
    assert.ok(await client.ttl(failed) > 0);
    await client.hset(task(6), 'group', 'digest');
    const forward = (now) => client.eval(FORWARD, 2, retry, pending, now, `${base}:t:`, `${base}:g:`);
    assert.equal(await forward(2999), 0);
    assert.equal(await forward(3000), 2);
    assert.deepEqual(await client.zrange(`${base}:g:digest`, 0, -1, 'WITHSCORES'), ['6', '3000']);
    assert.equal(await client.hget(task(6), 'state'), 'aggregating');
    assert.equal(await take(), 'retried 5');
    assert.deepEqual(await client.eval(STATS, 4, pending, active, lease, failed), [pending, 0, active, 19, lease, 19, failed, 2]);
    assert.equal(await client.eval(DELETE_ALL, 1, active, `${base}:t:`), 19);
    assert.deepEqual(await client.keys(`${base}:t:*`), [task(6)]);
  }
  client.disconnect();
}

// Laravel pops a payload, counts its attempt with cjson, reserves it, and takes a token from a list that is read with
// a blocking command; jobs whose time has come move over in hundreds through unpack.
const PUSH = `
redis.call('rpush', KEYS[1], ARGV[1])
redis.call('rpush', KEYS[2], 1)`;
const POP = `
local job = redis.call('lpop', KEYS[1])
local reserved = false
if (job ~= false) then
  reserved = cjson.decode(job)
  reserved['attempts'] = reserved['attempts'] + 1
  reserved = cjson.encode(reserved)
  redis.call('zadd', KEYS[2], ARGV[1], reserved)
  redis.call('lpop', KEYS[3])
end
return {job, reserved}`;
const RELEASE = `
redis.call('zrem', KEYS[2], ARGV[1])
redis.call('zadd', KEYS[1], ARGV[2], ARGV[1])
return true`;
const MIGRATE = `
local due = redis.call('zrangebyscore', KEYS[1], '-inf', ARGV[1], 'limit', 0, ARGV[2])
if (next(due) ~= nil) then
  redis.call('zremrangebyrank', KEYS[1], 0, #due - 1)
  for i = 1, #due, 100 do
    redis.call('rpush', KEYS[2], unpack(due, i, math.min(i + 99, #due)))
    for j = i, math.min(i + 99, #due) do
      redis.call('rpush', KEYS[3], 1)
    end
  end
end
return due`;
// The names of the keys come from nothing but an argument, as an application's own scripts often have it.
const SIZES = `
local base = 'queues:' .. ARGV[1]
return {redis.call('llen', base), redis.call('zcard', base .. ':delayed'), redis.call('zcard', base .. ':reserved')}`;
const CLEAR = `
local count = redis.call('llen', KEYS[1]) + redis.call('zcard', KEYS[2]) + redis.call('zcard', KEYS[3])
redis.call('del', KEYS[1], KEYS[2], KEYS[3], KEYS[4])
return count`;

async function laravelShapes(port) {
  const client = new Redis(port);
  const [ready, delayed, reserved, notify] = ['', ':delayed', ':reserved', ':notify'].map((part) => `queues:default${part}`);
  const payload = (n) => JSON.stringify({ id: n, job: 'App\\Jobs\\Send', data: { tags: [], none: null }, attempts: 0 });
  for (const n of range(3)) {
    assert.equal(await client.eval(PUSH, 2, ready, notify, payload(n)), null);
  }
  for (const n of range(250)) {
    await client.zadd(delayed, 1000 + n, payload(1000 + n));
  }
  const sizes = () => client.eval(SIZES, 0, 'default');
  assert.deepEqual(await sizes(), [3, 250, 0]);
  const pop = () => client.eval(POP, 3, ready, reserved, notify, 5000);
  const [job, held] = await pop();
  assert.equal(job, payload(0));
  assert.equal(JSON.parse(held).attempts, 1);
  assert.equal(JSON.parse(held).job, 'App\\Jobs\\Send');
  assert.equal(await client.zscore(reserved, held), '5000');
  assert.equal(await client.eval(RELEASE, 2, delayed, reserved, held, 900), 1);
  assert.deepEqual(await sizes(), [2, 251, 0]);

  // A taker that waits for the token hears of the migration.
  const waiting = new Redis(port);
  assert.deepEqual(await waiting.blpop(notify, 0), [notify, '1']);
  assert.deepEqual(await waiting.blpop(notify, 0), [notify, '1']);
  const token = waiting.blpop(notify, 0);
  const moved = await client.eval(MIGRATE, 3, delayed, ready, notify, 1199, 500);
  assert.equal(moved.length, 201);
  assert.equal(moved[0], held);
  assert.deepEqual(await token, [notify, '1']);
  assert.deepEqual(await sizes(), [203, 50, 0]);
  assert.equal(await client.llen(notify), 200);
  // All that is ready, from several connections at once: each once.
  const workers = range(4).map(() => new Redis(port));
  const seen = (await Promise.all(range(205).map((n) => workers[n % 4].eval(POP, 3, ready, reserved, notify, 6000))))
    .map(([popped]) => popped).filter((popped) => popped !== null);
  assert.equal(seen.length, 203);
  assert.equal(new Set(seen).size, 203);
  assert.deepEqual(await pop(), [null, null]);
  assert.deepEqual(await sizes(), [0, 50, 203]);
  assert.equal(await client.eval(CLEAR, 4, ready, delayed, reserved, notify), 253);
  assert.equal(await client.dbsize(), await client.eval('return #redis.call("KEYS", "*")', 0));
  workers.concat(waiting, client).forEach((one) => one.disconnect());
}

run([asynqShapes, laravelShapes]);
