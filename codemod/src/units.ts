import type { Node } from 'ts-morph';
import type { Findings } from './findings.js';
import type { Semantics } from './policy.js';
import type { Value } from './value.js';

/** Marks times that look like seconds, although they are milliseconds. */
export function warnOfUnit(ttl: Value, place: Node, { inSeconds }: Semantics, findings: Findings): void {
  if (inSeconds || ttl.known === undefined || ttl.known >= 1000) return;
  findings.check(
    place,
    'units',
    `\`ttl: ${ttl.text}\` is ${ttl.known} milliseconds since version 5, and was kept. If seconds were meant, write \`unit: 'seconds'\`.`,
  );
}
