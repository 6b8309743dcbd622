// Whoever asks, and whichever way, gets the same classes; and the shipped suite for stores passes.
import { strictEqual } from 'node:assert';
import { createRequire } from 'node:module';

const require = createRequire(import.meta.url);

for (const entry of ['', '/opentelemetry', '/swagger', '/testing']) {
  const imported = await import(`nest-rate-limit${entry}`);
  const required = require(`nest-rate-limit${entry}`);
  for (const name of Object.keys(imported)) {
    strictEqual(required[name], imported[name], `nest-rate-limit${entry} has two ${name}`);
  }
}

const { MemoryStore } = await import('nest-rate-limit');
const { describeStoreContract } = await import('nest-rate-limit/testing');
const tests = [];
globalThis.describe = (_name, body) => body();
globalThis.it = (_name, body) => tests.push(body);
describeStoreContract('MemoryStore', (clock) => new MemoryStore({ clock }));
strictEqual(tests.length > 0, true, 'the store contract is empty');
for (const test of tests) await test();
console.log('done');
