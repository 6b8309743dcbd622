import type { Node } from 'ts-morph';
import { quoted } from './names.js';
import { numberText, productText, type Value } from './value.js';

/** What applies to a handler from one throttler. */
export interface Throttler {
  readonly name: string;
  readonly limit: Value;
  readonly ttl: Value;
  readonly block?: Value;
  /** Source of `key`. */
  readonly key?: string;
}

/** Differences between versions of @nestjs/throttler. */
export interface Semantics {
  /** Whether times are seconds: before version 5. */
  readonly inSeconds: boolean;
  /** Whether a client is blocked for `ttl` after a rejection: since version 6. */
  readonly blocks: boolean;
}

/** The entries of an object literal. */
export type Entries = [name: string, text: string][];

/**
 * Returns the options of the policy that a throttler is at `target`, or why they cannot be written there. A function
 * among its options makes it a resolver: the options then have `await`.
 */
export function policyEntries(
  throttler: Throttler,
  { inSeconds, blocks }: Semantics,
  target: Node,
): Entries | { error: string } {
  const { limit, ttl, key } = throttler;
  const block = throttler.block ?? (blocks ? ttl : undefined);
  const problem = problemOf(throttler);
  if (problem) return { error: problem };
  const maxRequest = amount(limit, target);
  const period = periodEntries(ttl, inSeconds, target);
  const blocked = block && block.known !== 0 ? blockText(block, inSeconds, target) : '';
  if (maxRequest === undefined || period === undefined || blocked === undefined) {
    return {
      error: `the limit of the throttler '${throttler.name}' cannot be repeated here: write the whole @RateLimit.`,
    };
  }
  const entries: Entries = [['maxRequest', maxRequest], ...period];
  if (blocked) entries.push(['block', blocked]);
  if (key) entries.push(['key', key]);
  return entries;
}

/** Whether a throttler has an option that is called for each request. */
export function isResolved({ limit, ttl, block }: Throttler): boolean {
  return [limit, ttl, block].some((value) => value?.isFunction);
}

function problemOf({ name, limit, ttl, block }: Throttler): string | undefined {
  if ([limit, ttl, block].some((value) => value && value.isFunction === undefined)) {
    return `an option of the throttler '${name}' is a number or a function, which is known only at run time.`;
  }
  if (limit.known !== undefined && !(limit.known >= 1)) {
    return `\`limit: ${limit.text}\` has no counterpart: \`maxRequest\` must be a positive number.`;
  }
  if (ttl.known !== undefined && !(ttl.known > 0))
    return `\`ttl: ${ttl.text}\` has no counterpart: it must be positive.`;
  return undefined;
}

function amount(value: Value, target: Node): string | undefined {
  if (value.isFunction) return `await (${value.text})(context)`;
  return numberText(value, target);
}

const UNITS: readonly (readonly [unit: string, suffix: string, ms: number])[] = [
  ['days', 'd', 86_400_000],
  ['hours', 'h', 3_600_000],
  ['minutes', 'm', 60_000],
  ['seconds', 's', 1000],
  ['milliseconds', 'ms', 1],
];

/** `duration` and `unit`: the largest unit for literals, otherwise the unit of the source. */
function periodEntries(ttl: Value, inSeconds: boolean, target: Node): Entries | undefined {
  if (ttl.literal !== undefined) {
    const [unit, , size] = unitOf(ttl.literal * (inSeconds ? 1000 : 1));
    const duration = (ttl.literal * (inSeconds ? 1000 : 1)) / size;
    const written: Entries = [['unit', quoted(unit, target)]];
    return duration === 1 ? written : [['duration', String(duration)], ...written];
  }
  const helperUnit = ttl.helper && !inSeconds ? UNITS.find(([, , ms]) => ms === ttl.helper?.ms) : undefined;
  const duration = helperUnit && ttl.helper ? amount(ttl.helper.argument, target) : milliseconds(ttl, target);
  if (duration === undefined) return undefined;
  return [
    ['duration', duration],
    ['unit', quoted(helperUnit?.[0] ?? (inSeconds ? 'seconds' : 'milliseconds'), target)],
  ];
}

function blockText(block: Value, inSeconds: boolean, target: Node): string | undefined {
  if (block.literal !== undefined) {
    const ms = block.literal * (inSeconds ? 1000 : 1);
    const [, suffix, size] = unitOf(ms);
    return quoted(`${ms / size}${suffix}`, target);
  }
  const text = milliseconds(block, target);
  return text !== undefined && inSeconds ? `${text} * 1000` : text;
}

/** Source of the number; the call of a time helper becomes a product. */
function milliseconds(value: Value, target: Node): string | undefined {
  if (!value.helper) return amount(value, target);
  const argument = amount(value.helper.argument, target);
  return argument === undefined ? undefined : productText(argument, value.helper.ms);
}

function unitOf(ms: number): (typeof UNITS)[number] {
  return UNITS.find(([, , size]) => ms % size === 0) ?? UNITS[UNITS.length - 1];
}

const WIDTH = 100;

/** Writes an object literal, on one line if it fits. */
export function objectText(entries: Entries, indent: string, column = indent.length + 20): string {
  const inline = `{ ${entries.map(([name, text]) => `${name}: ${text}`).join(', ')} }`;
  if (!inline.includes('\n') && column + inline.length <= WIDTH) return inline;
  return `{\n${entries.map(([name, text]) => `${indent}  ${name}: ${text},\n`).join('')}${indent}}`;
}

/** Writes a list. */
export function listText(items: readonly string[], indent: string): string {
  const inline = `[${items.join(', ')}]`;
  if (!inline.includes('\n') && indent.length + inline.length <= WIDTH) return inline;
  return `[\n${items.map((item) => `${indent}  ${item},\n`).join('')}${indent}]`;
}
