/** The sections of an extended state. */
export const BLOCKED = 1;
export const MARKED = 2;
export const QUEUED = 4;

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
