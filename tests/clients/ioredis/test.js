// Drives a running server with ioredis: node test.js PORT. Exits with 1 at the first difference.
'use strict';

const assert = require('node:assert/strict');
const Redis = require('ioredis');

async function strings(client) {
  assert.equal(await client.set('k', 'v'), 'OK');
  assert.equal(await client.get('k'), 'v');
  assert.equal(await client.get('missing'), null);
  assert.equal(await client.set('k', 'w', 'NX'), null);
  assert.equal(await client.incrby('n', 5), 5);
  assert.equal(await client.mset({ a: 1, b: 2, c: 3 }), 'OK');
  assert.deepEqual(await client.mget('a', 'none', 'c'), ['1', null, '3']);
  const binary = Buffer.from(Array.from({ length: 256 }, (_, n) => n));
  await client.set('binary', binary);
  assert.deepEqual(await client.getBuffer('binary'), binary);
}

async function expiry(client) {
  await client.set('e', 'v', 'EX', 100);
  const left = await client.ttl('e');
  assert.ok(left >= 98 && left <= 100);
  assert.equal(await client.persist('e'), 1);
  assert.equal(await client.pexpireat('e', 1), 1);
  assert.equal(await client.exists('e'), 0);
}

async function errors(client) {
  await client.set('text', 'abc');
  await assert.rejects(client.incr('text'), /ERR value is not an integer or out of range/);
}

async function pipelines(client) {
  const pipeline = client.pipeline();
  for (let n = 0; n < 500; n += 1) {
    pipeline.set(`key:${n}`, n).get(`key:${n}`);
  }
  const replies = await pipeline.exec();
  replies.forEach(([error, reply], index) => {
    assert.equal(error, null);
    assert.equal(reply, index % 2 === 0 ? 'OK' : String((index - 1) / 2));
  });
}

async function scan(client) {
  const wanted = new Set();
  for (let n = 0; n < 1000; n += 1) {
    wanted.add(`scan:${n}`);
  }
  await client.mset([...wanted].flatMap((key) => [key, 1]));
  const found = new Set();
  for await (const keys of client.scanStream({ match: 'scan:*' })) {
    keys.forEach((key) => found.add(key));
  }
  assert.deepEqual(found, wanted);
}

async function lists(client) {
  assert.equal(await client.rpush('l', 'a', 'b', 'c'), 3);
  assert.deepEqual(await client.lrange('l', 0, -1), ['a', 'b', 'c']);
  assert.equal(await client.lpos('l', 'c'), 2);
  assert.equal(await client.linsert('l', 'BEFORE', 'a', 'z'), 4);
  assert.equal(await client.lmove('l', 'm', 'LEFT', 'RIGHT'), 'z');
  assert.deepEqual(await client.lpop('l', 2), ['a', 'b']);
  assert.deepEqual(await client.lmpop(2, 'none', 'l', 'LEFT'), ['l', ['c']]);
  assert.equal(await client.llen('l'), 0);
}

async function hashes(client) {
  assert.equal(await client.hset('h', { a: 1, b: 'x' }), 2);
  assert.deepEqual(await client.hgetall('h'), { a: '1', b: 'x' });
  assert.deepEqual(await client.hmget('h', 'a', 'none'), ['1', null]);
  assert.equal(await client.hincrby('h', 'a', 4), 5);
  assert.deepEqual(await client.call('HEXPIRE', 'h', 100, 'FIELDS', 1, 'a'), [1]);
  assert.equal(await client.hdel('h', 'a', 'b'), 2);
  assert.equal(await client.exists('h'), 0);
}

async function sets(client) {
  assert.equal(await client.sadd('s', 'a', 'b', 'c'), 3);
  assert.equal(await client.sadd('t', 'b', 'c', 'd'), 3);
  assert.deepEqual((await client.sinter('s', 't')).sort(), ['b', 'c']);
  assert.deepEqual((await client.sunion('s', 't')).sort(), ['a', 'b', 'c', 'd']);
  assert.equal(await client.sdiffstore('u', 's', 't'), 1);
  assert.deepEqual(await client.smismember('s', 'a', 'x'), [1, 0]);
  assert.equal(await client.smove('s', 't', 'a'), 1);
  assert.equal(await client.scard('t'), 4);
}

async function sortedSets(client) {
  assert.equal(await client.zadd('z', 1, 'a', 2, 'b', 3, 'c'), 3);
  assert.deepEqual(await client.zrange('z', 0, -1, 'WITHSCORES'), ['a', '1', 'b', '2', 'c', '3']);
  assert.deepEqual(await client.zrangebyscore('z', '(1', '+inf', 'LIMIT', 0, 1), ['b']);
  assert.equal(await client.zincrby('z', 0.5, 'a'), '1.5');
  assert.equal(await client.zrank('z', 'c'), 2);
  assert.equal(await client.zunionstore('u', 2, 'z', 'none'), 3);
  assert.deepEqual(await client.zpopmax('z'), ['c', '3']);
  assert.equal(await client.zcard('z'), 2);
}

async function streams(client) {
  assert.equal(await client.xadd('x', '1-1', 'f', 'v'), '1-1');
  assert.equal(await client.xadd('x', '2-1', 'f', 'w'), '2-1');
  assert.deepEqual(await client.xrange('x', '-', '+', 'COUNT', 1), [['1-1', ['f', 'v']]]);
  assert.equal(await client.xgroup('CREATE', 'x', 'g', 0), 'OK');
  const read = await client.xreadgroup('GROUP', 'g', 'me', 'COUNT', 1, 'STREAMS', 'x', '>');
  assert.deepEqual(read, [['x', [['1-1', ['f', 'v']]]]]);
  assert.deepEqual(await client.xpending('x', 'g'), [1, '1-1', '1-1', [['me', '1']]]);
  assert.equal(await client.xack('x', 'g', '1-1'), 1);
  assert.equal(await client.xlen('x'), 2);
}

async function bitsAndPlaces(client) {
  assert.equal(await client.setbit('b', 7, 1), 0);
  assert.equal(await client.bitcount('b'), 1);
  assert.deepEqual(await client.bitfield('b', 'SET', 'u8', 8, 200, 'GET', 'u8', 8), [0, 200]);
  assert.equal(await client.pfadd('p', 'a', 'b', 'c'), 1);
  assert.equal(await client.pfcount('p'), 3);
  assert.equal(await client.geoadd('geo', 12.4964, 41.9028, 'rome', 2.3522, 48.8566, 'paris'), 2);
  const near = await client.geosearch('geo', 'FROMLONLAT', 12, 42, 'BYRADIUS', 100, 'km');
  assert.deepEqual(near, ['rome']);
  const distance = Number(await client.geodist('geo', 'rome', 'paris', 'km'));
  assert.ok(distance > 1100 && distance < 1110);
}

async function blocking(client) {
  const waiting = client.duplicate();
  const calls = [
    [() => waiting.blpop('none', 'l', 10), ['l', 'e']],
    [() => waiting.brpop('l', 10), ['l', 'e']],
    [() => waiting.blmove('l', 'm', 'LEFT', 'RIGHT', 10), 'e'],
    [() => waiting.brpoplpush('l', 'm', 10), 'e'],
    [() => waiting.blmpop(10, 2, 'none', 'l', 'LEFT'), ['l', ['e']]],
    [() => waiting.bzpopmin('none', 'z', 10), ['z', 'e', '1']],
    [() => waiting.xread('BLOCK', 10000, 'STREAMS', 'x', '0-5'), [['x', [['1-1', ['f', 'v']]]]]],
  ];
  for (const [call, wanted] of calls) {
    const reply = call();
    while (!(await client.info('clients')).includes('blocked_clients:1')) {
      // It is asked again until the call waits.
    }
    await client.multi().rpush('l', 'e').zadd('z', 1, 'e').xadd('x', '1-1', 'f', 'v').exec();
    assert.deepEqual(await reply, wanted);
    await client.del('l', 'z', 'x');
  }
  assert.equal(await waiting.blpop('none', 0.05), null);
  await waiting.quit();
}

async function transactions(client) {
  const replies = await client.multi().set('a', 1).incr('a').rpush('l', 'x').lpop('a').exec();
  assert.deepEqual(replies.slice(0, 3), [[null, 'OK'], [null, 2], [null, 1]]);
  assert.match(replies[3][0].message, /^WRONGTYPE/);
  const other = client.duplicate();
  await client.watch('a', 'b');
  await other.set('b', 'changed');
  assert.equal(await client.multi().set('a', 9).exec(), null);
  assert.equal(await client.get('a'), '2');
  await client.watch('a');
  assert.deepEqual(await client.multi().set('a', 9).exec(), [[null, 'OK']]);
  await other.quit();
}

async function pubsub(client) {
  const listener = client.duplicate();
  const heard = [];
  listener.on('message', (channel, message) => heard.push([channel, message]));
  listener.on('pmessage', (pattern, channel, message) => heard.push([pattern, channel, message]));
  assert.equal(await listener.subscribe('news', 'other'), 2);
  assert.equal(await listener.psubscribe('n*'), 3);
  assert.equal(await client.publish('news', 'one'), 2);
  assert.equal(await client.publish('other', 'two'), 1);
  assert.deepEqual(await client.multi().publish('news', 'three').set('k', 'v').exec(), [
    [null, 2],
    [null, 'OK'],
  ]);
  await listener.ping();
  assert.deepEqual(heard, [
    ['news', 'one'],
    ['n*', 'news', 'one'],
    ['other', 'two'],
    ['news', 'three'],
    ['n*', 'news', 'three'],
  ]);
  await assert.rejects(listener.get('k'), /subscriber mode/);
  assert.deepEqual(await client.pubsub('NUMSUB', 'news'), ['news', 1]);
  assert.equal(await listener.unsubscribe('news', 'other'), 1);
  assert.equal(await listener.punsubscribe('n*'), 0);
  assert.equal(await listener.get('k'), 'v');
  assert.equal(await client.publish('news', 'x'), 0);
  const sharded = client.duplicate();
  const fromShard = new Promise((done) => sharded.on('smessage', (...words) => done(words)));
  await sharded.ssubscribe('s');
  assert.equal(await client.spublish('s', 'x'), 1);
  assert.deepEqual(await fromShard, ['s', 'x']);
  await sharded.quit();
  await listener.quit();
}

async function monitor(client) {
  const watcher = await client.monitor();
  const seen = [];
  const all = new Promise((resolve) => {
    watcher.on('monitor', (time, args, source, database) => {
      assert.ok(Number(time) > 0);
      assert.match(source, /^127\.0\.0\.1:\d+$/);
      assert.equal(database, '0');
      seen.push(args);
      if (args[0] === 'echo') resolve();
    });
  });
  await client.set('k', 'a "quoted" word');
  await client.mset('a', 1, 'b', 2, 'c', 3);
  await client.echo('end');
  await all;
  assert.deepEqual(seen, [['set', 'k', 'a "quoted" word'], ['mset', 'a', '1', 'b', '2', 'c', '3'], ['echo', 'end']]);
  watcher.disconnect();
}

const checks = [
  strings,
  expiry,
  errors,
  pipelines,
  scan,
  lists,
  hashes,
  sets,
  sortedSets,
  streams,
  bitsAndPlaces,
  blocking,
  transactions,
  pubsub,
  monitor,
];

async function main() {
  const client = new Redis({ port: Number(process.argv[2]), host: '127.0.0.1' });
  for (const check of checks) {
    await client.flushall();
    await check(client);
    console.log(`ioredis: ${check.name} ok`);
  }
  await client.quit();
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
