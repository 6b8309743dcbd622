import { SUFFIX_MS } from '../util/duration.js';

/** The headers of a response: `Headers` of fetch, or `AxiosHeaders`. */
export interface HeaderReader {
  get(name: string): unknown;
}

/** What is read of the answer of an upstream. */
export interface UpstreamResponse {
  readonly status: number;
  readonly headers: HeaderReader;
}

/** The statuses of a call that exceeds a quota. GitHub also sends 403. */
const REJECTIONS: readonly number[] = [403, 429, 503];

/** Headers with the time after which to retry, with their unit in ms. The first one that can be read applies. */
const RETRY_HEADERS: readonly (readonly [name: string, unit: number])[] = [
  ['retry-after-ms', 1], // OpenAI, Azure OpenAI
  ['x-ms-retry-after-ms', 1], // Azure Cosmos DB
  ['retry-after', 1000], // RFC 9110
  ['x-ratelimit-retry-after', 1000], // MailerLite
];

/**
 * Headers with the time at which a quota is available again, and those with the rest of it. If no header says when
 * to retry, the latest time of an exhausted quota applies.
 */
const RESET_HEADERS: readonly (readonly [reset: string, remaining: string])[] = [
  ['ratelimit-reset', 'ratelimit-remaining'], // draft 6; GitLab sends the seconds since 1970
  ['x-ratelimit-reset', 'x-ratelimit-remaining'], // GitHub, Reddit, Atlassian and many others
  ['x-ratelimit-reset-after', 'x-ratelimit-remaining'], // Discord
  ['x-rate-limit-reset', 'x-rate-limit-remaining'], // X, Okta
  ...['requests', 'tokens'].map((quota) => [`x-ratelimit-reset-${quota}`, `x-ratelimit-remaining-${quota}`] as const), // OpenAI, Groq
  ...['requests', 'tokens', 'input-tokens', 'output-tokens'].map(
    (quota) => [`anthropic-ratelimit-${quota}-reset`, `anthropic-ratelimit-${quota}-remaining`] as const,
  ),
];

/**
 * Returns the milliseconds for which the upstream admits no further call, according to its answer; 0 if the answer is no
 * rejection, or does not say. Values that cannot be read are ignored. `now` is the time in ms since 1970: the base of
 * dates, unless the answer has a `Date` of its own, whose clock is that of the other dates in it.
 */
export function upstreamWait({ status, headers }: UpstreamResponse, now: number): number {
  if (!REJECTIONS.includes(status)) return 0;
  const sent = Date.parse(headerOf(headers, 'date') ?? '');
  const base = Number.isFinite(sent) ? sent : now;
  for (const [name, unit] of RETRY_HEADERS) {
    const wait = parseWait(headerOf(headers, name), unit, base);
    if (wait !== undefined) return Math.max(0, wait);
  }
  const resets = RESET_HEADERS.map(([reset, remaining]) => [headerOf(headers, reset), headerOf(headers, remaining)]);
  const waits = [...resets, ...rateLimitQuotas(headerOf(headers, 'ratelimit'))]
    .filter(([, remaining]) => isExhausted(remaining, status))
    .map(([reset]) => parseWait(reset, 1000, base) ?? 0);
  return Math.max(0, ...waits);
}

/** Only a 429 says by its status that a quota is exhausted. */
function isExhausted(remaining: string | undefined, status: number): boolean {
  return remaining === undefined ? status === 429 : Number(remaining) <= 0;
}

const QUOTED = /"(?:[^"\\]|\\.)*"/g;

/** Reset and remaining quota of each item of `RateLimit`: `"name";r=0;t=30`, or in drafts 7 and 8 `remaining=0, reset=30`. */
function rateLimitQuotas(value = ''): (string | undefined)[][] {
  const unquoted = value.replace(QUOTED, '');
  const items = unquoted.split(',').map((item) => [/;\s*t=([\d.]+)/.exec(item), /;\s*r=([\d.]+)/.exec(item)]);
  const whole = [/\breset=([\d.]+)/.exec(unquoted), /\bremaining=([\d.]+)/.exec(unquoted)];
  return [...items, whole].map((matches) => matches.map((match) => match?.[1]));
}

const NUMBER = /^\d+(?:\.\d+)?$/;
const GO_DURATION = /^(?:\d+(?:\.\d+)?(?:ms|[dhms]))+$/;
/** A date with its time zone: of RFC 9110, of RFC 3339, or as JavaScript writes it. */
const DATE = /^(?:[A-Z][a-z]{2}|\d{4}-\d\d-\d\dT).*(?:GMT|UTC|Z|[+-]\d\d:?\d\d)/;

/**
 * Milliseconds of a number of units, of a duration such as `6m0s`, or until a date; `undefined` for anything else. A
 * number of seconds that would be thirty years or more is a time since 1970, in seconds or milliseconds.
 */
function parseWait(value: string | undefined, unit: number, base: number): number | undefined {
  if (value === undefined) return undefined;
  if (NUMBER.test(value)) {
    const ms = Number(value) * unit;
    if (ms < 1e12 || unit < 1000) return ms;
    return (ms < 1e15 ? ms : ms / 1000) - base;
  }
  if (GO_DURATION.test(value)) {
    const parts = [...value.matchAll(/([\d.]+)(ms|[dhms])/g)];
    return parts.reduce((sum, [, count, suffix]) => sum + Number(count) * SUFFIX_MS[suffix], 0);
  }
  const until = DATE.test(value) ? Date.parse(value) : Number.NaN;
  return Number.isFinite(until) ? until - base : undefined;
}

/** Longer values are no times, and are not worth a search. */
const LONGEST_VALUE = 1024;

function headerOf(headers: HeaderReader, name: string): string | undefined {
  const value = headers.get(name);
  const text = typeof value === 'number' ? String(value) : value;
  return typeof text === 'string' && text !== '' && text.length <= LONGEST_VALUE ? text.trim() : undefined;
}
