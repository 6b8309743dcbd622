import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, expect, it } from '@jest/globals';

const docs = readdirSync('docs').filter((file) => file.endsWith('.md'));
const pages = [
  'README.md',
  'CONTRIBUTING.md',
  'CHANGELOG.md',
  'sample-app/README.md',
  ...docs.map((file) => `docs/${file}`),
];
const contributing = readFileSync('CONTRIBUTING.md', 'utf8');
const { devDependencies, scripts } = JSON.parse(readFileSync('package.json', 'utf8')) as Record<string, object>;

it.each(pages)('has no broken links in %s', (page) => {
  const text = readFileSync(page, 'utf8');
  for (const [, target] of text.matchAll(/\]\((?!https:)([^)]+)\)/g)) {
    const [file, anchor] = target.split('#');
    const path = file ? join(dirname(page), file) : page;
    expect([target, existsSync(path)]).toEqual([target, true]);
    if (anchor) expect(anchorsOf(path)).toContain(anchor);
  }
});

it('lists every page of docs in docs/README.md', () => {
  const index = readFileSync('docs/README.md', 'utf8');
  const missing = docs.filter((file) => file !== 'README.md' && !index.includes(`](${file})`));
  expect(missing).toEqual([]);
});

/** Returns the anchors of the headings of a page. */
function anchorsOf(page: string): string[] {
  return [...readFileSync(page, 'utf8').matchAll(/^#+ (.*)$/gm)].map(([, heading]) =>
    heading
      .toLowerCase()
      .replace(/[^\w\s-]/g, '')
      .replace(/ /g, '-'),
  );
}

describe('CONTRIBUTING.md', () => {
  it('maps every file of src, by its name or by a folder with no named files, and nothing that does not exist', () => {
    const map = /## The map\n\n```text\n(.*?)```/s.exec(contributing)?.[1] ?? '';
    const named: string[] = [];
    const folders: string[] = [];
    for (const line of map.trimEnd().split('\n')) {
      const [, indent, words] = /^( *)(\S+(?:, \S+)*)(?: {2}|$)/.exec(line) ?? [];
      folders.length = indent.length / 2;
      for (const word of words.split(', ')) named.push([...folders, word].join('/').replaceAll('//', '/'));
      if (words.endsWith('/')) folders.push(words);
    }
    expect(named.length).toBeGreaterThan(30);
    expect(named.filter((name) => !existsSync(name))).toEqual([]);
    const last = named.filter((name) => !named.some((other) => other !== name && other.startsWith(name)));
    const files = readdirSync('src', { recursive: true, encoding: 'utf8' }).map((file) => `src/${file}`);
    const missing = files.filter((file) => file.endsWith('.ts') && !last.some((name) => file.startsWith(name)));
    expect(missing).toEqual([]);
  });

  it('lists exactly the development dependencies and scripts of package.json', () => {
    const [table = ''] = /^\| Development dependency.*?\n\n/ms.exec(contributing) ?? [];
    const listed = [...table.matchAll(/^\| (`.*?) +\|/gm)].flatMap(([, cell]) => cell.match(/(?<=`)[^`, ]+(?=`)/g));
    const expected = Object.keys(devDependencies).map((name) => name.replace(/^@nestjs\/.*/, '@nestjs/*'));
    expect(listed.sort()).toEqual([...new Set(expected)].sort());
    const named = [...contributing.matchAll(/`npm (?:run )?([a-z:]+)/g)].map(([, name]) => name);
    expect([...new Set(named)].filter((name) => name !== 'ci').sort()).toEqual(
      Object.keys(scripts)
        .filter((name) => name !== 'prepack')
        .sort(),
    );
  });
});
