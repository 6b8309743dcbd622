// The steps of a release. CONTRIBUTING.md says when each of them runs.
import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { cutChangelog, notesOf } from './release/changelog.mjs';
import { changesetsIn, problemsOf } from './release/problems.mjs';
import { absoluteLinks, hostOf } from './release/repository.mjs';
import { stage } from './release/stage.mjs';

const run = (command, ...args) => execFileSync(command, args, { stdio: 'inherit' });
const manifestOf = () => JSON.parse(readFileSync('package.json', 'utf8'));

const steps = {
  /** Applies the changesets: sets the version, and cuts the section of the changelog. */
  version() {
    if (changesetsIn('.').length === 0) throw new Error('There are no changesets. Add one: npx changeset');
    const before = readFileSync('package.json', 'utf8');
    const changelog = readFileSync('CHANGELOG.md', 'utf8');
    cutChangelog(changelog, '', ''); // before anything changes
    run('npx', '--no-install', 'changeset', 'version');
    const { version } = manifestOf();
    // Without the format that `changeset` gives it.
    writeFileSync('package.json', before.replace(/"version": "[^"]+"/, `"version": "${version}"`));
    writeFileSync('CHANGELOG.md', cutChangelog(changelog, version, new Date().toISOString().slice(0, 10)));
    run('npm', 'install', '--package-lock-only', '--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error');
  },

  /** Fails unless the version that a tag names can be published. */
  check(tag) {
    const problems = problemsOf('.', tag);
    if (problems.length > 0) throw new Error(problems.join('\n'));
  },

  /** Writes the packages as they are published into build/package and build/codemod. */
  stage() {
    hostOf(manifestOf()); // otherwise packages that cannot be published are written
    stage('build/package');
    stage('build/codemod', { from: 'codemod' });
  },

  /** Prints what the version changes. */
  notes() {
    const manifest = manifestOf();
    const notes = notesOf(readFileSync('CHANGELOG.md', 'utf8'), manifest.version);
    if (notes === undefined) throw new Error(`CHANGELOG.md must have a section for ${manifest.version}`);
    console.log(absoluteLinks(notes, hostOf(manifest), `v${manifest.version}`));
  },

  /** Runs before `npm publish` in the repository, which would publish pages with relative links. */
  prepublish() {
    hostOf(JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')));
    throw new Error('Publish the staged package: npm run release:stage && npm publish ./build/package');
  },
};

const [, , step, ...args] = process.argv;
try {
  steps[step](...args);
} catch (error) {
  console.error(error.message);
  process.exitCode = 1;
}
