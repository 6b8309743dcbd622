import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { notesOf } from './changelog.mjs';
import { hostOf } from './repository.mjs';

/** Returns why a repository cannot release the version that a tag names. */
export function problemsOf(root, tag) {
  const manifest = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
  const problems = [];
  try {
    hostOf(manifest);
  } catch (error) {
    problems.push(error.message);
  }
  const expected = `v${manifest.version}`;
  if (tag !== expected) problems.push(`The tag must be ${expected}, the version in package.json, got ${tag}`);
  if (changesetsIn(root).length > 0) {
    problems.push(`Changesets must be applied, got ${changesetsIn(root).join(', ')}. Run: npm run release:version`);
  }
  if (notesOf(readFileSync(join(root, 'CHANGELOG.md'), 'utf8'), manifest.version) === undefined) {
    problems.push(`CHANGELOG.md must have a section for ${manifest.version}. Run: npm run release:version`);
  }
  return problems;
}

/** Returns the names of the changesets that the next version will apply. */
export function changesetsIn(root) {
  const folder = join(root, '.changeset');
  if (!existsSync(folder)) return [];
  return readdirSync(folder).filter((name) => name.endsWith('.md') && name !== 'README.md');
}
