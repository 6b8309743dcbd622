import type { Limit } from '../core/algorithms/algorithm.js';
import type { Decision } from '../core/decision.js';
import type { Policy } from '../core/policy.js';
import {
  type FixedHeaders,
  HEADER_FORMATS,
  type HeaderSet,
  type HeaderWriter,
  quoted,
  retrySeconds,
} from './header-formats.js';

/** The fixed parts for decisions on these policies, in this order. */
export function fixedHeaders(policies: readonly Policy[]): FixedHeaders {
  const items = policies.flatMap((policy) => policy.limits.map((limit, i) => policyItem(policy.labels[i], limit)));
  const labels = policies.flatMap((policy) => policy.labels);
  return { policies: [...new Set(items)].join(', '), beginnings: labels.map((label) => `${quoted(label)};r=`) };
}

function policyItem(name: string, { size, fillTime }: Limit): string {
  const item = `${quoted(name)};q=${Math.floor(size)}`;
  return fillTime >= 1000 && fillTime !== Infinity ? `${item};w=${Math.ceil(fillTime / 1000)}` : item;
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
