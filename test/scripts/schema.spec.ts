import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { describe, expect, it } from '@jest/globals';
import { Ajv } from 'ajv';
import fc from 'fast-check';
import type { RateLimitOptions } from 'nest-rate-limit';
import { parse as parseYaml } from 'yaml';
import { LIMIT_OPTIONS } from '../../src/core/limit.js';
import { parseModuleOptions } from '../../src/module/parse-module-options.js';
import { OPTION_NAMES, REQUEST_LIMIT_OPTIONS } from '../../src/policy/policy-options.js';
import type { RequestPolicy } from '../../src/policy/request-policy.js';

const schema = JSON.parse(readFileSync('policies.schema.json', 'utf8'));
const validate = new Ajv({ strictTypes: true, allowUnionTypes: true }).compile(schema);
const { RateLimitOptions: policySchema, RequestLimit: limitSchema } = schema.definitions;

/** The error of the library for policies from a JSON document; `undefined` if it accepts them. */
function errorOf(policies: unknown): string | undefined {
  try {
    parseModuleOptions({ policies: policies as Record<string, RateLimitOptions> }, [], () => undefined);
    return undefined;
  } catch (error) {
    return (error as Error).message;
  }
}

/** What the schema does not state: how values of different options, or the digits of a number, relate. */
const ONLY_AT_STARTUP = [
  /`capacity` must be at most \d+ at this `refill`/,
  /`capacity` must be at most \d+, got/,
  /`(capacity|refill)` must be a number with at most three decimals/,
  /`cost` must be at most \d+(\.\d+)?, otherwise no request could be allowed/,
  /`duration` must be (a whole number of milliseconds|at most ten years)/,
  /`(block|maxWait|maxHold|slotTtl)` must be (a whole number of milliseconds|positive|at most ten years), got '/,
  /`slotTtl` must be from one second to one hour, got '/,
  /`timeZone` must be an IANA time zone/,
  /`lease` must be (at most|omitted)/,
  /`(cost|settle)` must be omitted for a concurrency limit/,
  /`maxHold` must be omitted without `concurrency`/,
  /`limits` must be a list with at most one `concurrency`/,
  /`name` must be omitted, or 'api'/,
];

/** Checks that the schema accepts a policy if the library does, and otherwise only because of rules that it cannot state. */
function compare(api: object): 'accepted' | 'rejected' | 'onlyAtStartup' {
  const error = errorOf({ api });
  const isValid = validate({ api });
  if (error === undefined) {
    expect([api, validate.errors]).toEqual([api, null]);
    return 'accepted';
  }
  if (!isValid) return 'rejected';
  expect([api, error, ONLY_AT_STARTUP.some((rule) => rule.test(error))]).toEqual([api, error, true]);
  return 'onlyAtStartup';
}

const LONGEST = 'a'.repeat(128);

/** For each option, values that JSON may have. The first one is valid. */
const VALUES: Record<string, unknown[]> = {
  duration: [1, 2, 0.5, 315_360_000_000, 315_360_000_001, 0, -1, '1', null],
  unit: ['seconds', 'minute', 'milliseconds', 'weeks', 'Seconds', '', null],
  maxRequest: [5, 1, 9_007_199_254, 9_007_199_255, 0, -1, 1.5, '5', null],
  capacity: [10, 0.001, 1.5, 0.0001, 9_007_199_254_740, 9_007_199_254_741, 0, -1, '10', null],
  refill: [2, 0, 0.1, 0.0001, 9_007_199_254_741, -1, '2', null],
  refillMode: ['greedy', 'intervally', 'slowly', null],
  calendar: ['month', 'day', 'hour', null],
  timeZone: ['UTC', 'Europe/Berlin', 'Mars', '', 1, null],
  concurrency: [3, 1, 9_007_199_254, 9_007_199_255, 0, 1.5, '3', null],
  soft: [true, false, 'true', null],
  slotTtl: ['30s', 1000, 3_600_000, 999, 3_600_001, '1d', '30', null],
  name: ['api', 'other', LONGEST, `${LONGEST}a`, 'é', '', 1, null],
  cost: [1, 0, 0.5, 1000, 9_007_199_254_741, -1, '1', true, null],
  settle: ['failures', 'successes', 'both', true, null],
  block: ['10m', 1, '0.5s', 315_360_000_000, 315_360_000_001, '10 m', '10', 0, 1.5, null],
  lease: [1, 5, 11, 0, 1.5, '1', null],
  key: ['all', '', 1, null],
  skip: [true, false, 'true', 1, null],
  maxWait: ['2s', 500, 315_360_000_000, 315_360_000_001, '0s', '4000d', 'long', 0, null],
  maxHold: ['1h', 315_360_000_000, 315_360_000_001, 0, 'long', null],
  dryRun: [true, false, 'true', null],
  message: ['Slow down', { error: 'slow' }, [], '', 1, true, null],
  onStoreError: ['local', 'open', 'closed', 'ajar', null],
  perHandler: [true, false, 'true', null],
  unknown: [1],
};

const SHAPES: RateLimitOptions[] = [
  { maxRequest: 5 },
  { capacity: 10, refill: 2 },
  { capacity: 10, maxRequest: 5 },
  { capacity: 10, calendar: 'month' },
  { concurrency: 3 },
  {},
];

/** Random options: those of one kind of limit, and up to three others. */
const optionsOf = (names: string[]) =>
  fc
    .tuple(fc.constantFrom(...SHAPES), fc.subarray([...names, 'unknown'], { maxLength: 3 }))
    .chain(([shape, others]) => {
      const values = others.map((name) => [name, fc.constantFrom(...VALUES[name])] as const);
      return fc.record(Object.fromEntries(values)).map((chosen) => ({ ...shape, ...chosen }));
    });
const limits = fc.array(optionsOf(Object.keys(limitSchema.properties)), { maxLength: 2 });
const single = optionsOf(Object.keys(policySchema.properties).filter((name) => name !== 'limits'));
const several = fc.record({ limits, block: fc.constantFrom(...VALUES.block), lease: fc.constantFrom(1, undefined) });

describe('policies.schema.json', () => {
  it('is what `npm run schema` writes', () => {
    const { status, stderr } = spawnSync(process.execPath, ['scripts/schema.mjs', '--check'], { encoding: 'utf8' });
    expect([status, stderr]).toEqual([0, '']);
  });

  it('has all options, with descriptions, except for `onLimited`, which JSON cannot express', () => {
    const options = Object.keys(policySchema.properties);
    expect([...options, 'onLimited'].sort()).toEqual([...OPTION_NAMES].sort());
    expect(Object.keys(limitSchema.properties).sort()).toEqual([...REQUEST_LIMIT_OPTIONS].sort());
    expect(Object.keys(VALUES).sort()).toEqual(options.map((name) => (name === 'limits' ? 'unknown' : name)).sort());
    for (const { description } of Object.values<{ description: string }>(policySchema.properties)) {
      expect(description).toMatch(/^[A-Z`'].*\.$/);
    }
  });

  it('accepts exactly the combinations of limit options that the library accepts', () => {
    let accepted = 0;
    for (let chosen = 0; chosen < 2 ** LIMIT_OPTIONS.length; chosen++) {
      const names = LIMIT_OPTIONS.filter((_, i) => chosen & (1 << i));
      const options = Object.fromEntries(names.map((name) => [name, VALUES[name][0]]));
      for (const api of [options, { limits: [options] }, { ...options, limits: [{ concurrency: 1 }] }]) {
        const error = errorOf({ api });
        expect([api, validate({ api }), error]).toEqual([api, error === undefined, error]);
        if (error === undefined) accepted++;
      }
    }
    expect(accepted).toBeGreaterThan(50);
  });

  it.each(Object.entries(VALUES))('judges each value of `%s` like the library', (name, values) => {
    const all = SHAPES.flatMap((shape) => values.map((value) => ({ ...shape, [name]: value })));
    for (const options of all) {
      compare(options);
      compare({ limits: [options] });
    }
  });

  it('accepts all policies that the library accepts, and of others only those of known rules', () => {
    const seen = { accepted: 0, rejected: 0, onlyAtStartup: 0 };
    fc.assert(
      fc.property(fc.oneof(single, several), (api) => {
        seen[compare(api)]++;
      }),
      { numRuns: 3000 },
    );
    for (const count of Object.values(seen)) expect(count).toBeGreaterThan(20);
  });

  it.each<[string, unknown]>([
    ['no policies', {}],
    ['a name of printable ASCII', { 'sign in': { maxRequest: 5 } }],
    ['the longest name', { [LONGEST]: { maxRequest: 5, name: LONGEST } }],
  ])('accepts %s', (_, policies) => {
    expect([errorOf(policies), validate(policies)]).toEqual([undefined, true]);
  });

  it.each<[string, unknown]>([
    ['a list', []],
    ['null', null],
    ['a policy that is a string', { api: 'search' }],
    ['a policy that is a list', { api: [{ maxRequest: 5 }] }],
    ['an empty name', { '': { maxRequest: 5 } }],
    ['a name of other characters', { é: { maxRequest: 5 } }],
    ['an empty list of limits', { api: { limits: [] } }],
    ['an option of policies in a limit', { api: { limits: [{ maxRequest: 5, key: 'all' }] } }],
    ['a period of more than ten years', { api: { maxRequest: 5, duration: 315_360_000_001, unit: 'milliseconds' } }],
    ['the option of another library', { api: { limit: 5, ttl: 1000 } }],
  ])('rejects %s', (_, policies) => {
    expect([errorOf(policies), validate(policies)]).toEqual([expect.any(String), false]);
  });

  it('accepts the files of the guide', () => {
    const page = readFileSync('docs/guides/deployment.md', 'utf8');
    const blocks = [...page.matchAll(/^```(?:json|yaml)\n(.*?)^```/gms)].map(([, text]) => text);
    const files = blocks.filter((text) => !text.includes('json.schemas')).map((text) => parseYaml(text));
    expect(files).toHaveLength(2);
    for (const file of files) expect([file, errorOf(file), validate(file)]).toEqual([file, undefined, true]);
  });

  it('states the defaults of the library', () => {
    const parsed = (api: RateLimitOptions) => {
      const { named } = parseModuleOptions({ policies: { api } }, [], () => undefined);
      const { policy, cost, dryRun, perHandler } = named.get('api') as RequestPolicy;
      return { policy, cost, dryRun, perHandler };
    };
    const base = (name: string): RateLimitOptions => {
      if (name === 'timeZone') return { calendar: 'day', capacity: 10 };
      return name === 'slotTtl' ? { concurrency: 3 } : { capacity: 10, refill: 2 };
    };
    const stated = Object.entries<{ default?: unknown }>(policySchema.properties).filter(([, one]) => 'default' in one);
    expect(stated.map(([name]) => name).sort()).toEqual([
      'cost',
      'dryRun',
      'duration',
      'perHandler',
      'refillMode',
      'slotTtl',
      'timeZone',
      'unit',
    ]);
    for (const [name, { default: value }] of stated) {
      const options = base(name);
      expect(parsed({ ...options, [name]: value })).toEqual(parsed(options));
    }
  });
});
