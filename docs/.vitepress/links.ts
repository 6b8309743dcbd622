import { posix } from 'node:path';

/** Returns the anchor that GitHub gives a heading, so that links work on GitHub and on the site alike. */
export function slugify(heading: string): string {
  return heading
    .trim()
    .toLowerCase()
    .replace(/[^\p{L}\p{N}_\s-]/gu, '')
    .replace(/\s/g, '-');
}

/** The parts of a markdown-it token and parser that are used here. */
interface Token {
  type: string;
  nesting: number;
  content: string;
  children: Token[] | null;
  attrGet(name: string): string | null;
  attrSet(name: string, value: string): void;
}
interface Markdown {
  core: {
    ruler: { push(name: string, rule: (state: { tokens: Token[]; env: { relativePath: string } }) => void): void };
  };
}

/**
 * markdown-it plugin: links to files of the repository outside `docs/`, which are no pages of the site, lead to the
 * repository. Without a repository only their text is rendered.
 */
export function repositoryLinks(md: Markdown, repository: string | undefined): void {
  md.core.ruler.push('repository-links', ({ tokens, env }) => {
    for (const { children } of tokens) rewrite(children ?? [], env.relativePath, repository);
  });
}

function rewrite(tokens: readonly Token[], page: string, repository: string | undefined): void {
  let removing = false; // links do not nest
  for (const token of tokens) {
    if (token.type === 'link_open') {
      const path = outsideOf(page, token.attrGet('href') ?? '');
      removing = path !== undefined && !repository;
      if (removing) erase(token);
      else if (path !== undefined) token.attrSet('href', `${repository}/blob/main/${path}`);
    } else if (token.type === 'link_close' && removing) {
      removing = false;
      erase(token);
    }
  }
}

function erase(token: Token): void {
  Object.assign(token, { type: 'text', nesting: 0, content: '' });
}

/** Returns the path of a link target within the repository if it is outside `docs/`. */
function outsideOf(page: string, href: string): string | undefined {
  if (/^([a-z]+:|#|\/)/.test(href)) return undefined;
  const path = posix.join('docs', posix.dirname(page), href);
  return path.startsWith('docs/') ? undefined : path;
}
