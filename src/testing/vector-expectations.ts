import assert from 'node:assert/strict';
import { RateLimitExceededException } from '../exceptions/rate-limit.exception.js';
import type { Outcome, Step } from './vector.js';

/** Results that may be fractions, and are compared with a tolerance. */
const FRACTIONAL_FIELDS = ['remaining', 'available'];

/** Asserts that a call had the expected result. `started` is the time at which the vector started. */
export function checkOutcome(step: Step, outcome: Outcome, started: number, where = ''): void {
  const { value, error, at } = outcome;
  const { expect = {} } = step;
  const message = `${where} ${JSON.stringify(step)} ended with ${JSON.stringify(error ?? value)} at ${at - started}`;
  if (expect.error !== undefined) {
    assert.equal((error as Error | undefined)?.name, expect.error, message);
    assert.equal((error as Error).message, expect.message, message);
  } else if (expect.aborted) {
    assert.equal((error as Error | undefined)?.message, 'aborted', message);
  } else if (expect.rejected) {
    checkRejection(step, outcome, started, message);
  } else {
    assert.equal(error, undefined, message);
    checkValue(step, outcome, started, message);
  }
}

function checkRejection(step: Step, { error, at }: Outcome, started: number, message: string): void {
  if (step.op === 'watch') assert.equal((error as Error | undefined)?.name, 'TimeoutError', message);
  else assert.ok(error instanceof RateLimitExceededException, message);
  assert.ok(at - started <= step.at + (step.op === 'watch' ? (step.timeout ?? 0) : 0), message);
  const retryAfter = step.expect?.retryAfter;
  if (retryAfter === undefined) return;
  assert.equal((error as RateLimitExceededException).decision.retryAfter, toNumber(retryAfter), message);
}

function checkValue(step: Step, { value, at }: Outcome, started: number, message: string): void {
  for (const [name, expected] of Object.entries(step.expect ?? {})) {
    if (name === 'delay') {
      assert.equal(at - started - step.at, expected, message);
      continue;
    }
    const actual = (value as Record<string, unknown>)[name];
    if (FRACTIONAL_FIELDS.includes(name)) {
      assert.ok(Math.abs((actual as number) - (expected as number)) <= 1e-6, `${name}: ${message}`);
    } else {
      assert.equal(actual, toNumber(expected), `${name}: ${message}`);
    }
  }
}

/** JSON has no `Infinity`: vectors write it as a string. */
function toNumber(value: unknown): unknown {
  return value === 'Infinity' ? Infinity : value;
}
