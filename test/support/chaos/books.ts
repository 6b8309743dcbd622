import type { Entry } from './journal.js';
import { OVERRUN, POOL_BALANCE, QUEUE, RATE, REFUNDED, WINDOW } from './journal.js';

/** The facts of a run besides the journals. */
export interface Run {
  /** The entries of each process. */
  readonly processes: readonly (readonly Entry[])[];
  /** ms from before the first request until after the last. */
  readonly elapsed: number;
  /** ms that the clock stepped forward, and how often it stepped back. */
  readonly forward: number;
  readonly stepsBack: number;
  /** The balances when everything has ended. */
  readonly balances: Readonly<Record<'pool' | 'refunded' | 'overrun' | 'queue', number>>;
}

/** Returns what is wrong with the books; empty if they balance. */
export function audit(run: Run): string[] {
  const entries = run.processes.flat();
  return [
    ...overspent(run, 'rate', RATE.capacity, RATE.refill / 1000),
    ...overspent(run, 'window', WINDOW.maxRequest, WINDOW.maxRequest / (WINDOW.duration * 1000)),
    ...poolErrors(entries, run.balances.pool),
    ...settlementErrors(entries, run.balances),
    ...(run.balances.queue < QUEUE.capacity ? [`queue: ${run.balances.queue} of ${QUEUE.capacity} tokens`] : []),
    ...entries.filter(({ late }) => late > 40).map((entry) => `late: ${JSON.stringify(entry)}`),
    ...unreported(entries),
  ];
}

/**
 * What Redis admitted, what each process admitted on its own, which is at most its part of the limit, and both together,
 * which is at most one capacity more than the limit, however often Redis came and went.
 */
function overspent(run: Run, policy: string, capacity: number, refill: number): string[] {
  const time = run.elapsed + run.forward;
  const allowed = capacity * (1 + run.stepsBack) + refill * time;
  const part = run.processes.length === 1 ? 1 / 3 : 1 / run.processes.length;
  const errors: string[] = [];
  for (const key of new Set(run.processes.flat().map((entry) => entry.key))) {
    const admitted = (entries: readonly Entry[], sources: readonly string[]) =>
      sum(
        entries.filter(
          (entry) =>
            entry.policy === policy &&
            entry.key === key &&
            entry.result === 'allowed' &&
            sources.includes(entry.source ?? ''),
        ),
      );
    const byRedis = admitted(run.processes.flat(), ['store', 'cache']);
    if (byRedis > allowed) errors.push(`${policy} ${key}: Redis admitted ${byRedis} of ${allowed}`);
    const together = byRedis + admitted(run.processes.flat(), ['fallback']);
    if (together > allowed + capacity) errors.push(`${policy} ${key}: ${together} of ${allowed} were admitted`);
    run.processes.forEach((entries, i) => {
      const alone = admitted(entries, ['fallback']);
      if (alone > allowed * part) errors.push(`${policy} ${key}: process ${i} admitted ${alone} of ${allowed * part}`);
    });
  }
  return errors;
}

/** The balance is what the known operations left, and what those of unknown outcome may have changed. */
function poolErrors(entries: readonly Entry[], balance: number): string[] {
  let low = POOL_BALANCE;
  let high = POOL_BALANCE;
  for (const { policy, verb, amount, result, outcome } of entries) {
    if (policy !== 'pool') continue;
    const change = verb === 'put' ? amount : -amount;
    const isUnknown = result === 'failed' && outcome !== 'not-applied';
    // A `charge` of unknown outcome is repeated, so it may count twice.
    const most = verb === 'charge' && isUnknown ? 2 * change : change;
    if (result === 'allowed' || (isUnknown && change < 0)) low += result === 'allowed' ? change : most;
    if (result === 'allowed' || (isUnknown && change > 0)) high += change;
  }
  return within('pool', balance, low, high);
}

/** A request that failed may have been counted, and is then not settled. */
function settlementErrors(entries: readonly Entry[], balances: Run['balances']): string[] {
  return [REFUNDED, OVERRUN].flatMap(({ name, capacity }) => {
    const requests = entries.filter(({ policy }) => policy === name);
    const admitted = requests.filter(({ result }) => result === 'allowed');
    const real = admitted.reduce((total, entry) => total + (entry.real ?? 0), 0);
    // A charge of unknown outcome is repeated: never less than the real cost, and at most twice the difference.
    const repeated = name === 'overrun' ? real - sum(admitted) : 0;
    const unknown = sum(requests.filter(({ result }) => result === 'failed'));
    const balance = balances[name];
    return within(name, balance, capacity - real - repeated - unknown, capacity - real);
  });
}

function within(what: string, balance: number, low: number, high: number): string[] {
  return balance >= low && balance <= high ? [] : [`${what}: balance ${balance}, expected ${low} to ${high}`];
}

/** A failed operation says whether it was carried out. */
function unreported(entries: readonly Entry[]): string[] {
  return entries
    .filter(({ verb, result, outcome }) => verb !== 'request' && result === 'failed' && !outcome)
    .map((entry) => `no outcome: ${JSON.stringify(entry)}`);
}

function sum(entries: readonly Entry[]): number {
  return entries.reduce((total, { amount }) => total + amount, 0);
}
