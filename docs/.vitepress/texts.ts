import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join, posix } from 'node:path';
import { fileURLToPath } from 'node:url';

/*
 * Besides its pages, the site serves their sources as Markdown, and llms.txt with links to them, for programs that read
 * the documentation.
 */

const root = fileURLToPath(new URL('../..', import.meta.url));

/** Files at the root of the repository that are on the site, with their paths there. */
const ROOT_FILES: Readonly<Record<string, string>> = {
  'llms.txt': 'llms.txt',
  'agent-guide.md': 'agent-guide.md',
  'CHANGELOG.md': 'changelog.md',
};

/** Writes the texts of the site, whose pages are `pages`, such as `guides/costs.md`. */
export function writeTexts(outDir: string, pages: readonly string[], repository: string | undefined): void {
  const sources = new Map(pages.map((page) => [page, `docs/${page}`]));
  for (const [source, path] of Object.entries(ROOT_FILES)) sources.set(path, source);
  for (const [path, source] of sources) {
    const file = join(outDir, path);
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, textOf(source, repository));
  }
}

/** Returns the text of a file of the repository, with links as they are on the site, where `docs/` is the root. */
export function textOf(source: string, repository: string | undefined): string {
  const blocks = readFileSync(join(root, source), 'utf8').split(/(^```.*?^```$)/ms);
  const relink = (text: string) =>
    text.replace(/\[([^\]]+)\]\((?![a-z]+:|#)([^)\s]+)\)/g, (_link, label: string, href: string) => {
      const target = targetOf(source, href, repository);
      return target === undefined ? label : `[${label}](${target})`;
    });
  return blocks.map((block, i) => (i % 2 === 0 ? relink(block) : block)).join('');
}

/** Returns where a link leads on the site; into the repository if its file is not there, and nowhere without one. */
function targetOf(source: string, href: string, repository: string | undefined): string | undefined {
  const file = posix.join(posix.dirname(source), href);
  const target = pathOf(file);
  if (target === undefined) return repository && `${repository}/blob/main/${file}`;
  return posix.relative(posix.dirname(pathOf(source) ?? ''), target);
}

/** Returns the path that a file of the repository has on the site. */
function pathOf(file: string): string | undefined {
  return ROOT_FILES[file] ?? (file.startsWith('docs/') ? file.slice('docs/'.length) : undefined);
}
