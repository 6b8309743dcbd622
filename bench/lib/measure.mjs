// Measures candidates in interleaved rounds, each candidate in its own process.
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';

const WORKER = fileURLToPath(new URL('worker.mjs', import.meta.url));

/** Starts a child process that replies to messages; `ask` sends a message and resolves with the reply. */
export async function start(file, args, { env = {}, execArgv = [] } = {}) {
  const child = fork(file, args, { env: { ...process.env, NODE_ENV: 'production', ...env }, execArgv });
  const answer = async () => {
    const ended = new AbortController();
    const [message] = await Promise.race([
      once(child, 'message', { signal: ended.signal }),
      once(child, 'exit', { signal: ended.signal }).then(([code]) => {
        throw new Error(`${file} ${args.join(' ')} exited with ${code}`);
      }),
    ]).finally(() => ended.abort());
    return message;
  };
  const ready = await answer();
  return {
    ready,
    ask: (message) => {
      const heard = answer();
      child.send(message);
      return heard;
    },
    stop: async () => {
      if (!child.connected) return;
      const gone = once(child, 'exit');
      child.disconnect();
      await gone;
    },
  };
}

/** The child's side of `start`: sends `ready`, then replies to each message with the result of `work`. */
export function serve(work, ready = {}) {
  process.on('message', async (message) => process.send(await work(message)));
  process.on('disconnect', () => process.exit());
  process.send(ready);
}

/**
 * Measures the candidates of a workload in turn for `rounds` rounds of `ms` each; each round starts with another
 * candidate. Returns `{ median, low, high, cpu, samples }` per candidate, in ns per decision; `low` and `high` are
 * quartiles.
 */
export async function measure(file, work, names, { rounds = 11, ms = 100, warm = 300, env } = {}) {
  const workers = [];
  try {
    for (const name of names) workers.push(await start(WORKER, [file, work, name], { env }));
    for (const worker of workers) await worker.ask({ ms: warm });
    const samples = names.map(() => []);
    for (let round = 0; round < rounds; round++) {
      for (let i = 0; i < names.length; i++) {
        const turn = (i + round) % names.length;
        samples[turn].push(await workers[turn].ask({ ms }));
      }
    }
    return Object.fromEntries(
      names.map((name, i) => [
        name,
        {
          ...spread(samples[i].map(({ ns }) => ns)),
          cpu: median(samples[i].map(({ cpu }) => cpu)),
          samples: samples[i].map(({ ns }) => ns),
        },
      ]),
    );
  } finally {
    await Promise.all(workers.map((worker) => worker.stop()));
  }
}

/** Returns the time of `one` relative to `other`: the median ratio per round, which is less sensitive to load. */
export function ratio(one, other) {
  return median(one.samples.map((ns, i) => ns / other.samples[i]));
}

export function median(values) {
  return quantile(values, 0.5);
}

export function spread(values) {
  return { median: median(values), low: quantile(values, 0.25), high: quantile(values, 0.75) };
}

function quantile(values, part) {
  const sorted = [...values].sort((a, b) => a - b);
  const place = (sorted.length - 1) * part;
  const below = Math.floor(place);
  return sorted[below] + (place - below) * ((sorted[below + 1] ?? sorted[below]) - sorted[below]);
}
