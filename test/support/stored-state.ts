import { AdmissionLog } from '../../src/core/algorithms/admission-log.js';
import type { BucketState } from '../../src/core/algorithms/algorithm.js';

/** The sections of an extended state. */
export const BLOCKED = 1;
export const MARKED = 2;
export const QUEUED = 4;
export const SCALED = 8;

/** A compact state as Redis keeps it. */
export function compactState(numbers: readonly number[]): Buffer {
  const bytes = Buffer.alloc(6 * numbers.length);
  for (const [i, number] of numbers.entries()) bytes.writeUIntLE(number, 6 * i, 6);
  return bytes;
}

/** An extended state as Redis keeps it. */
export function extendedState(numbers: readonly number[], flags: number): Buffer {
  return Buffer.concat([Buffer.from(new Float64Array(numbers).buffer), Buffer.from([flags])]);
}

/** The state of a bucket as Redis keeps it. */
export function storedState({ at, blockedUntil, debts, parts, marks, queue, scales = [] }: BucketState): Buffer {
  const limits = debts.map((debt, i) => {
    const part = parts[i];
    return part instanceof AdmissionLog ? [part.sum, ...part.entries()] : ((part?.entries() as number[]) ?? [debt]);
  });
  const sections: [flag: number, exists: boolean, numbers: () => number[]][] = [
    [BLOCKED, blockedUntil > 0, () => [blockedUntil]],
    [MARKED, marks.length > 0, () => [marks.length, ...marks.flatMap((mark) => [mark.id, ...mark.limits])]],
    [
      QUEUED,
      queue !== undefined,
      () => {
        const { debts = [], reservations = [] } = queue ?? {};
        return [...debts, reservations.length, ...reservations.flatMap(({ actAt, amounts }) => [actAt, ...amounts])];
      },
    ],
    [SCALED, scales.length > 0, () => scales.flatMap(({ capacity, weight, fillTime }) => [capacity, weight, fillTime])],
  ];
  const existing = sections.filter(([, exists]) => exists);
  const numbers = [at, ...limits.flat(), ...existing.flatMap(([, , numbersOf]) => numbersOf())];
  if (existing.length === 0 && numbers.every((number) => number < 2 ** 48)) return compactState(numbers);
  return extendedState(
    numbers,
    existing.reduce((flags, [flag]) => flags + flag, 0),
  );
}
