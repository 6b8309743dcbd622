// Checks that `import` and `require` return the same classes, and that the shipped store contract passes.
import { strictEqual } from 'node:assert';
import { createRequire } from 'node:module';
import { describe, it } from 'node:test';

const require = createRequire(import.meta.url);

for (const entry of ['', '/opentelemetry', '/outbound', '/swagger', '/testing']) {
  const imported = await import(`nest-rate-limit${entry}`);
  const required = require(`nest-rate-limit${entry}`);
  for (const name of Object.keys(imported)) {
    strictEqual(required[name], imported[name], `nest-rate-limit${entry} exports two different ${name}`);
  }
}

const { MemoryStore } = await import('nest-rate-limit');
const { describeStoreContract } = await import('nest-rate-limit/testing');
let passed = 0;
const counted = (name, body) =>
  it(name, async () => {
    await body();
    passed++;
  });
describeStoreContract('MemoryStore', (clock) => new MemoryStore({ clock }), { describe, it: counted });
process.on('exit', (code) => {
  if (code === 0 && passed > 100) console.log('done');
});
