/**
 * Tokens are counted in thousandths, so that a cost may have three decimals and every sum is a whole number. In this
 * library an *amount* is such a number: the cost 1.5 is the amount 1500.
 */
export const AMOUNT_PER_TOKEN = 1000;

/** The most tokens that can be counted exactly. */
export const MOST_TOKENS = Number.MAX_SAFE_INTEGER / AMOUNT_PER_TOKEN;

/** How far a computed number of tokens may be from a thousandth that it means, relative to that thousandth. */
const COMPUTED_ERROR = 1e-9;

/** The amount of `tokens`; `undefined` if it is not a positive multiple of 0.001 that can be counted exactly. */
export function toAmount(tokens: unknown): number | undefined {
  if (typeof tokens !== 'number' || !(tokens > 0)) return undefined;
  const amount = Math.round(tokens * AMOUNT_PER_TOKEN);
  // The nearest double of 0.1 is off by no more than this; a fourth decimal is off by more.
  const exact = Math.abs(tokens * AMOUNT_PER_TOKEN - amount) <= 2 * Number.EPSILON * amount;
  return exact && amount > 0 && amount <= Number.MAX_SAFE_INTEGER ? amount : undefined;
}

/**
 * The amount of computed `tokens`, such as a sum of prices or a third: the thousandth that it means, or else what
 * `round` returns. `undefined` if it is not a number of at least 0 that can be counted exactly.
 */
function toRoundedAmount(tokens: unknown, round: (amount: number) => number): number | undefined {
  if (typeof tokens !== 'number' || !(tokens >= 0)) return undefined;
  const amount = tokens * AMOUNT_PER_TOKEN;
  const nearest = Math.round(amount);
  const rounded = Math.abs(amount - nearest) <= COMPUTED_ERROR * nearest ? nearest : round(amount);
  return rounded <= Number.MAX_SAFE_INTEGER ? rounded : undefined;
}

/** The amount of a cost, rounded up; `undefined` if it cannot be counted. */
export function toCostAmount(cost: unknown): number | undefined {
  return toRoundedAmount(cost, Math.ceil);
}

/** The rule that `tokens` break, which have no amount: they are too large, or else break the `other` rule. */
export function tokenRule(tokens: unknown, other: string): string {
  return typeof tokens === 'number' && tokens > MOST_TOKENS ? `at most ${MOST_TOKENS}` : other;
}

/** The amount of the `n` tokens that a caller requests. Throws a `RangeError` with the value if it cannot be counted. */
export function amountOf(n: unknown): number {
  return toAmount(n) ?? invalidTokens(n, typeof n === 'number' && n > 0 ? 'a multiple of 0.001' : 'positive');
}

/** The same for tokens that are charged: 0 or more, rounded up. */
export function chargedAmount(n: unknown): number {
  return toCostAmount(n) ?? invalidTokens(n, 'a number of at least 0');
}

/** The same for tokens that are refunded: 0 or more, rounded down. */
export function refundedAmount(n: unknown): number {
  return toRoundedAmount(n, Math.floor) ?? invalidTokens(n, 'a number of at least 0');
}

function invalidTokens(n: unknown, rule: string): never {
  const broken = tokenRule(n, rule);
  const reason = broken === rule ? '' : ', which is too large to be counted exactly';
  throw new RangeError(`tokens must be ${broken}, got ${String(n)}${reason}`);
}
