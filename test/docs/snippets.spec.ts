import { readdirSync } from 'node:fs';
import { afterAll, afterEach, describe, expect, it } from '@jest/globals';
import { isOfApp, modulesOf, run, startApp, unsubscribeAll } from '../support/pages.js';
import { TicketOffice } from '../support/readme-names.js';
import { type Exports, type SnippetModule, snippetsOf, syntaxErrors, typeErrors } from '../support/snippets.js';

const docs = readdirSync('docs').filter((file) => file.endsWith('.md'));
const pages = ['README.md', ...docs.map((file) => `docs/${file}`)];
const modules = pages.flatMap(modulesOf);

// Another name for TypeScript would hide it from the compiler.
it.each(pages)('%s says what each block is; `ts before` is the code of another library', (page) => {
  const others = snippetsOf(page).filter(({ language }) => language !== 'ts' && language !== 'ts before');
  const wrong = others.filter(({ language }) => /^$|^(ts|tsx|js|typescript|javascript)\b/.test(language));
  expect(wrong.map(({ line, language }) => `line ${line}: ${language}`)).toEqual([]);
});

it('snippets fit the types', () => {
  expect(typeErrors(modules)).toEqual([]);
});

// It cannot be compiled, as its library is not installed; but it can be read.
it('code of other libraries is TypeScript', () => {
  const before = pages.flatMap(snippetsOf).filter(({ language }) => language === 'ts before');
  expect(before.length).toBeGreaterThan(0);
  expect(before.flatMap(syntaxErrors)).toEqual([]);
});

// One that is a suite of tests runs where `describe` may be called.
const isSuite = ({ code }: SnippetModule) => /^describe/m.test(code);
const ofSuites = new Map<string, Exports>();
for (const suite of modules.filter(isSuite)) await run(suite, ofSuites);
afterAll(() => closeAll(ofSuites));

describe('a snippet runs, and its comments are right:', () => {
  const done = new Map<string, Exports>();
  afterEach(async () => {
    unsubscribeAll();
    await closeAll(done);
    done.clear();
  });

  it.each(modules.filter((module) => !isSuite(module)))('$page, line $line', async (module) => {
    const exports = await run(module, done);
    if (isOfApp(exports)) done.set('started', await startApp(exports, [TicketOffice]));
  });
});

async function closeAll(done: ReadonlyMap<string, Exports>): Promise<void> {
  for (const value of [...done.values()].flatMap((exports) => Object.values(exports))) await close(value);
}

/** Closes an app or a connection that a snippet opened, unless it did so itself. */
async function close(value: unknown): Promise<void> {
  const { close, disconnect = close } = Object(value) as { close?: unknown; disconnect?: unknown };
  if (typeof disconnect !== 'function') return;
  try {
    await disconnect.call(value);
  } catch {
    // It was closed before.
  }
}
