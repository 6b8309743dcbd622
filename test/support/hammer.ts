import { Redis } from 'ioredis';
import { BucketService, RedisStore } from '../../src/index.js';

/*
 * A standalone process that takes from one bucket as fast as it can: `node hammer.js <redis url> <prefix> <ms>`. Prints
 * how many tokens it requested and took, and the start and end in Redis server time.
 */
const [, , url = '', prefix, ms] = process.argv;
const client = new Redis(url);
const bucket = new BucketService(new RedisStore({ client, prefix })).bucket({ capacity: 50, refill: 100 }, 'shared');

const serverNow = async () => {
  const [seconds, micros] = (await client.time()).map(Number);
  return seconds * 1000 + micros / 1000;
};
const started = await serverNow();
let taken = 0;
let requested = 0;
while ((await serverNow()) - started < Number(ms)) {
  const answers = await Promise.all(Array.from({ length: 20 }, () => bucket.tryConsume()));
  requested += answers.length;
  taken += answers.filter((allowed) => allowed).length;
}
console.log(JSON.stringify({ started, ended: await serverNow(), requested, taken }));
client.disconnect();
