import type { LoggedRequest } from './simulate.js';

/** A load that is generated. */
export interface Load {
  readonly kind: 'none' | 'steady' | 'bursts' | 'random' | 'log';
  /** Requests per second of all clients together, for `steady` and `random`. */
  readonly rate: number;
  /** Requests of each burst. */
  readonly size: number;
  /** Seconds between the starts of two bursts. */
  readonly pause: number;
  readonly clients: number;
}

export const LOAD_KINDS: readonly Load['kind'][] = ['none', 'steady', 'bursts', 'random', 'log'];

/** The range of each number. */
export const LOAD_RANGES = {
  rate: { min: 0.1, max: 1000 },
  size: { min: 1, max: 1000 },
  pause: { min: 0.1, max: 3600 },
  clients: { min: 1, max: 50 },
} as const;

export type LoadNumber = keyof typeof LOAD_RANGES;

/** The number itself, or the nearest one in its range; `fallback` for what is no number. */
export function inRange(name: LoadNumber, value: unknown, fallback: number): number {
  const number = typeof value === 'number' ? value : Number.parseFloat(String(value));
  if (!Number.isFinite(number)) return fallback;
  const { min, max } = LOAD_RANGES[name];
  const whole = name === 'rate' || name === 'pause' ? number : Math.round(number);
  return Math.min(max, Math.max(min, whole));
}

/** The numbers of a load as they were entered, each in its range; those of `fallback` for what is no number. */
export function parseNumbers(entered: (name: LoadNumber) => unknown, fallback: Load): Record<LoadNumber, number> {
  const names = Object.keys(LOAD_RANGES) as LoadNumber[];
  const numbers = names.map((name) => [name, inRange(name, entered(name), fallback[name])]);
  return Object.fromEntries(numbers) as Record<LoadNumber, number>;
}

export function clientName(index: number): string {
  return `client ${index + 1}`;
}

/** The requests of a load after `start`, ms since 1970, in their order; endless unless there are none. */
export function* requestsOf(load: Load, start: number): Generator<LoggedRequest> {
  const { kind, rate, size, pause, clients } = load;
  if (kind === 'steady') {
    for (let i = 0; ; i++) yield { at: start + Math.round((i * 1000) / rate), client: clientName(i % clients) };
  }
  if (kind === 'bursts') {
    for (let i = 0; ; i++) {
      const at = start + Math.round(i * pause * 1000);
      for (let k = 0; k < size; k++) yield { at, client: clientName(i % clients) };
    }
  }
  if (kind === 'random') {
    const random = randomNumbers(1);
    for (let at = start; ; ) {
      at += (-Math.log(1 - random()) * 1000) / rate;
      yield { at: Math.round(at), client: clientName(Math.floor(random() * clients)) };
    }
  }
}

/** Numbers in [0, 1) that are the same for the same seed, so that a shared page shows the same (mulberry32). */
function randomNumbers(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
