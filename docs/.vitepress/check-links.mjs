// Fails if a link of the built site leads to a page or an anchor that does not exist.
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const site = new URL('../../build/docs/', import.meta.url);
const base = process.env.DOCS_BASE ?? '/';
const files = readdirSync(site, { recursive: true });
const pages = files.filter((file) => file.endsWith('.html'));
const texts = new Map(pages.map((page) => [page, readFileSync(new URL(page, site), 'utf8')]));
const anchors = new Map([...texts].map(([page, text]) => [page, new Set(valuesOf(text, 'id'))]));

const broken = [];
let links = 0;
for (const [page, text] of texts) {
  for (const href of new Set(valuesOf(text, 'href'))) {
    if (/^[a-z]+:/.test(href)) continue;
    links++;
    const { pathname, hash } = new URL(href, `http://site${base}${page}`);
    const path = decodeURI(pathname).slice(base.length);
    const target = path === '' || path.endsWith('/') ? `${path}index.html` : path;
    if (!pathname.startsWith(base) || !existsSync(fileURLToPath(new URL(target, site))))
      broken.push(`${page}: ${href}`);
    else if (hash && !anchors.get(target)?.has(decodeURIComponent(hash.slice(1)))) broken.push(`${page}: ${href}`);
  }
}
const sources = files.filter((file) => /\.(md|txt)$/.test(file));
for (const source of sources) {
  const text = readFileSync(new URL(source, site), 'utf8').replace(/^```.*?^```$/gms, '');
  for (const [, href] of text.matchAll(/\[[^\]]+\]\((?![a-z]+:|#)([^)\s#]+)/g)) {
    links++;
    if (!existsSync(new URL(href, new URL(source, site)))) broken.push(`${source}: ${href}`);
  }
}
console.log(`Links: ${links} in ${pages.length} pages and ${sources.length} texts, ${broken.length} broken`);
for (const line of broken) console.error(`  ${line}`);
if (broken.length > 0) process.exitCode = 1;

function valuesOf(text, attribute) {
  const found = [...text.matchAll(new RegExp(`\\s${attribute}="([^"]*)"`, 'g'))].map(([, value]) => value);
  return found.map((value) => value.replaceAll('&amp;', '&').replaceAll('&quot;', '"'));
}
