// Runs one candidate in its own process, so that candidates do not affect each other's optimized code. It is idle
// between its rounds. Arguments: module of candidates, workload, candidate. A message `{ ms }` starts a round.
import { serve } from './measure.mjs';

const [, , file, work, name] = process.argv;
const { candidates } = await import(file);
const run = await candidates[work][name]();
const now = () => Number(process.hrtime.bigint());

// Doubles the decisions per batch until a batch takes 20 ms, so that reading the time is negligible.
let count = 1;
await run(count);
for (let spent = 0; spent < 20e6 && count < 2 ** 20; ) {
  count *= 2;
  const start = now();
  await run(count);
  spent = now() - start;
}

serve(async ({ ms }) => {
  const usage = process.cpuUsage();
  const start = now();
  let done = 0;
  do {
    // A candidate with concurrent decisions may run more than `count`.
    done += (await run(count)) ?? count;
  } while (now() - start < ms * 1e6);
  const spent = now() - start;
  const { user, system } = process.cpuUsage(usage);
  return { ns: spent / done, cpu: ((user + system) * 1000) / done };
});
