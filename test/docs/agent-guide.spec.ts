import { existsSync, readFileSync } from 'node:fs';
import { describe, expect, it } from '@jest/globals';
import { textOf } from '../../docs/.vitepress/texts.js';

/*
 * `agent-guide.md` and `llms.txt` are read without the rest of the documentation, so they must not differ from it.
 * The snippets of the guide are checked with those of all pages.
 */

const guide = readFileSync('agent-guide.md', 'utf8');

/** Returns the cells of the tables of the guide whose first column has this heading. */
function tables(heading: string): string[][][] {
  const found = guide.matchAll(new RegExp(`^\\| ${heading} .*\\n\\|.*\\n((?:\\|.*\\n)+)`, 'gm'));
  const cells = (row: string) =>
    row
      .split(/(?<!\\)\|/)
      .slice(1, -1)
      .map((cell) => cell.trim());
  return [...found].map(([, rows]) => rows.trim().split('\n').map(cells));
}

/** Returns the options of a page of the reference, with their defaults. */
function optionsOf(page: string): Record<string, string> {
  const sections = readFileSync(page, 'utf8').matchAll(/^### `(\w+)`\n\nType: .* · Default: (.*) · Since/gm);
  return Object.fromEntries([...sections].map(([, name, value]) => [name, value]));
}

describe('agent-guide.md', () => {
  it.each(['docs/reference/decorator.md', 'docs/reference/module.md'])('has all options of %s', (page) => {
    const table = tables('Option')[page.endsWith('module.md') ? 1 : 0];
    const listed = table.map(([name, value]) => [name.replaceAll('`', ''), value]);
    expect(Object.fromEntries(listed)).toEqual(optionsOf(page));
  });

  it('quotes messages that the documentation explains', () => {
    const plain = (text: string) => text.replaceAll('`', '').replace(/\s+/g, ' ');
    const explained = plain(readFileSync('docs/troubleshooting.md', 'utf8'));
    const [messages] = tables('Message');
    expect(messages.length).toBeGreaterThan(5);
    for (const [message] of messages) expect(explained).toContain(plain(message).replace(/…$/, '').trim());
  });

  it('is short', () => {
    expect(guide.split('\n').length).toBeLessThan(200);
  });
});

describe('llms.txt', () => {
  const text = readFileSync('llms.txt', 'utf8');

  it('has a title, a summary and sections of links', () => {
    expect(text).toMatch(/^# nest-rate-limit\n\n> .+\n\n/);
    const sections = text.split(/^## .*$/m).slice(1);
    for (const section of sections) {
      for (const line of section.trim().split('\n')) expect(line).toMatch(/^- \[[^\]]+\]\([^)]+\)(: .+)?$/);
    }
  });

  it('links to the texts of pages on the site, or into the repository', () => {
    const linksOf = (repository?: string) => [...textOf('llms.txt', repository).matchAll(/\]\(([^)]+)\)/g)];
    const targets = linksOf().map(([, target]) => target);
    expect(targets).toEqual(expect.arrayContaining(['agent-guide.md', 'changelog.md', 'guides/costs.md']));
    const missing = targets.filter((target) => !existsSync(`docs/${target}`));
    expect(missing).toEqual(['agent-guide.md']);
    expect(linksOf('https://example.com/repository').map(([, target]) => target)).toContain(
      'https://example.com/repository/blob/main/README.md',
    );
  });
});
