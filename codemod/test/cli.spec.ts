import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import { compile } from '../../test/support/compile.js';

const CLI = join('build', `codemod-${process.pid}`, 'cli.mjs');
const MODULE = `import { Module } from '@nestjs/common';
import { APP_GUARD } from '@nestjs/core';
import { ThrottlerGuard, ThrottlerModule } from '@nestjs/throttler';

@Module({
  imports: [ThrottlerModule.forRoot([{ ttl: 60_000, limit: 10 }])],
  providers: [{ provide: APP_GUARD, useClass: ThrottlerGuard }],
})
export class AppModule {}
`;
const MANIFEST = `{
    "name": "app",
    "dependencies": {
        "@nest-lab/throttler-storage-redis": "^1.1.0",
        "@nestjs/common": "^11.0.0",
        "@nestjs/throttler": "^6.4.0"
    }
}
`;

let folder: string;
beforeAll(() => compile(join('codemod', 'src', 'cli.ts'), CLI), 60_000);
afterAll(() => {
  rmSync(join(CLI, '..'), { recursive: true, force: true });
  rmSync(folder, { recursive: true, force: true });
});
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'codemod-'));
  mkdirSync(join(folder, 'src'));
  write('package.json', MANIFEST);
  write('tsconfig.json', '{ "compilerOptions": { "experimentalDecorators": true }, "include": ["src"] }');
  write('src/app.module.ts', MODULE);
});

const read = (path: string) => readFileSync(join(folder, path), 'utf8');
const write = (path: string, text: string) => writeFileSync(join(folder, path), text);

function cli(...args: string[]) {
  const { status, stdout, stderr } = spawnSync(process.execPath, [CLI, ...args], { encoding: 'utf8' });
  return { status, output: stdout + stderr };
}

describe('nest-rate-limit-codemod', () => {
  it('converts a project and its package.json, and changes nothing when run again', () => {
    const first = cli('from-throttler', join(folder, 'tsconfig.json'));
    expect(first).toEqual({ status: 0, output: expect.stringContaining('Converted: 2 constructs in 1 files') });
    expect(read('src/app.module.ts')).toContain('useExisting: RateLimitGuard');
    expect(read('package.json')).toBe(`{
    "name": "app",
    "dependencies": {
        "@nestjs/common": "^11.0.0",
        "nest-rate-limit": "^0.1.0"
    }
}
`);
    const after = [read('src/app.module.ts'), read('package.json')];
    expect(cli('from-throttler', folder).status).toBe(0);
    expect([read('src/app.module.ts'), read('package.json')]).toEqual(after);
  });

  it('writes nothing in a dry run', () => {
    const { status, output } = cli('from-throttler', folder, '--dry-run');
    expect(status).toBe(0);
    expect(output).toContain('nothing was written');
    expect([read('src/app.module.ts'), read('package.json')]).toEqual([MODULE, MANIFEST]);
  });

  it('exits with 1 while TODO comments are left, and keeps the dependency of what is not converted', () => {
    write(
      'src/cats.ts',
      "import { ThrottlerException } from '@nestjs/throttler';\n\nthrow new ThrottlerException();\n",
    );
    expect(cli('from-throttler', folder).output).toMatch(/TODO: 1\n {2}src\/cats\.ts:3\n/);
    expect(read('package.json')).toContain('"nest-rate-limit": "^0.1.0",\n        "@nestjs/throttler": "^6.4.0"\n');
    expect(cli('from-throttler', folder).status).toBe(1);
  });

  it('takes the units from the version that package.json names, or from an option', () => {
    write('package.json', MANIFEST.replace('^6.4.0', '~4.2.1'));
    write('src/app.module.ts', MODULE.replace('[{ ttl: 60_000, limit: 10 }]', '{ ttl: 60, limit: 10 }'));
    cli('from-throttler', folder);
    expect(read('src/app.module.ts')).toContain("{ perHandler: true, maxRequest: 10, unit: 'minutes' }");
    write('src/app.module.ts', MODULE);
    cli('from-throttler', folder, '--throttler', '5');
    expect(read('src/app.module.ts')).toContain("{ perHandler: true, maxRequest: 10, unit: 'minutes' }");
  });

  it('converts an application that imports its package.json', () => {
    write(
      'tsconfig.json',
      '{ "compilerOptions": { "experimentalDecorators": true, "resolveJsonModule": true, "module": "node16" }, "include": ["src"] }',
    );
    write('src/version.ts', "import manifest from '../package.json';\n\nexport const { name } = manifest;\n");
    expect(cli('from-throttler', folder).status).toBe(0);
    expect(JSON.parse(read('package.json')).dependencies).toHaveProperty('nest-rate-limit');
  });

  it('keeps the line ends of Windows', () => {
    write('src/app.module.ts', MODULE.replaceAll('\n', '\r\n'));
    cli('from-throttler', folder);
    expect(read('src/app.module.ts')).not.toMatch(/[^\r]\n/);
  });

  it('explains wrong arguments, and exits with 2', () => {
    expect(cli()).toEqual({ status: 2, output: expect.stringContaining('Usage:') });
    expect(cli('from-throttler', join(folder, 'missing'))).toEqual({
      status: 2,
      output: expect.stringMatching(/missing does not exist; give a folder or a tsconfig\.json/),
    });
    expect(cli('from-throttler', folder, '--throttler', 'six').output).toMatch(
      /--throttler must be a major version such as 6, got "six"/,
    );
    expect(cli('from-throttler', folder, '--drry-run').status).toBe(2);
    write('package.json', '{}');
    expect(cli('from-throttler', folder).output).toMatch(/The version of @nestjs\/throttler is unknown/);
  });
});
