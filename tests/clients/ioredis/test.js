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

async function main() {
  const client = new Redis({ port: Number(process.argv[2]), host: '127.0.0.1' });
  for (const check of [strings, expiry, errors, pipelines, scan]) {
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
