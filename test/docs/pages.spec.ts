import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, expect, it } from '@jest/globals';
import { slugify } from '../../docs/.vitepress/links.js';
import { sidebar } from '../../docs/.vitepress/navigation.js';
import { checkedPages, sitePages } from '../support/doc-pages.js';

const pages = [
  'CONTRIBUTING.md',
  'CHANGELOG.md',
  'SECURITY.md',
  '.changeset/README.md',
  'llms.txt',
  'sample-app/README.md',
  ...checkedPages,
];
const contributing = readFileSync('CONTRIBUTING.md', 'utf8');
const { devDependencies, scripts } = JSON.parse(readFileSync('package.json', 'utf8')) as Record<string, object>;

it.each(pages)('has no broken links in %s', (page) => {
  const text = readFileSync(page, 'utf8').replace(/^```.*?^```/gms, '');
  for (const [, target] of text.matchAll(/\]\((?!https:)([^)]+)\)/g)) {
    const [file, anchor] = target.split('#');
    const path = file ? join(dirname(page), file) : page;
    expect([target, existsSync(path)]).toEqual([target, true]);
    if (anchor) expect(anchorsOf(path)).toContain(anchor);
  }
});

describe('Documentation site', () => {
  const listed = sidebar.flatMap(({ items }) => items.map(({ link }) => link));

  it('lists each page once in the sidebar', () => {
    const written = sitePages.map((page) => page.replace(/^docs|\.md$/g, '')).filter((link) => link !== '/index');
    expect(listed.filter((link) => !link.startsWith('/reference/api/')).sort()).toEqual(written.sort());
  });

  it.each(['home.ts', 'config.mjs'])('links only to pages that exist in docs/.vitepress/%s', (file) => {
    const links = [...readFileSync(`docs/.vitepress/${file}`, 'utf8').matchAll(/\blink: '?(\/[\w/.-]*)/g)].map(
      ([, link]) => link,
    );
    expect(links.length).toBeGreaterThan(0);
    expect(links.filter((link) => !listed.includes(link))).toEqual([]);
  });
});

/** Returns the anchors of the headings of a page: on the site they are those of GitHub. */
function anchorsOf(page: string): string[] {
  const text = readFileSync(page, 'utf8').replace(/^```.*?^```/gms, '');
  const headings = [...text.matchAll(/^#+ (.*)$/gm)].map(([, heading]) => heading.replace(/\[(.*?)\]\(.*?\)/g, '$1'));
  return headings.map(slugify);
}

interface Room {
  readonly rooms: readonly string[];
  readonly packages: readonly string[];
  readonly types?: readonly string[];
  readonly lazily?: readonly string[];
}

describe('CONTRIBUTING.md', () => {
  it('maps every room of src, and nothing that does not exist', () => {
    const map = /## The map\n.*?```text\n(.*?)```/s.exec(contributing)?.[1] ?? '';
    const named: string[] = [];
    let folder = '';
    for (const [, indent, name] of map.matchAll(/^( *)(\S+)/gm)) {
      if (!indent) folder = name;
      named.push(indent ? folder + name : name);
    }
    expect(named.filter((name) => !existsSync(name))).toEqual([]);
    const rooms = readdirSync('src').map((name) => (name.endsWith('.ts') ? name : `${name}/`));
    expect(named.filter((name) => /^src\/./.test(name)).sort()).toEqual(rooms.map((name) => `src/${name}`).sort());
  });

  it('has the import rules of scripts/rooms.json', () => {
    const code = (names: readonly string[] = [], suffix = '') => names.map((name) => `\`${name}${suffix}\``);
    const rules = Object.entries(JSON.parse(readFileSync('scripts/rooms.json', 'utf8')) as Record<string, Room>).map(
      ([name, { rooms, packages, types, lazily }]) => {
        const all = [...code(packages), ...code(types).map((one) => `types of ${one}`)];
        all.push(...code(lazily).map((one) => `${one} lazily`));
        return [`\`${name}/\``, code(rooms, '/').join(', ') || 'none', all.join(', ') || 'none'];
      },
    );
    const [table = ''] = /^\| Room .*?\n\n/ms.exec(contributing) ?? [];
    const rows = table.trim().split('\n').slice(2);
    expect(
      rows.map((row) =>
        row
          .split('|')
          .slice(1, -1)
          .map((cell) => cell.trim()),
      ),
    ).toEqual(rules);
  });

  it('names only files that exist in its recipes', () => {
    const [recipes = ''] = /^## Recipes.*?^## /ms.exec(contributing) ?? [];
    const paths = [...recipes.matchAll(/`((?:src|test|docs|scripts|stores)\/[\w./-]+)`/g)].map(([, path]) => path);
    expect(paths.length).toBeGreaterThan(10);
    const missing = paths.filter((path) => !existsSync(path) && !existsSync(`src/${path}`));
    expect(missing).toEqual([]);
  });

  it('lists exactly the development dependencies and scripts of package.json', () => {
    const [table = ''] = /^\| Development dependency.*?\n\n/ms.exec(contributing) ?? [];
    const listed = [...table.matchAll(/^\| (`.*?) +\|/gm)].flatMap(([, cell]) => cell.match(/(?<=`)[^`, ]+(?=`)/g));
    const expected = Object.keys(devDependencies).map((name) => name.replace(/^@nestjs\/.*/, '@nestjs/*'));
    expect(listed.sort()).toEqual([...new Set(expected)].sort());
    const named = [...contributing.matchAll(/`npm (?:run )?([a-z:]+)/g)].map(([, name]) => name);
    expect([...new Set(named)].filter((name) => !['ci', 'pkg', 'publish'].includes(name)).sort()).toEqual(
      Object.keys(scripts)
        .filter((name) => !['prepack', 'prepublishOnly'].includes(name))
        .sort(),
    );
  });
});
