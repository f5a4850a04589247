// socket.io's Redis adapter between two server processes: socketio.js PORT. Exits with 1 at the first difference.
// `socketio.js PORT serve NAME` is one of the servers: it listens on a free port, tells it to its parent, and does
// what its parent asks for.
'use strict';

const assert = require('node:assert/strict');
const { fork } = require('node:child_process');
const { createServer } = require('node:http');
const Redis = require('ioredis');
const { createAdapter, createShardedAdapter } = require('@socket.io/redis-adapter');
const { Server } = require('socket.io');
const { io: connect } = require('socket.io-client');
const { events, run, until } = require('./harness');

const ADAPTERS = { plain: createAdapter, sharded: createShardedAdapter };

function serve(port, kind, name) {
  const publisher = new Redis(port);
  const http = createServer();
  const io = new Server(http, { adapter: ADAPTERS[kind](publisher, publisher.duplicate(), { requestsTimeout: 30_000 }) });
  io.on('connection', (socket) => {
    socket.on('join', (room, done) => Promise.resolve(socket.join(room)).then(() => done(name)));
    socket.on('question', (done) => done(`${name} heard`));
  });
  io.on('told', (what, answer) => answer(`${name}: ${what}`));
  const asked = {
    emit: async (room, ...message) => { io.to(room).emit(...message); },
    except: async (room, ...message) => { io.except(room).emit(...message); },
    ask: async (event) => io.timeout(20_000).emitWithAck(event),
    sockets: async () => (await io.fetchSockets()).map(({ id }) => id).sort(),
    rooms: async (room) => (await io.in(room).fetchSockets()).length,
    joinAll: async (from, to) => { io.in(from).socketsJoin(to); },
    leaveAll: async (room) => { io.socketsLeave(room); },
    disconnectAll: async (room) => { io.in(room).disconnectSockets(true); },
    tellServers: async (what) => io.serverSideEmitWithAck('told', what),
    servers: async () => io.of('/').adapter.serverCount(),
  };
  process.on('message', async ({ id, call, args }) => {
    try {
      process.send({ id, result: await asked[call](...args) });
    } catch (error) {
      process.send({ id, error: String(error) });
    }
  });
  http.listen(0, '127.0.0.1', () => process.send({ listens: http.address().port }));
}

// A server process as its parent sees it.
class Node {
  constructor(port, kind, name) {
    this.child = fork(__filename, [String(port), 'serve', kind, name]);
    this.child.setMaxListeners(0);
    this.calls = 0;
  }

  async ready() {
    const [[{ listens }]] = await events(this.child, 'message', 1);
    this.url = `http://127.0.0.1:${listens}`;
  }

  async call(call, ...args) {
    const mine = (this.calls += 1);
    const answer = events(this.child, 'message', 1, ({ id }) => id === mine);
    this.child.send({ id: mine, call, args });
    const [[{ result, error }]] = await answer;
    assert.equal(error, undefined, `${call}: ${error}`);
    return result;
  }
}

async function twoServers(port, kind) {
  const nodes = [new Node(port, kind, 'left'), new Node(port, kind, 'right')];
  await Promise.all(nodes.map((node) => node.ready()));
  const [left, right] = nodes;
  // Each knows the other by the number of subscribers of their channel.
  for (const node of nodes) {
    await until(async () => (await node.call('servers')) === 2);
  }
  const clients = [left, left, right, right].map((node) => connect(node.url, { transports: ['websocket'], forceNew: true }));
  await Promise.all(clients.map((client) => client.connected || events(client, 'connect', 1)));
  const [a, b, c, d] = clients;
  const ids = clients.map(({ id }) => id).sort();
  assert.deepEqual(await left.call('sockets'), ids);
  assert.deepEqual(await right.call('sockets'), ids);

  assert.equal(await a.emitWithAck('join', 'blue'), 'left');
  assert.equal(await c.emitWithAck('join', 'blue'), 'right');
  assert.equal(await d.emitWithAck('join', 'red'), 'right');
  await until(async () => (await left.call('rooms', 'blue')) === 2);

  // A room over both servers; 200 messages arrive whole, in order, with binary data.
  const heard = [a, c].map((client) => events(client, 'news', 200));
  for (let n = 0; n < 200; n += 1) {
    await left.call('emit', 'blue', 'news', n, { text: 'x'.repeat(n) });
  }
  for (const messages of await Promise.all(heard)) {
    assert.deepEqual(messages.map(([n, { text }]) => [n, text.length]), Array.from({ length: 200 }, (_, n) => [n, n]));
  }
  const others = [b, d].map((client) => events(client, 'rest', 1));
  const spared = [a, c].map((client) => { client.on('rest', () => { client.wrong = true; }); return client; });
  await right.call('except', 'blue', 'rest', 1);
  await Promise.all(others);

  // Questions to all clients and to the other server come back over the adapter.
  clients.forEach((client) => client.on('poll', (done) => done(client.id)));
  assert.deepEqual((await left.call('ask', 'poll')).sort(), ids);
  assert.deepEqual(await left.call('tellServers', 'hello'), ['right: hello']);
  assert.deepEqual(await right.call('tellServers', 'hello'), ['left: hello']);

  await left.call('joinAll', 'red', 'green');
  await until(async () => (await right.call('rooms', 'green')) === 1);
  await right.call('leaveAll', 'blue');
  await until(async () => (await left.call('rooms', 'blue')) === 0);
  const gone = events(d, 'disconnect', 1);
  await left.call('disconnectAll', 'green');
  await gone;
  await until(async () => (await left.call('sockets')).length === 3);
  assert.deepEqual(spared.map(({ wrong }) => wrong), [undefined, undefined]);

  clients.forEach((client) => client.disconnect());
  nodes.forEach((node) => node.child.kill());
}

async function adapterOverPatterns(port) {
  await twoServers(port, 'plain');
}

async function adapterOverShardChannels(port) {
  await twoServers(port, 'sharded');
}

const [port, role, kind, name] = process.argv.slice(2);
if (role === 'serve') {
  serve(Number(port), kind, name);
} else {
  run([adapterOverPatterns, adapterOverShardChannels]);
}
