import type { Limit } from '../core/algorithms/algorithm.js';
import { isSoft } from '../core/algorithms/soft.js';
import type { Decision } from '../core/decision.js';
import type { Policy } from '../core/policy.js';
import {
  type FixedHeaders,
  HEADER_FORMATS,
  type HeaderSet,
  type HeaderWriter,
  isLeftOut,
  type Quota,
  quoted,
  retrySeconds,
} from './header-formats.js';

/** The fixed parts for decisions on these policies, in this order. */
export function fixedHeaders(policies: readonly Policy[]): FixedHeaders {
  return toFixedHeaders(
    policies.flatMap(({ limits, labels }) =>
      limits.map((limit, i) => ({
        label: labels[i],
        limit: Math.floor(limit.size),
        window: windowOf(limit),
        isConcurrency: limit.kind === 'concurrency',
        isSoft: isSoft(limit),
      })),
    ),
  );
}

function windowOf({ kind, fillTime }: Limit): number | undefined {
  // Months differ in length; `t` of `RateLimit` is the time until the next one.
  if (kind === 'concurrency' || kind === 'calendar') return undefined;
  return fillTime >= 1000 && fillTime !== Infinity ? Math.ceil(fillTime / 1000) : undefined;
}

export function toFixedHeaders(quotas: readonly Quota[]): FixedHeaders {
  const items = quotas.map(({ label, limit, window, isConcurrency }) => {
    const item = `${quoted(label)};q=${limit}`;
    if (isConcurrency) return `${item};qu="concurrent-requests"`;
    return window === undefined ? item : `${item};w=${window}`;
  });
  const leftOut = quotas.filter(isLeftOut).length;
  return {
    quotas,
    policies: [...new Set(items)].join(', '),
    prefixes: quotas.map(({ label }) => `${quoted(label)};r=`),
    isMixed: leftOut > 0 && leftOut < quotas.length,
  };
}

/** Writes the headers of a decision in each of the given formats. */
export function writeHeaders(
  decision: Decision,
  sets: readonly HeaderSet[],
  fixed: FixedHeaders,
  writer: HeaderWriter,
  response: unknown,
): void {
  for (let i = 0; i < sets.length; i++) HEADER_FORMATS[sets[i]].write(decision, fixed, writer, response);
  if (!decision.allowed) writeRetryAfter(decision.retryAfter, writer, response);
}

/** Writes `Retry-After` in seconds; nothing if no retry can succeed. The only writer of this header. */
export function writeRetryAfter(ms: number, writer: HeaderWriter, response: unknown): void {
  if (ms !== Infinity) writer.setHeader(response, 'retry-after', String(retrySeconds(ms)));
}

/** A response of Express, of Fastify or of Node. */
interface Response {
  header?(name: string, value: string): unknown;
  setHeader?(name: string, value: string): unknown;
}

/** Writes to any response, also without Nest's adapter. */
export const RESPONSE_WRITER: HeaderWriter = {
  setHeader(response, name, value) {
    const { header } = response as Response;
    if (header) header.call(response, name, value);
    else (response as Response).setHeader?.(name, value);
  },
};
