import { afterAll, afterEach, describe, expect, it } from '@jest/globals';
import { checkedPages as pages } from '../support/doc-pages.js';
import { isOfApp, modulesOf, run, startApp, unsubscribeAll } from '../support/pages.js';
import { TicketOffice } from '../support/readme-names.js';
import { type Exports, type SnippetModule, snippetsOf, syntaxErrors, typeErrors } from '../support/snippets.js';

const modules = pages.flatMap(modulesOf);

// Any other name for TypeScript would hide the block from the compiler.
it.each(pages)('labels every TypeScript block of %s as `ts`, or `ts before` for other libraries', (page) => {
  const others = snippetsOf(page).filter(({ language }) => language !== 'ts' && language !== 'ts before');
  const wrong = others.filter(({ language }) => /^$|^(ts|tsx|js|typescript|javascript)\b/.test(language));
  expect(wrong.map(({ line, language }) => `line ${line}: ${language}`)).toEqual([]);
});

it('compiles all snippets without type errors', () => {
  expect(typeErrors(modules)).toEqual([]);
});

// Only the syntax can be checked, as these libraries are not installed.
it('parses the snippets for other libraries as TypeScript', () => {
  const before = pages.flatMap(snippetsOf).filter(({ language }) => language === 'ts before');
  expect(before.length).toBeGreaterThan(0);
  expect(before.flatMap(syntaxErrors)).toEqual([]);
});

// Snippets that are test suites run here, where `describe` may be called.
const isSuite = ({ code }: SnippetModule) => /^describe/m.test(code);
const ofSuites = new Map<string, Exports>();
for (const suite of modules.filter(isSuite)) await run(suite, ofSuites);
afterAll(() => closeAll(ofSuites));

describe('Snippet', () => {
  const done = new Map<string, Exports>();
  afterEach(async () => {
    unsubscribeAll();
    await closeAll(done);
    done.clear();
  });

  it.each(modules.filter((module) => !isSuite(module)))(
    'runs, and claims correct values: $page, line $line',
    async (module) => {
      const exports = await run(module, done);
      if (isOfApp(exports)) done.set('started', await startApp(exports, [TicketOffice]));
    },
  );
});

async function closeAll(done: ReadonlyMap<string, Exports>): Promise<void> {
  for (const value of [...done.values()].flatMap((exports) => Object.values(exports))) await close(value);
}

/** Closes an application or a connection that a snippet left open. */
async function close(value: unknown): Promise<void> {
  const { close, disconnect = close } = Object(value) as { close?: unknown; disconnect?: unknown };
  if (typeof disconnect !== 'function') return;
  try {
    await disconnect.call(value);
  } catch {
    // It was already closed.
  }
}
