/**
 * Tokens are counted in thousandths, so that a cost may have three decimals and every sum is a whole number. In this
 * library an *amount* is such a number: the cost 1.5 is the amount 1500.
 */
export const AMOUNT_PER_TOKEN = 1000;

/** The amount of `tokens`; `undefined` if it is not a positive multiple of 0.001 that can be counted exactly. */
export function toAmount(tokens: unknown): number | undefined {
  if (typeof tokens !== 'number' || !(tokens > 0)) return undefined;
  const amount = Math.round(tokens * AMOUNT_PER_TOKEN);
  // The nearest double of 0.1 is off by no more than this; a fourth decimal is off by more.
  const exact = Math.abs(tokens * AMOUNT_PER_TOKEN - amount) <= 2 * Number.EPSILON * amount;
  return exact && amount > 0 && amount <= Number.MAX_SAFE_INTEGER ? amount : undefined;
}

/** The amount of the `n` tokens that a caller requests. Throws a `RangeError` with the value if it cannot be counted. */
export function amountOf(n: unknown): number {
  const amount = toAmount(n);
  if (amount !== undefined) return amount;
  if (typeof n === 'number' && n > 0) throw new RangeError(`tokens must be a multiple of 0.001, got ${n}`);
  throw new RangeError(`tokens must be positive, got ${String(n)}`);
}
