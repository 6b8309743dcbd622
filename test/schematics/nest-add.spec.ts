import { describe, expect, it } from '@jest/globals';
import { RateLimit, RateLimitModule } from 'nest-rate-limit';
import { type NestAddOptions, nestAdd } from '../../schematics/nest-add/index.js';
import { FileTree } from '../support/file-tree.js';

type Files = Record<string, string>;

const MAIN = `import { AppModule } from './app.module';
const app = await NestFactory.create(AppModule);
`;

/** Runs the schematic on files, and returns the files that it changed and what it logged. */
function add(files: Files, options: NestAddOptions = {}): { changed: Files; logged: string } {
  const tree = new FileTree({ ...files });
  const lines: string[] = [];
  const log = (line: string) => void lines.push(line);
  nestAdd(options)(tree.asTree, { logger: { info: log, warn: log } } as never);
  const changed = Object.entries(tree.files).filter(([path, text]) => text !== files[path]);
  return { changed: Object.fromEntries(changed), logged: lines.join('\n') };
}

/** Returns `src/app.module.ts` after the schematic. */
function edited(source: string): string {
  const { changed } = add({ 'src/main.ts': MAIN, 'src/app.module.ts': source });
  return changed['src/app.module.ts'] ?? 'unchanged';
}

const HEAD = `import { Module } from '@nestjs/common';\n`;
const ADDED = `${HEAD}import { RateLimitModule } from 'nest-rate-limit';\n`;

describe('nest add nest-rate-limit', () => {
  it.each([
    ['an empty array', '@Module({ imports: [] })', '@Module({ imports: [RateLimitModule.forRoot()] })'],
    ['one line', '@Module({ imports: [A, B] })', '@Module({ imports: [A, B, RateLimitModule.forRoot()] })'],
    ['a comma at the end', '@Module({ imports: [A,] })', '@Module({ imports: [A, RateLimitModule.forRoot(),] })'],
    ['a key in quotes', `@Module({ 'imports': [A] })`, `@Module({ 'imports': [A, RateLimitModule.forRoot()] })`],
    ['no metadata', '@Module({})', '@Module({ imports: [RateLimitModule.forRoot()] })'],
    [
      'no imports, on one line',
      '@Module({ controllers: [imports] })',
      '@Module({ imports: [RateLimitModule.forRoot()], controllers: [imports] })',
    ],
    [
      'no imports, on several lines',
      '@Module({\n\tcontrollers: [A],\n})',
      '@Module({\n\timports: [RateLimitModule.forRoot()],\n\tcontrollers: [A],\n})',
    ],
    [
      'only a comment',
      '@Module({\n  // nothing yet\n})',
      '@Module({\n  imports: [RateLimitModule.forRoot()],\n  // nothing yet\n})',
    ],
    [
      'an array over several lines',
      '@Module({\n  imports: [\n    A,\n    B,\n  ],\n})',
      '@Module({\n  imports: [\n    A,\n    B,\n    RateLimitModule.forRoot(),\n  ],\n})',
    ],
    [
      'several lines without a comma at the end',
      '@Module({\n  imports: [\n    A\n  ]\n})',
      '@Module({\n  imports: [\n    A,\n    RateLimitModule.forRoot()\n  ]\n})',
    ],
    [
      'a call over several lines',
      '@Module({\n  imports: [A.forRoot({\n    b: [1, 2],\n  })],\n})',
      '@Module({\n  imports: [A.forRoot({\n    b: [1, 2],\n  }), RateLimitModule.forRoot()],\n})',
    ],
    [
      'comments that look like code',
      `@Module(/* { */ {\n  // imports: [X],\n  imports: [\n    A, // ], the first\n    B // imports: [\n  ], /* } */\n})`,
      `@Module(/* { */ {\n  // imports: [X],\n  imports: [\n    A, // ], the first\n    B, // imports: [\n    RateLimitModule.forRoot()\n  ], /* } */\n})`,
    ],
    [
      'strings, templates and regular expressions with brackets',
      `@Module({ providers: [{ provide: ']', useValue: \`}\${a({ b: \`]\` })}\` }, /[/'\\]]/], imports: [A.for(4 / 2, '[')] })`,
      `@Module({ providers: [{ provide: ']', useValue: \`}\${a({ b: \`]\` })}\` }, /[/'\\]]/], imports: [A.for(4 / 2, '['), RateLimitModule.forRoot()] })`,
    ],
    ['a spread', '@Module({ imports: [...all] })', '@Module({ imports: [...all, RateLimitModule.forRoot()] })'],
    [
      'another decorator',
      '@Global()\n@Module({ imports: [A] })',
      '@Global()\n@Module({ imports: [A, RateLimitModule.forRoot()] })',
    ],
  ])('edits the imports of the root module: %s', (_, before, after) => {
    const rest = '\nexport class AppModule {}\n';
    expect(edited(HEAD + before + rest)).toBe(ADDED + after + rest);
  });

  it.each([
    ['double quotes', `import { Module } from "@nestjs/common";`, `import { RateLimitModule } from "nest-rate-limit";`],
    ['no semicolons', `import { Module } from '@nestjs/common'`, `import { RateLimitModule } from 'nest-rate-limit'`],
    [
      'a comment behind the last one',
      `import { Module } from '@nestjs/common'; // ;`,
      `import { RateLimitModule } from 'nest-rate-limit';`,
    ],
    [
      'names over several lines',
      `import './x';\nimport {\n  Module,\n} from '@nestjs/common';`,
      `import { RateLimitModule } from 'nest-rate-limit';`,
    ],
    [
      'types of this library',
      `import type { Decision } from 'nest-rate-limit';`,
      `import { RateLimitModule } from 'nest-rate-limit';`,
    ],
  ])('adds an import statement in the style of the file: %s', (_, before, added) => {
    const source = edited(`${before}\n\n@Module({})\nexport class AppModule {}\n`);
    expect(source.split('\n\n')[0]).toBe(`${before}\n${added}`);
  });

  it.each([
    [`import { RateLimit } from 'nest-rate-limit';`, `import { RateLimit, RateLimitModule } from 'nest-rate-limit';`],
    [
      `import {\n  RateLimit,\n} from 'nest-rate-limit';`,
      `import {\n  RateLimit,\n  RateLimitModule,\n} from 'nest-rate-limit';`,
    ],
    [`import { RateLimitModule } from 'nest-rate-limit';`, `import { RateLimitModule } from 'nest-rate-limit';`],
  ])('extends an import statement of this library: %s', (before, after) => {
    const source = edited(`${HEAD}${before}\n\n@Module({})\nexport class AppModule {}\n`);
    expect(source.split('\n\n')[0]).toBe(HEAD + after);
  });

  it('keeps line ends of Windows', () => {
    const before = `${HEAD}@Module({\n  imports: [\n    A,\n  ],\n})\nexport class AppModule {}\n`;
    const source = edited(before.replaceAll('\n', '\r\n'));
    expect(source.replaceAll('\r\n', '')).not.toMatch(/[\r\n]/);
    expect(source).toContain('    A,\r\n    RateLimitModule.forRoot(),\r\n  ],');
  });

  it('edits the root module, and not another one in the same file', () => {
    const other = '@Module({ imports: [A] })\nclass OtherModule {}\n';
    const source = edited(`${HEAD}${other}@Module({})\nexport class AppModule {}\n${other}`);
    expect(source).toContain(`${other}@Module({ imports: [RateLimitModule.forRoot()] })\nexport class AppModule`);
    expect(source.match(/forRoot/g)).toHaveLength(1);
  });

  const module = (className = 'AppModule') => `${HEAD}@Module({})\nexport class ${className} {}\n`;
  const start = (call: string, specifier = './app.module', names = '{ AppModule }') =>
    `import ${names} from '${specifier}';\nasync function bootstrap() {\n  const app = await NestFactory.${call};\n}\n`;

  it.each([
    ['an import with an extension', start('create(AppModule)', './app.module.js'), 'src/app.module.ts'],
    ['types of the application', start('create<NestFastifyApplication>(\n    AppModule,\n  )'), 'src/app.module.ts'],
    ['another folder', start('create(AppModule)', './app/app.module'), 'src/app/app.module.ts'],
    ['an index file', start('create(AppModule)', './app'), 'src/app/index.ts'],
    ['a microservice', start('createMicroservice(AppModule, {})', './app/root'), 'src/app/root.ts'],
    ['another name', start('create(Root)', './app/root', '{ A, AppModule as Root }'), 'src/app/root.ts'],
    ['a default export', start('create(Root)', './app/root', 'Root'), 'src/app/root.ts'],
    ['the entry file itself', `${module()}NestFactory.create(AppModule);`, 'src/main.ts'],
    ['a path alias', start('create(AppModule)', '@app/app.module'), 'src/app.module.ts'],
    ['no entry file', '', 'src/app.module.ts'],
  ])('finds the root module that the entry file starts: %s', (_, main, path) => {
    const files = { 'src/main.ts': main, [path]: module() };
    if (path === 'src/main.ts') files[path] = main;
    expect(Object.keys(add(files).changed)).toEqual([path]);
  });

  it('finds the entry file that nest-cli.json names, in the sources of a project', () => {
    const projects = { api: { sourceRoot: 'apps/api/src', entryFile: 'server' }, b: { sourceRoot: 'apps/b/src' } };
    const files = {
      'nest-cli.json': JSON.stringify({ sourceRoot: 'apps/b/src', projects }),
      'apps/api/src/server.ts': start('create(ApiModule)', './api.module', '{ ApiModule }'),
      'apps/api/src/api.module.ts': module('ApiModule'),
      'apps/api/src/app.module.ts': module(),
      'apps/b/src/main.ts': start('create(BModule)', './b.module', '{ BModule }'),
      'apps/b/src/b.module.ts': module('BModule'),
    };
    expect(Object.keys(add(files, { sourceRoot: 'apps/api/src' }).changed)).toEqual(['apps/api/src/api.module.ts']);
    expect(Object.keys(add(files, { sourceRoot: 'apps/b/src' }).changed)).toEqual(['apps/b/src/b.module.ts']);
  });

  it('edits the module that an option names', () => {
    const files = { 'src/main.ts': MAIN, 'src/app.module.ts': module(), 'src/core.module.ts': module('CoreModule') };
    expect(Object.keys(add(files, { module: 'src/core.module.ts' }).changed)).toEqual(['src/core.module.ts']);
  });

  it.each(['forRoot()', 'forRootAsync({ useFactory })'])(
    'changes nothing if a module of the application has RateLimitModule.%s already',
    (call) => {
      const core = `@Module({ imports: [RateLimitModule\n  .${call}] })\nexport class CoreModule {}\n`;
      const files = { 'src/main.ts': MAIN, 'src/app.module.ts': module(), 'src/core/core.module.ts': core };
      const { changed, logged } = add(files);
      expect(changed).toEqual({});
      expect(logged).toBe('src/core/core.module.ts has RateLimitModule.forRoot() already: nothing changed.');
    },
  );

  it('is not misled by a comment or a test that has RateLimitModule.forRoot()', () => {
    const files = {
      'src/main.ts': MAIN,
      'src/app.module.ts': `// RateLimitModule.forRoot()\n${module()}`,
      'src/app.spec.ts': 'RateLimitModule.forRoot()',
    };
    expect(Object.keys(add(files).changed)).toEqual(['src/app.module.ts']);
  });

  it('changes nothing when it runs a second time', () => {
    const { changed } = add({ 'src/main.ts': MAIN, 'src/app.module.ts': module() });
    expect(add({ 'src/main.ts': MAIN, ...changed }).changed).toEqual({});
  });

  it.each([
    ['a variable as metadata', '@Module(metadata)'],
    ['a variable as imports', '@Module({ imports: all })'],
    ['a shorthand property', '@Module({ imports })'],
    ['a call on the array', '@Module({ imports: [A].concat(all) })'],
    ['metadata with a spread', '@Module({ ...metadata })'],
    ['another class of this name', `import { RateLimitModule } from './own';\n@Module({ imports: [] })`],
    ['a bracket that is missing', '@Module({ imports: [A }'],
  ])('says what to do by hand, and changes nothing, for %s', (_, decorated) => {
    const files = { 'src/main.ts': MAIN, 'src/app.module.ts': `${HEAD}${decorated}\nexport class AppModule {}\n` };
    const { changed, logged } = add(files);
    expect(changed).toEqual({});
    expect(logged).toContain('@Module({ imports: [RateLimitModule.forRoot()] })');
  });

  it('says what to do if there is no root module', () => {
    const { logged } = add({ 'src/index.ts': 'export const a = 1;\n' });
    expect(logged).toContain('No root module was found in src: pass --module=path/to/app.module.ts. Add it by hand:');
  });

  it('says that nothing is limited yet, and how to limit a handler', () => {
    const { logged } = add({ 'src/main.ts': MAIN, 'src/app.module.ts': module() });
    expect(logged).toContain('Added RateLimitModule.forRoot() to the imports in src/app.module.ts.');
    const optionsOf = (call: string) => {
      const [, options] = logged.split(`${call}(`)[1].match(/^(\{.*\})\)$/m) ?? [];
      return new Function(`return ${options}`)();
    };
    expect(() => RateLimit(optionsOf('@RateLimit'))).not.toThrow();
    expect(() => RateLimitModule.forRoot(optionsOf('  RateLimitModule.forRoot'))).not.toThrow();
  });
});
