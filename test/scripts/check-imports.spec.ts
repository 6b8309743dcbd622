import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';

/** The lines that `npm run check:imports` prints for a folder. */
function check(folder: string): string[] {
  const script = 'scripts/check-imports.mjs';
  const { status, stderr } = spawnSync(process.execPath, [script, folder], { encoding: 'utf8' });
  const lines = stderr.split('\n').filter(Boolean);
  expect(status).toBe(lines.length > 0 ? 1 : 0);
  return lines;
}

describe('imports of src', () => {
  it('go down from room to room without circles, and only the clock reads the time', () => {
    expect(check('src')).toEqual([]);
  });
});

describe('check-imports', () => {
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

  it('accepts what the rooms allow', () => {
    const lines = checkFiles({
      'util/clock.ts': ['export const now = () => Date.now();'],
      'core/limit.ts': [`import '../util/clock.js';`],
      'index.ts': [`export { guard } from './guard/guard.js';`, `import './opentelemetry/index.js';`],
      'guard/guard.ts': [`import '@nestjs/common';`, `import '../stores/redis/store.js';`],
      'stores/redis/store.ts': [
        `// Date.now() and import 'rxjs' in a comment do not count.`,
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
      'opentelemetry/index.ts': [`import '@opentelemetry/api';`, `import '../observe/channels.js';`],
      'suspend/guard.ts': [`import 'rxjs';`, `import '../util/clock.js';`],
      'transport/ws.ts': [`const load = () => import('@nestjs/websockets');`],
    });
    expect(lines).toEqual([]);
  });

  it('reports each violation with its place', () => {
    const lines = checkFiles({
      'context/a.ts': [`import './b.js';`],
      'context/b.ts': ['', 'export type {', `  C } from './c.js';`],
      'context/c.ts': [`type A = import('./a.js').A;`],
      'core/a.ts': [`import '../policy/plan.js';`, `import type { X } from '@nestjs/common';`, `import 'node:util';`],
      'index.ts': [],
      'keys/a.ts': [`import { X } from '@nestjs/common/internal';`],
      'loose.ts': [],
      'observe/messages.ts': [`import '../policy/plan.js';`, `import '@nestjs/swagger';`],
      'opentelemetry/index.ts': [`import '../policy/plan.js';`, `import '@opentelemetry/sdk-metrics';`],
      'policy/plan.ts': [
        `import '../index.js';`,
        `import 'nest-rate-limit';`,
        `import '../../test/x.js';`,
        `import '../util/time';`,
        `import '../guard/guard.js';`,
        `import '@opentelemetry/api';`,
      ],
      'guard/guard.ts': [`import type { Redis } from 'ioredis';`, `import '../opentelemetry/index.js';`],
      'stores/memory/a.ts': [`import '../../policy/plan.js';`, `import 'rxjs';`],
      'stores/redis/a.ts': [`import { type Cluster, Redis } from 'ioredis';`],
      'swagger/a.ts': [`import '@nestjs/swagger';`],
      'transport/ws.ts': [`import { WsException } from '@nestjs/websockets';`],
      'unknown/a.ts': [],
      'util/time.ts': [
        `import { setTimeout as sleep } from 'node:timers/promises';`,
        'const t = Date.now() + performance.now();',
        'const timer = setInterval(() => {}, 1);',
        'globalThis.setTimeout(() => {}, 1);',
      ],
    });
    const stores = 'stores/ imports only core/, exceptions/, observe/, util/, node:, types of ioredis, ioredis lazily';
    const policy =
      'policy/ imports only core/, exceptions/, keys/, observe/, stores/, transport/, util/, @nestjs/common, @nestjs/core';
    const guard =
      'guard/ imports only concurrency/, context/, core/, exceptions/, observe/, policy/, stores/, suspend/, transport/, util/, ' +
      'node:, @nestjs/common, @nestjs/core, rxjs';
    const otel = 'opentelemetry/ imports only observe/, node:, @nestjs/common, @opentelemetry/api';
    expect(lines).toEqual([
      'context/c.ts:1: no circular imports (context/a.ts -> context/b.ts -> context/c.ts -> context/a.ts)',
      'core/a.ts:1: core/ imports only util/ (../policy/plan.js)',
      'core/a.ts:2: core/ imports only util/ (@nestjs/common)',
      'core/a.ts:3: core/ imports only util/ (node:util)',
      `guard/guard.ts:1: ${guard} (ioredis)`,
      `guard/guard.ts:2: ${guard} (../opentelemetry/index.js)`,
      'keys/a.ts:1: keys/ imports only context/, exceptions/, observe/, util/, node:, @nestjs/common (@nestjs/common/internal)',
      'loose.ts:1: src has index.ts and the rooms of scripts/rooms.json only (loose.ts)',
      'observe/messages.ts:1: observe/ imports only core/, util/, node:, @nestjs/common (../policy/plan.js)',
      'observe/messages.ts:2: observe/ imports only core/, util/, node:, @nestjs/common (@nestjs/swagger)',
      `opentelemetry/index.ts:1: ${otel} (../policy/plan.js)`,
      'opentelemetry/index.ts:1: no circular imports (policy/plan.ts -> guard/guard.ts -> opentelemetry/index.ts -> policy/plan.ts)',
      `opentelemetry/index.ts:2: ${otel} (@opentelemetry/sdk-metrics)`,
      'policy/plan.ts:1: no room imports src/index.ts (../index.js)',
      'policy/plan.ts:2: no room imports src/index.ts (nest-rate-limit)',
      'policy/plan.ts:3: imports name a file of src, with .js (../../test/x.js)',
      'policy/plan.ts:4: imports name a file of src, with .js (../util/time)',
      `policy/plan.ts:5: ${policy} (../guard/guard.js)`,
      `policy/plan.ts:6: ${policy} (@opentelemetry/api)`,
      `stores/memory/a.ts:1: ${stores} (../../policy/plan.js)`,
      `stores/memory/a.ts:2: ${stores} (rxjs)`,
      `stores/redis/a.ts:1: ${stores} (ioredis)`,
      'swagger/a.ts:1: swagger/ imports only exceptions/, policy/, transport/, util/, @nestjs/common (@nestjs/swagger)',
      'transport/ws.ts:1: transport/ imports only context/, core/, exceptions/, util/, @nestjs/common, @nestjs/core, rxjs, ' +
        '@nestjs/websockets lazily, @nestjs/microservices lazily (@nestjs/websockets)',
      'unknown/a.ts:1: src has index.ts and the rooms of scripts/rooms.json only (unknown/a.ts)',
      'util/time.ts:1: only util/clock.ts reads the time (setTimeout)',
      'util/time.ts:2: only util/clock.ts reads the time (Date.now)',
      'util/time.ts:2: only util/clock.ts reads the time (performance.now)',
      'util/time.ts:3: only util/clock.ts reads the time (setInterval)',
      'util/time.ts:4: only util/clock.ts reads the time (setTimeout)',
    ]);
  });
});
