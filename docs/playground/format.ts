/** A length of time for people: `250 ms`, `1.5 s`, `2 min 5 s`, `3 h`, `2 d`; rounded up where it is cut. */
export function formatDuration(ms: number): string {
  if (ms === Infinity) return 'never';
  if (ms < 1000) return `${Math.ceil(ms)} ms`;
  if (ms < 60_000) return `${Math.ceil(ms / 100) / 10} s`;
  if (ms < 3_600_000) return two(Math.ceil(ms / 1000), 60, 'min', 's');
  if (ms < 86_400_000) return two(Math.ceil(ms / 60_000), 60, 'h', 'min');
  return two(Math.ceil(ms / 3_600_000), 24, 'd', 'h');
}

function two(value: number, base: number, large: string, small: string): string {
  const rest = value % base;
  return `${Math.floor(value / base)} ${large}${rest > 0 ? ` ${rest} ${small}` : ''}`;
}

/** A number with at most one decimal, rounded down: half a token is none for a request. */
export function formatTokens(tokens: number): string {
  return String(Math.floor(tokens * 10) / 10);
}

/** Round steps of an axis, of which at most `most` fit into `range`. */
export function niceStep(range: number, steps: readonly number[], most: number): number {
  return steps.find((step) => range / step <= most) ?? range / most;
}

/** Steps of an axis of time, in ms. */
export const TIME_STEPS = [
  ...[1, 2, 5, 10, 20, 30].map((seconds) => seconds * 1000),
  ...[1, 2, 5, 10, 20, 30].map((minutes) => minutes * 60_000),
  ...[1, 2, 3, 6, 12].map((hours) => hours * 3_600_000),
  ...[1, 2, 7, 14, 30, 90, 365].map((days) => days * 86_400_000),
];

/** Steps of an axis of counts. */
export const COUNT_STEPS = Array.from({ length: 7 }, (_, power) =>
  [1, 2, 5].map((digit) => digit * 10 ** power),
).flat();
