// What the flows share: a limit on how long one may take, and a way to wait for events instead of for time.
'use strict';

const Redis = require('ioredis');

const LIMIT_MS = 60_000;

// Runs `flow` and fails by name when it neither ends nor throws within LIMIT_MS.
async function limited(name, flow) {
  let timer;
  const limit = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${name} did not end within ${LIMIT_MS} ms`)), LIMIT_MS);
  });
  try {
    await Promise.race([flow(), limit]);
  } finally {
    clearTimeout(timer);
  }
}

// Resolves with the arguments of the events `event` of `emitter` once `count` of them have come that `wanted` accepts.
function events(emitter, event, count, wanted = () => true) {
  return new Promise((resolve) => {
    const seen = [];
    const listener = (...args) => {
      if (!wanted(...args)) {
        return;
      }
      seen.push(args);
      if (seen.length === count) {
        emitter.off(event, listener);
        resolve(seen);
      }
    };
    emitter.on(event, listener);
  });
}

// Asks `question` until its answer is true: for states that no event announces.
async function until(question) {
  while (!(await question())) {
    await new Promise((resolve) => { setTimeout(resolve, 10); });
  }
}

// Runs the flows of a file, one after the other, on the port of the command line, whose keys it deletes first.
async function main(flows) {
  const port = Number(process.argv[2]);
  const client = new Redis(port);
  await client.flushall();
  client.disconnect();
  for (const flow of flows) {
    const start = Date.now();
    await limited(flow.name, () => flow(port));
    console.log(`${flow.name}: ok, ${Date.now() - start} ms`);
  }
  process.exit(0);
}

function run(flows) {
  main(flows).catch((error) => {
    console.error(error);
    process.exit(1);
  });
}

module.exports = { events, run, until };
