import type { Decision, LimitState } from '../core/decision.js';
import type { Limit } from '../core/limit.js';
import type { Policy } from '../core/policy.js';

/** Which headers an answer carries; `Retry-After` stays in any case. */
export type HeaderSet = 'draft-11' | 'draft-6' | 'legacy';
export const HEADER_SETS: readonly HeaderSet[] = ['draft-11', 'draft-6', 'legacy'];

/** Nest's HTTP adapter: the one method of it that is called here. */
export interface HeaderWriter {
  setHeader(response: unknown, name: string, value: string): unknown;
}

/** What does not change from one answer to the next. */
export interface FixedHeaders {
  /**
   * `RateLimit-Policy` of draft-ietf-httpapi-ratelimit-headers-11: an item for each limit with its quota and its window
   * in seconds (a bucket's is the time it needs to fill): `"SmsController.send";q=20;w=120`.
   */
  readonly policies: string;
  /** How the items of `RateLimit` begin, in the order of the decision's `limits`: `"SmsController.send";r=`. */
  readonly beginnings: readonly string[];
}

/** The fixed parts for decisions on these policies, in this order. */
export function fixedHeaders(policies: readonly Policy[]): FixedHeaders {
  const items = policies.flatMap((policy) => policy.limits.map((limit, i) => policyItem(policy.labels[i], limit)));
  const labels = policies.flatMap((policy) => policy.labels);
  return { policies: [...new Set(items)].join(', '), beginnings: labels.map((label) => `${quoted(label)};r=`) };
}

/**
 * Writes the headers of a decision. Their names are in lower case, as Fastify and HTTP/2 write all names: Node looks each
 * up so, and to lower it takes longer than to write it.
 */
export function writeHeaders(
  decision: Decision,
  sets: readonly HeaderSet[],
  { policies, beginnings }: FixedHeaders,
  writer: HeaderWriter,
  response: unknown,
): void {
  for (let i = 0; i < sets.length; i++) {
    if (sets[i] === 'draft-11') {
      writer.setHeader(response, 'ratelimit-policy', policies);
      writer.setHeader(response, 'ratelimit', limitHeader(decision, beginnings));
    } else {
      writeTriple(decision, sets[i] === 'draft-6' ? 'ratelimit' : 'x-ratelimit', writer, response);
    }
  }
  if (!decision.allowed) writeRetryAfter(decision.retryAfter, writer, response);
}

/** `Retry-After`, in seconds; none where no retry can pass. */
export function writeRetryAfter(ms: number, writer: HeaderWriter, response: unknown): void {
  if (ms !== Infinity) writer.setHeader(response, 'retry-after', String(retrySeconds(ms)));
}

/** Whole seconds after which a client may come again: never earlier than it may, and never at once. */
function retrySeconds(ms: number): number {
  return Math.max(1, Math.ceil(ms / 1000));
}

/** `RateLimit`: what is left of each limit, and in how many seconds there is more: `"SmsController.send";r=19;t=6`. */
function limitHeader(decision: Decision, beginnings: readonly string[]): string {
  const { limits } = decision;
  let header = limitItem(beginnings[0], limits[0]);
  for (let i = 1; i < limits.length; i++) header += `, ${limitItem(beginnings[i], limits[i])}`;
  return header;
}

function limitItem(beginning: string, { remaining, retryAfter, moreAfter }: LimitState): string {
  const item = beginning + Math.floor(remaining);
  const more = retryAfter > 0 ? retryAfter : moreAfter;
  return more > 0 && more !== Infinity ? `${item};t=${retrySeconds(more)}` : item;
}

function policyItem(name: string, { size, fillTime }: Limit): string {
  const item = `${quoted(name)};q=${Math.floor(size)}`;
  return fillTime >= 1000 && fillTime !== Infinity ? `${item};w=${Math.ceil(fillTime / 1000)}` : item;
}

/** Limit, remaining and seconds until it is as good as new, all of the limit nearest to exhaustion. */
function writeTriple(decision: Decision, prefix: string, writer: HeaderWriter, response: unknown): void {
  const { limit, remaining, limits } = decision;
  const nearest = limits.find((one) => one.limit === limit && one.remaining === remaining) ?? decision;
  writer.setHeader(response, `${prefix}-limit`, String(Math.floor(limit)));
  writer.setHeader(response, `${prefix}-remaining`, String(Math.floor(remaining)));
  if (nearest.resetAfter !== Infinity)
    writer.setHeader(response, `${prefix}-reset`, String(Math.ceil(nearest.resetAfter / 1000)));
}

/** A structured-field string; names are printable ASCII. */
function quoted(name: string): string {
  return `"${name.replace(/["\\]/g, '\\$&')}"`;
}
