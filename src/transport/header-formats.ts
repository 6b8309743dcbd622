import type { Decision, LimitState } from '../core/decision.js';

/** A format of rate limit headers; `Retry-After` is sent with each. */
export type HeaderSet = 'draft-11' | 'draft-6' | 'legacy';

/** Nest's HTTP adapter: the one method of it that is called here. */
export interface HeaderWriter {
  setHeader(response: unknown, name: string, value: string): unknown;
}

/** What a limit allows, as headers describe it. */
export interface Quota {
  readonly label: string;
  readonly limit: number;
  /** Seconds of a window, or that a bucket needs to fill; `undefined` below one, without refill, or by the calendar. */
  readonly window: number | undefined;
  /** Whether it counts requests at the same time, which draft-11 reports as their quota unit. */
  readonly isConcurrency: boolean;
  /** Whether no request is rejected because of it. */
  readonly isSoft: boolean;
}

/** The parts of the headers that are the same in every answer: the quotas, and the strings of draft-11. */
export interface FixedHeaders {
  /** In the order of the decision's `limits`. */
  readonly quotas: readonly Quota[];
  /**
   * `RateLimit-Policy` of draft-ietf-httpapi-ratelimit-headers-11: an item for each limit with its quota and its window
   * in seconds: `"SmsController.send";q=20;w=120`.
   */
  readonly policies: string;
  /** How the items of `RateLimit` begin, in the order of `quotas`: `"SmsController.send";r=`. */
  readonly prefixes: readonly string[];
  /** Whether some, but not all, of the limits are left out of the headers that have numbers of one limit. */
  readonly isMixed: boolean;
}

/**
 * How one format is written and documented. Header names are written in lower case, as Fastify and HTTP/2 write all
 * names: Node looks names up in lower case, and lowering them costs more than writing them.
 */
interface HeaderFormat {
  write(decision: Decision, fixed: FixedHeaders, writer: HeaderWriter, response: unknown): void;
  /** The headers as OpenAPI documents them. */
  readonly documented: Readonly<Record<string, object>>;
}

/** All formats: a new one is an entry here. */
export const HEADER_FORMATS: Readonly<Record<HeaderSet, HeaderFormat>> = {
  'draft-11': {
    write(decision, { policies, prefixes }, writer, response) {
      writer.setHeader(response, 'ratelimit-policy', policies);
      writer.setHeader(response, 'ratelimit', limitHeader(decision, prefixes));
    },
    documented: {
      RateLimit: { description: 'The remaining quota of each limit.', schema: { type: 'string' } },
      'RateLimit-Policy': { description: 'The limits.', schema: { type: 'string' } },
    },
  },
  'draft-6': triple('RateLimit'),
  legacy: triple('X-RateLimit'),
};

export const HEADER_SETS = Object.keys(HEADER_FORMATS) as readonly HeaderSet[];

/** `RateLimit`: what remains of each limit, and in how many seconds more is available: `"SmsController.send";r=19;t=6`. */
function limitHeader(decision: Decision, prefixes: readonly string[]): string {
  const { limits } = decision;
  let header = limitItem(prefixes[0], limits[0]);
  for (let i = 1; i < limits.length; i++) header += `, ${limitItem(prefixes[i], limits[i])}`;
  return header;
}

function limitItem(prefix: string, { remaining, retryAfter, moreAfter }: LimitState): string {
  const item = prefix + Math.floor(remaining);
  const more = retryAfter > 0 ? retryAfter : moreAfter;
  return more > 0 && more !== Infinity ? `${item};t=${retrySeconds(more)}` : item;
}

/**
 * Limit, remaining requests and seconds until full, all of the limit nearest to exhaustion. These headers cannot express
 * concurrency, and clients slow down because of them: so concurrency limits and soft limits are left out beside others.
 */
function triple(prefix: string): HeaderFormat {
  const [limitName, remainingName, resetName] = ['limit', 'remaining', 'reset'].map(
    (name) => `${prefix.toLowerCase()}-${name}`,
  );
  return {
    write(decision, fixed, writer, response) {
      const { limit, remaining, resetAfter } = fixed.isMixed ? nearestRate(decision, fixed) : nearestLimit(decision);
      writer.setHeader(response, limitName, String(Math.floor(limit)));
      writer.setHeader(response, remainingName, String(Math.floor(remaining)));
      if (resetAfter === Infinity) return;
      writer.setHeader(response, resetName, String(Math.ceil(resetAfter / 1000)));
    },
    documented: {
      [`${prefix}-Limit`]: wholeNumber('The most requests allowed.', 0),
      [`${prefix}-Remaining`]: wholeNumber('The remaining requests.', 0),
      [`${prefix}-Reset`]: wholeNumber('Seconds until all requests are available again.', 0),
    },
  };
}

type NearestLimit = Pick<LimitState, 'limit' | 'remaining' | 'resetAfter'>;

function nearestLimit(decision: Decision): NearestLimit {
  const { limit, remaining, limits } = decision;
  return limits.find((one) => one.limit === limit && one.remaining === remaining) ?? decision;
}

/** The limit nearest to exhaustion, of those that are not left out. */
function nearestRate({ limits }: Decision, { quotas }: FixedHeaders): NearestLimit {
  return limits
    .filter((_, i) => !isLeftOut(quotas[i]))
    .reduce((nearest, one) => (one.remaining < nearest.remaining ? one : nearest));
}

/** Whether a limit has no part in headers that have the numbers of one limit, if there are other limits. */
export function isLeftOut({ isConcurrency, isSoft }: Quota): boolean {
  return isConcurrency || isSoft;
}

/** A header whose value is a whole number, as OpenAPI documents it. */
export function wholeNumber(description: string, minimum: number): object {
  return { description, schema: { type: 'integer', minimum } };
}

/** Whole seconds after which a client may retry: rounded up, and at least 1. */
export function retrySeconds(ms: number): number {
  return Math.max(1, Math.ceil(ms / 1000));
}

/** A structured-field string; names are printable ASCII. */
export function quoted(name: string): string {
  return `"${name.replace(/["\\]/g, '\\$&')}"`;
}
