import { readdirSync } from 'node:fs';
import { join } from 'node:path';

/** Folders of `docs/` whose pages are generated or are no pages of the site. */
const EXCLUDED = ['docs/api', 'docs/node_modules', 'docs/reference/api', 'docs/.vitepress'];

/** The paths of all pages of the documentation site, such as `docs/guides/redis.md`. */
export const sitePages: readonly string[] = pagesIn('docs').sort();

/** The pages whose snippets and limit options are checked. */
export const checkedPages: readonly string[] = ['README.md', 'agent-guide.md', ...sitePages];

function pagesIn(folder: string): string[] {
  return readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) return EXCLUDED.includes(path) ? [] : pagesIn(path);
    return path.endsWith('.md') ? [path] : [];
  });
}
