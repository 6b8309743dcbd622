import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';

/** The lines that `npm run check:imports` prints about a folder. None: it has to end well. */
function check(folder: string): string[] {
  const script = 'scripts/check-imports.mjs';
  const { status, stderr } = spawnSync(process.execPath, [script, folder], { encoding: 'utf8' });
  const lines = stderr.split('\n').filter(Boolean);
  expect(status).toBe(lines.length > 0 ? 1 : 0);
  return lines;
}

describe('the imports of src', () => {
  it('point down and make no circle, and time comes from the clock', () => {
    expect(check('src')).toEqual([]);
  });
});

describe('the check of the imports', () => {
  let folder: string;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'nest-rate-limit-imports-'));
  });
  afterEach(() => {
    rmSync(folder, { recursive: true });
  });
  const checkFiles = (files: Record<string, string[]>) => {
    for (const [name, lines] of Object.entries(files)) {
      mkdirSync(dirname(join(folder, name)), { recursive: true });
      writeFileSync(join(folder, name), lines.join('\n'));
    }
    return check(folder).map((line) => line.replace(`${folder}/`, ''));
  };

  it('lets pass what is allowed', () => {
    const lines = checkFiles({
      'core/clock.ts': ['export const now = () => Date.now();'],
      'core/limit.ts': [`import './clock.js';`],
      'index.ts': [`export { guard } from './guard.js';`],
      'guard.ts': [`import '@nestjs/common';`, `import './stores/redis/store.js';`],
      'stores/redis/store.ts': [
        `// Date.now() and import 'rxjs' in a comment are no matter.`,
        `import { createHash } from 'node:crypto';`,
        `import '../../observe/channels.js';`,
        `import type { Redis } from 'ioredis';`,
        `import { type Cluster } from 'ioredis';`,
        `import '../../core/limit.js';`,
        `const make = () => import('ioredis');`,
        'interface Own { setTimeout(): void }',
        'const call = (own: Own) => own.setTimeout();',
      ],
      'observe/channels.ts': [`import { channel } from 'node:diagnostics_channel';`, `import '../core/limit.js';`],
      'suspend/guard.ts': [`import 'rxjs';`, `import '../core/clock.js';`],
    });
    expect(lines).toEqual([]);
  });

  it('finds each breach of a rule, and says where', () => {
    const lines = checkFiles({
      'circle/a.ts': [`import './b.js';`],
      'circle/b.ts': ['', 'export type {', `  C } from './c.js';`],
      'circle/c.ts': [`type A = import('./a.js').A;`],
      'core/a.ts': [`import '../plan.js';`, `import type { X } from '@nestjs/common';`, `import 'node:util';`],
      'core/limit.ts': [],
      'index.ts': [],
      'observe/messages.ts': [`import '../plan.js';`, `import '@nestjs/common';`],
      'opentelemetry/index.ts': [`import '../plan.js';`, `import '@opentelemetry/sdk-metrics';`],
      'other.ts': [`import './opentelemetry/index.js';`, `import '@opentelemetry/api';`, `import '@nestjs/swagger';`],
      'plan.ts': [`import './index.js';`, `import 'nest-rate-limit';`, `import '../test/x.js';`, `import './time';`],
      'redis.ts': [`import type { Redis } from 'ioredis';`],
      'transport/ws.ts': [`import { WsException } from '@nestjs/websockets';`],
      'stores/memory/a.ts': [`import '../../plan.js';`, `import 'rxjs';`, `const redis = import('ioredis');`],
      'stores/redis/a.ts': [`import { type Cluster, Redis } from 'ioredis';`],
      'suspend/a.ts': [`import '../core/limit.js';`, `import '../plan.js';`],
      'time.ts': [
        `import { setTimeout as sleep } from 'node:timers/promises';`,
        'const t = Date.now() + performance.now();',
        'const timer = setInterval(() => {}, 1);',
        'globalThis.setTimeout(() => {}, 1);',
      ],
    });
    expect(lines).toEqual([
      'circle/c.ts:1: no circular imports (circle/a.ts -> circle/b.ts -> circle/c.ts -> circle/a.ts)',
      'core/a.ts:1: core/ imports only core/ (../plan.js)',
      'core/a.ts:2: core/ imports only core/ (@nestjs/common)',
      'core/a.ts:3: core/ imports only core/ (node:util)',
      'observe/messages.ts:1: observe/ imports only core/, observe/ and node: modules (../plan.js)',
      'observe/messages.ts:2: observe/ imports only core/, observe/ and node: modules (@nestjs/common)',
      'opentelemetry/index.ts:1: opentelemetry/ imports only observe/channels, @nestjs/common and @opentelemetry/api (../plan.js)',
      'opentelemetry/index.ts:2: opentelemetry/ imports only observe/channels, @nestjs/common and @opentelemetry/api (@opentelemetry/sdk-metrics)',
      'other.ts:1: nothing else imports opentelemetry/ (./opentelemetry/index.js)',
      'other.ts:2: OpenTelemetry is imported in opentelemetry/ only, which who lacks it does not load (@opentelemetry/api)',
      'other.ts:3: nobody needs @nestjs/swagger or @nestjs/terminus who does not use them (@nestjs/swagger)',
      'plan.ts:1: nothing inside src imports src/index.ts (./index.js)',
      'plan.ts:2: nothing inside src imports src/index.ts (nest-rate-limit)',
      'plan.ts:3: imports name a file of src, with .js (../test/x.js)',
      'plan.ts:4: imports name a file of src, with .js (./time)',
      'redis.ts:1: ioredis is imported in stores/redis/ only, as a type or when it is needed (ioredis)',
      'stores/memory/a.ts:1: stores/ imports only core/, stores/, observe/channels and node: modules (../../plan.js)',
      'stores/memory/a.ts:2: stores/ imports only core/, stores/, observe/channels and node: modules (rxjs)',
      'stores/memory/a.ts:3: ioredis is imported in stores/redis/ only, as a type or when it is needed (ioredis)',
      'stores/redis/a.ts:1: ioredis is imported in stores/redis/ only, as a type or when it is needed (ioredis)',
      'suspend/a.ts:1: suspend/ imports nothing of the limiter but core/clock, core/duration and core/maybe-promise (../core/limit.js)',
      'suspend/a.ts:2: suspend/ imports nothing of the limiter but core/clock, core/duration and core/maybe-promise (../plan.js)',
      'time.ts:1: time comes from core/clock.ts only (setTimeout)',
      'time.ts:2: time comes from core/clock.ts only (Date.now)',
      'time.ts:2: time comes from core/clock.ts only (performance.now)',
      'time.ts:3: time comes from core/clock.ts only (setInterval)',
      'time.ts:4: time comes from core/clock.ts only (setTimeout)',
      'transport/ws.ts:1: packages of a transport are imported in transport/ only, when they are needed (@nestjs/websockets)',
    ]);
  });
});
