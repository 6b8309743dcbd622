import { RateLimitOptionError } from '../util/option-error.js';
import type { Limit } from './algorithms/algorithm.js';
import { Answer, type AnsweredLimit } from './answer.js';
import type { StoreAnswer } from './decision.js';
import { type LimitNumbers, parseLimitOptions } from './limit.js';
import { definePolicy, type LimitOptions, limitsOf, type Policy } from './policy.js';
import type { Take } from './request.js';

/*
 * A policy that is resolved per request may have limits of 0, which deny every request, and of `Infinity`, which deny
 * none. Only those of 0 are kept if there are any, else only the finite ones. So a policy without limits exempts the
 * request, and one whose first limit is 0 denies it, both without the store.
 */

/** Validates options that were resolved per request, and returns their policy. */
export function defineResolvedPolicy(options: LimitOptions, fallbackName: string): Policy {
  const limits = limitsOf(options, parseResolvedLimit);
  const zero = limits.filter(({ size }) => size === 0);
  const kept = zero.length > 0 ? zero : limits.filter(({ size }) => size !== Infinity);
  return definePolicy(options, fallbackName, kept, true);
}

function parseResolvedLimit(options: LimitNumbers): Limit[] {
  const { maxRequest, capacity, refill, concurrency } = options;
  // Any finite numbers, so that the rest is validated.
  const limits = parseLimitOptions({
    ...options,
    maxRequest: isExtreme(maxRequest) ? 1 : maxRequest,
    capacity: isExtreme(capacity) ? 1 : capacity,
    concurrency: isExtreme(concurrency) ? 1 : concurrency,
    refill: refill === Infinity && isExtreme(capacity) ? 1 : refill,
  });
  return limits.map((limit) => {
    const sizes = [{ window: maxRequest, bucket: capacity, calendar: capacity, concurrency }[limit.kind]];
    if (limit.kind !== 'concurrency' && refill === undefined) sizes.push(maxRequest);
    if (sizes.includes(0) && options.soft) {
      const reason = 'it denies nothing. Omit `soft` to deny every request';
      throw new RateLimitOptionError(`a soft limit must be larger than 0, got 0: ${reason}`);
    }
    if (sizes.includes(0)) return { ...limit, size: 0, capacity: 0, fillTime: 0 };
    return sizes.includes(Infinity) ? { ...limit, size: Infinity } : limit;
  });
}

function isExtreme(size: number | undefined): boolean {
  return size === 0 || size === Infinity;
}

/** Whether no request ever needs this policy. */
export function exemptsAll({ limits }: Policy): boolean {
  return limits.length === 0;
}

/** Whether the policy denies every request. */
export function deniesAll({ limits: [first] }: Policy): boolean {
  return first.size === 0;
}

/** The denial of takes from policies that deny every request. */
export function denyAll(takes: readonly Take[]): StoreAnswer {
  const limits = takes.flatMap(({ policy }) => policy.labels.map(deniedLimit));
  return new Answer(false, limits, 0, 'store');
}

function deniedLimit(name: string): AnsweredLimit {
  const times = { retryAfter: Infinity, resetAfter: Infinity, moreAfter: Infinity };
  return { name, limit: 0, balance: 0, remaining: 0, ...times };
}
