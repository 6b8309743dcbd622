import { readFileSync } from 'node:fs';
import { defineConfig } from 'vitepress';
import { browserAliases } from './browser.ts';
import { home } from './home.ts';
import { repositoryLinks, slugify } from './links.ts';
import { sidebar } from './navigation.ts';
import { searchOptions } from './search.mjs';
import { writeTexts } from './texts.ts';

const { version, description, repository } = JSON.parse(
  readFileSync(new URL('../../package.json', import.meta.url), 'utf8'),
);
/** The repository's address, from `repository` of package.json. Without it, links to the repository are left out. */
const repositoryUrl = (repository?.url ?? repository)?.replace(/^git\+/, '').replace(/\.git$/, '');

const base = process.env.DOCS_BASE ?? '/';

export default defineConfig({
  title: 'nest-rate-limit',
  description,
  base,
  head: [['link', { rel: 'icon', href: `${base}icon.svg` }]],
  outDir: '../build/docs',
  srcExclude: ['api/**'],
  lastUpdated: false,
  markdown: {
    anchor: { slugify },
    theme: { light: 'github-light-high-contrast', dark: 'github-dark-high-contrast' },
    config: (md) => md.use(repositoryLinks, repositoryUrl),
    languageAlias: { 'ts before': 'ts' },
  },
  vite: {
    build: { chunkSizeWarningLimit: 2000 }, // the search index
    resolve: { alias: browserAliases },
  },
  transformPageData(page) {
    if (page.relativePath === 'index.md') Object.assign(page.frontmatter, home);
    if (page.relativePath === 'playground.md') page.frontmatter.aside = false; // needs the width
  },
  buildEnd: ({ outDir, pages }) => writeTexts(outDir, pages, repositoryUrl),
  themeConfig: {
    search: { provider: 'local', options: { miniSearch: { searchOptions } } },
    outline: [2, 3],
    sidebar,
    nav: [
      { text: 'Quickstart', link: '/quickstart' },
      { text: 'Playground', link: '/playground' },
      { text: 'API', link: '/reference/api/' },
      {
        text: `v${version}`,
        items: [
          { text: 'Changelog', link: '/changelog' },
          ...(repositoryUrl ? [{ text: 'Other versions', link: `${repositoryUrl}/releases` }] : []),
        ],
      },
    ],
    ...(repositoryUrl && {
      socialLinks: [{ icon: 'github', link: repositoryUrl }],
      editLink: { pattern: `${repositoryUrl}/edit/main/docs/:path`, text: 'Edit this page' },
    }),
  },
});
