import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { upstreamWait } from '../../src/outbound/upstream-wait.js';
import { MAX_DURATION } from '../../src/util/duration.js';

const NOW = Date.UTC(2030, 0, 1);
const DATE = new Date(NOW).toUTCString();
/** The same instant by a clock that is two hours ahead. */
const AHEAD = new Date(NOW + 7_200_000).toUTCString();

const waitOf = (status: number, headers: Record<string, string>) =>
  upstreamWait({ status, headers: new Headers(headers) }, NOW);
const epoch = (seconds: number) => `${NOW / 1000 + seconds}`;
const limited = (remaining: string, reset: string) => ({
  'x-ratelimit-remaining': remaining,
  'x-ratelimit-reset': reset,
});

describe('upstreamWait', () => {
  it.each<[string, Record<string, string>, number]>([
    // RFC 9110
    ['Retry-After in seconds', { 'retry-after': '30' }, 30_000],
    ['Retry-After in fractions, as Shopify sends it', { 'retry-after': '2.0' }, 2000],
    ['Retry-After 0', { 'retry-after': '0' }, 0],
    ['Retry-After as a date', { date: DATE, 'retry-after': new Date(NOW + 45_000).toUTCString() }, 45_000],
    ['a date without Date', { 'retry-after': new Date(NOW + 45_000).toUTCString() }, 45_000],
    ['a date by another clock', { date: AHEAD, 'retry-after': new Date(NOW + 7_210_000).toUTCString() }, 10_000],
    ['a date of RFC 850', { 'retry-after': 'Tuesday, 01-Jan-30 00:00:20 GMT' }, 20_000],
    ['a date in the past', { 'retry-after': new Date(NOW - 45_000).toUTCString() }, 0],
    ['an unreadable Date', { date: 'today', 'retry-after': new Date(NOW + 45_000).toUTCString() }, 45_000],
    // milliseconds of vendors
    ['retry-after-ms before Retry-After', { 'retry-after-ms': '1500', 'retry-after': '2' }, 1500],
    ['x-ms-retry-after-ms', { 'x-ms-retry-after-ms': '250' }, 250],
    ['an unreadable retry-after-ms', { 'retry-after-ms': 'soon', 'retry-after': '2' }, 2000],
    ['X-RateLimit-Retry-After', { 'x-ratelimit-retry-after': '12' }, 12_000],
    // drafts of RateLimit
    ['RateLimit of draft 11', { ratelimit: '"default";r=0;t=30' }, 30_000],
    ['two policies', { ratelimit: '"burst";r=0;t=5, "day";r=0;t=600' }, 600_000],
    ['only the exhausted policy', { ratelimit: '"burst";r=0;t=5, "day";r=12;t=600' }, 5000],
    ['a name with separators', { ratelimit: '"a;r=0;t=99,\\"b";pk=:QQ==:;r=0;t=7' }, 7000],
    ['RateLimit of drafts 7 and 8', { ratelimit: 'limit=100, remaining=0, reset=25' }, 25_000],
    ['tokens that remain in drafts 7 and 8', { ratelimit: 'limit=100, remaining=3, reset=25' }, 0],
    ['RateLimit-Reset of draft 6', { 'ratelimit-remaining': '0', 'ratelimit-reset': '50' }, 50_000],
    ['RateLimit-Reset as GitLab sends it', { 'ratelimit-remaining': '0', 'ratelimit-reset': epoch(60) }, 60_000],
    // vendors
    ['seconds since 1970 (GitHub)', limited('0', epoch(90)), 90_000],
    ['the same by another clock', { ...limited('0', epoch(7290)), date: AHEAD }, 90_000],
    ['fractions of seconds since 1970 (Discord)', limited('0', epoch(1.25)), 1250],
    ['milliseconds since 1970', limited('0', `${NOW + 1500}`), 1500],
    ['seconds from now (Reddit)', limited('0', '42'), 42_000],
    ['RFC 3339 (Atlassian)', limited('0', '2030-01-01T00:02Z'), 120_000],
    ['a date of JavaScript (lemlist)', limited('0', 'Tue Jan 01 2030 01:00:30 GMT+0100 (CET)'), 30_000],
    ['the reset of a quota that is not exhausted', limited('14', epoch(90)), 0],
    ['Retry-After before X-RateLimit-Reset', { ...limited('0', epoch(3000)), 'retry-after': '60' }, 60_000],
    ['X-RateLimit-Reset-After', { 'x-ratelimit-remaining': '0', 'x-ratelimit-reset-after': '1.5' }, 1500],
    ['X-Rate-Limit-Reset (X, Okta)', { 'x-rate-limit-remaining': '0', 'x-rate-limit-reset': epoch(15) }, 15_000],
    ['a duration (OpenAI)', { 'x-ratelimit-remaining-requests': '0', 'x-ratelimit-reset-requests': '1s' }, 1000],
    ['minutes (OpenAI)', { 'x-ratelimit-remaining-tokens': '0', 'x-ratelimit-reset-tokens': '6m0s' }, 360_000],
    ['milliseconds (OpenAI)', { 'x-ratelimit-remaining-tokens': '0', 'x-ratelimit-reset-tokens': '12ms' }, 12],
    ['fractions (Groq)', { 'x-ratelimit-remaining-tokens': '0', 'x-ratelimit-reset-tokens': '2m59.5s' }, 179_500],
    [
      'the longest wait of the exhausted quotas (Anthropic)',
      {
        'anthropic-ratelimit-requests-remaining': '0',
        'anthropic-ratelimit-requests-reset': '2030-01-01T00:00:07Z',
        'anthropic-ratelimit-input-tokens-remaining': '0',
        'anthropic-ratelimit-input-tokens-reset': '2030-01-01T00:00:09Z',
        'anthropic-ratelimit-output-tokens-remaining': '800',
        'anthropic-ratelimit-output-tokens-reset': '2030-01-01T00:01:00Z',
      },
      9000,
    ],
    // nothing that can be read
    ['no header', {}, 0],
    ['an empty value', { 'retry-after': '' }, 0],
    ['a negative number', { 'retry-after': '-5' }, 0],
    ['two values', { 'retry-after': '5, 6' }, 0],
    ['a date without a zone', { 'retry-after': '2030-01-01T00:02:00' }, 0],
    ['a hexadecimal number', { 'retry-after': '0x10' }, 0],
    ['a word', { 'retry-after': 'tomorrow' }, 0],
  ])('reads %s', (_, headers, wait) => {
    expect(waitOf(429, headers)).toBe(wait);
  });

  it.each<[number, Record<string, string>, number]>([
    [503, { 'retry-after': '3' }, 3000],
    [403, { 'retry-after': '3' }, 3000],
    [403, limited('0', '3'), 3000],
    [200, { 'retry-after': '3', ...limited('0', '3') }, 0],
    [200, { ratelimit: '"default";r=0;t=30' }, 0],
    [404, limited('0', '3'), 0],
    [302, { 'retry-after': '3' }, 0],
    // Without the remaining quota, only the status 429 says that it is exhausted.
    [429, { 'x-ratelimit-reset': '3' }, 3000],
    [403, { 'x-ratelimit-reset': '3' }, 0],
    [503, { 'x-ratelimit-reset': '3' }, 0],
    [503, { ratelimit: '"default";t=30' }, 0],
  ])('depends on the status: %i with %j', (status, headers, wait) => {
    expect(waitOf(status, headers)).toBe(wait);
  });

  const names = [
    ...['retry-after', 'retry-after-ms', 'ratelimit', 'ratelimit-reset', 'x-ratelimit-reset', 'date'],
    ...['x-ratelimit-remaining', 'x-ratelimit-reset-requests', 'anthropic-ratelimit-tokens-reset'],
  ];
  const fragments = fc
    .array(
      fc.constantFrom('"', '\\', ';r=', ';t=', '0', '1e9', '99999999999999999999', 'Z', '-', '.', 'Mon, ', 's', 'm'),
    )
    .map((parts) => parts.join(''));
  const values = fc.oneof(fragments, fc.string({ maxLength: 2000 }), fc.double().map(String), fc.date().map(String));

  it('returns a number of at least 0 for any headers', () => {
    let positive = 0;
    fc.assert(
      fc.property(fc.constantFrom(403, 429, 503), fc.dictionary(fc.constantFrom(...names), values), (status, all) => {
        const headers = { get: (name: string) => all[name] ?? null };
        const wait = upstreamWait({ status, headers }, NOW);
        expect(wait).toBeGreaterThanOrEqual(0);
        if (wait > 0) positive++;
      }),
      { numRuns: 2000 },
    );
    expect(positive).toBeGreaterThan(20);
  });

  it('reads every wait that a header can express, in each format', () => {
    const seconds = fc.integer({ min: 0, max: MAX_DURATION / 1000 });
    const formats: ((wait: number) => Record<string, string>)[] = [
      (wait) => ({ 'retry-after': `${wait}` }),
      (wait) => ({ 'retry-after': new Date(NOW + wait * 1000).toUTCString() }),
      (wait) => ({ 'retry-after-ms': `${wait * 1000}` }),
      (wait) => ({ ratelimit: `"p";r=0;t=${wait}` }),
      (wait) => limited('0', epoch(wait)),
      (wait) => limited('0', `${NOW + wait * 1000}`),
      (wait) => limited('0', new Date(NOW + wait * 1000).toISOString()),
      (wait) => ({ 'x-ratelimit-reset-tokens': `${Math.floor(wait / 60)}m${wait % 60}s` }),
    ];
    fc.assert(
      fc.property(seconds, fc.constantFrom(...formats), (wait, format) => {
        expect(waitOf(429, format(wait))).toBe(wait * 1000);
      }),
    );
  });
});
