// One candidate in a process of its own, so that none spoils another's compiled code. It idles between its rounds.
// Arguments: the module of candidates, work, candidate. Messages: `{ ms }` to run for about so long.
import { serve } from './measure.mjs';

const [, , file, work, name] = process.argv;
const { candidates } = await import(file);
const run = await candidates[work][name]();
const now = () => Number(process.hrtime.bigint());

// More decisions per turn of the loop until a turn takes a while: then reading the time costs nothing.
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
    // What runs decisions side by side may have to run more than it is told.
    done += (await run(count)) ?? count;
  } while (now() - start < ms * 1e6);
  const spent = now() - start;
  const { user, system } = process.cpuUsage(usage);
  return { ns: spent / done, cpu: ((user + system) * 1000) / done };
});
