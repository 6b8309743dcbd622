import type { Algorithm, Limit } from './algorithm.js';

/*
 * A soft limit counts like any other, but denies nothing: a request never waits for it. It is charged with every request
 * that is admitted, until it owes one capacity; so it is back at the latest when twice its fill time has passed.
 *
 * Example: a soft capacity of 100. The 101st request is admitted and leaves a balance of -1, the 200th one of -100, and
 * so does each one after it.
 */

/** The soft variants of algorithms; a limit of the same kind has the same one. */
const variants = new Map<Algorithm, Algorithm>();

function softVariant(hard: Algorithm): Algorithm {
  return {
    ...hard,
    hard,
    id: -hard.id,
    title: `soft ${hard.title}`,
    leasable: false,
    fingerprint: (limit) => `s${hard.fingerprint(limit)}`,
    structure: (limit) => `s${hard.structure?.(limit) ?? hard.fingerprint(limit)}`,
    wait: () => 0,
    horizon: undefined,

    take(limit, state, i, amount, wait) {
      const room = Math.floor((2 * limit.capacity - hard.used(limit, state, i)) / limit.weight);
      // A bucket is charged at once: a reservation would owe more than one capacity until it acts.
      hard.take(limit, state, i, Math.max(0, Math.min(amount, room)), state.parts[i] ? wait : 0);
    },
  };
}

/** The same limit, which denies nothing. */
export function softLimit(limit: Limit): Limit {
  const { algorithm } = limit;
  let variant = variants.get(algorithm);
  if (!variant) {
    variant = softVariant(algorithm);
    variants.set(algorithm, variant);
  }
  return { ...limit, algorithm: variant };
}

/** Whether a limit denies nothing. */
export function isSoft({ algorithm }: Limit): boolean {
  return algorithm.hard !== undefined;
}
