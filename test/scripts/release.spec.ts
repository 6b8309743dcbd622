import { execFileSync, spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';

interface Manifest {
  readonly version: string;
  readonly repository?: unknown;
  readonly [name: string]: unknown;
}

/** The scripts are JavaScript, without types. */
const load = <T>(path: string): Promise<T> => import(`../../scripts/release/${path}.mjs`);
const { hostOf, absoluteLinks } = await load<{
  hostOf(manifest: object): object;
  absoluteLinks(page: string, host: object, tag: string, directory?: string): string;
}>('repository');
const { stage } = await load<{
  stage(folder: string, options: { from?: string; build: boolean; library: object }): void;
}>('stage');
const { problemsOf, changesetsIn } = await load<{
  problemsOf(root: string, tag: string): string[];
  changesetsIn(root: string): string[];
}>('problems');
const { cutChangelog, notesOf } = await load<{
  cutChangelog(changelog: string, version: string, date: string): string;
  notesOf(changelog: string, version: string): string | undefined;
}>('changelog');

const manifest = JSON.parse(readFileSync('package.json', 'utf8')) as Manifest;
const GITHUB = 'https://github.com/owner/name';
const FILE = `${GITHUB}/blob/v1.2.3`;

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'nest-rate-limit-release-'));
});
afterEach(() => {
  rmSync(folder, { recursive: true });
});

describe('Absolute links', () => {
  it.each([
    ['[a](docs/a.md)', `[a](${FILE}/docs/a.md)`],
    ['[a](./docs/a.md#b-c), [b](LICENSE)', `[a](${FILE}/docs/a.md#b-c), [b](${FILE}/LICENSE)`],
    ['![a](docs/a.png)', '![a](https://raw.githubusercontent.com/owner/name/v1.2.3/docs/a.png)'],
    ['[![a](a.svg)](b.md)', `[![a](https://raw.githubusercontent.com/owner/name/v1.2.3/a.svg)](${FILE}/b.md)`],
    ['[a]: docs/a.md', `[a]: ${FILE}/docs/a.md`],
    ['<a href="docs/a.md">', `<a href="${FILE}/docs/a.md">`],
    ['[a](https://a.org/b.md), [b](#c), [d](mailto:e@f.g)', '[a](https://a.org/b.md), [b](#c), [d](mailto:e@f.g)'],
    ['```ts\na[b](c.md);\n```\n[a](b.md)', `\`\`\`ts\na[b](c.md);\n\`\`\`\n[a](${FILE}/b.md)`],
  ])('lead to the files of a tag: %j', (page, expected) => {
    expect(absoluteLinks(page, hostOf({ repository: GITHUB }), 'v1.2.3')).toBe(expected);
  });

  it('are relative to the folder of the page', () => {
    const page = absoluteLinks('[a](../docs/a.md), [b](b.md)', hostOf({ repository: GITHUB }), 'v1.2.3', 'codemod');
    expect(page).toBe(`[a](${FILE}/docs/a.md), [b](${FILE}/codemod/b.md)`);
  });

  it.each(['git+https://github.com/owner/name.git', { type: 'git', url: GITHUB }, 'github:owner/name'])(
    'take the address of the repository in any form: %j',
    (repository) => {
      expect(absoluteLinks('[a](b)', hostOf({ repository }), 'v1.2.3')).toBe(`[a](${FILE}/b)`);
    },
  );

  it.each([
    [undefined, 'got nothing'],
    ['somewhere', 'got "somewhere"'],
    [{ type: 'git' }, 'got {"type":"git"}'],
  ])('require the address of a repository, and name the fix: %j', (repository, got) => {
    expect(() => hostOf({ repository })).toThrow(
      `\`repository\` in package.json must be an address on GitHub, GitLab or Bitbucket, ${got}. ` +
        'Set it once: npm pkg set repository=https://github.com/OWNER/NAME',
    );
  });
});

describe('Staged package', () => {
  it('names the repository in its metadata and in the links of its pages', () => {
    stage(folder, { build: false, library: { ...manifest, repository: GITHUB } });
    const staged = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'));
    expect(staged).toMatchObject({
      version: manifest.version,
      repository: { type: 'git', url: `git+${GITHUB}.git` },
      homepage: `${GITHUB}#readme`,
      bugs: { url: `${GITHUB}/issues` },
      exports: manifest.exports,
    });
    for (const field of ['private', 'scripts', 'devDependencies']) expect(staged).not.toHaveProperty(field);

    const readme = readFileSync(join(folder, 'README.md'), 'utf8').replace(/^```.*?^```/gms, '');
    const targets = [...readme.matchAll(/\]\(([^)]+)\)/g)].map(([, target]) => target);
    const own = targets.filter((target) => /owner\/name/.test(target));
    expect(own.length).toBeGreaterThan(20);
    for (const target of targets) expect(target).toMatch(/^https:/);
    const paths = own.map((target) => target.replace(/^.*\/v\d+\.\d+\.\d+\/|#.*$/g, ''));
    expect(paths.filter((path) => !existsSync(path))).toEqual([]);
  });

  it('has the version of the library and its own folder, for the codemod', () => {
    stage(folder, { from: 'codemod', build: false, library: { version: '9.8.7', repository: GITHUB } });
    expect(JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'))).toMatchObject({
      name: 'nest-rate-limit-codemod',
      version: '9.8.7',
      repository: { type: 'git', url: `git+${GITHUB}.git`, directory: 'codemod' },
    });
  });

  it('cannot be published without the address of the repository', () => {
    const { repository, ...without } = manifest;
    stage(folder, { build: false, library: without });
    expect(JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')).private).toBe(true);
  });
});

describe('npm publish in the repository', () => {
  const publish = (repository?: string) => {
    cpSync('scripts', join(folder, 'scripts'), { recursive: true });
    symlinkSync(resolve('node_modules'), join(folder, 'node_modules'));
    writeFileSync(join(folder, 'package.json'), JSON.stringify({ ...manifest, repository }));
    const { status, stderr } = spawnSync('npm', ['publish', '--dry-run'], { cwd: folder, encoding: 'utf8' });
    expect(status).not.toBe(0);
    return stderr;
  };

  it('fails without the address of the repository, and names the fix', () => {
    expect(publish()).toContain('Set it once: npm pkg set repository=https://github.com/OWNER/NAME');
  });

  it('fails for the codemod, too', () => {
    const { status, stderr } = spawnSync('npm', ['publish', '--dry-run'], { cwd: 'codemod', encoding: 'utf8' });
    expect(status).not.toBe(0);
    expect(stderr).toMatch(/npm pkg set repository=|npm run release:stage/);
  });

  it('fails with it, too, and names the folder to publish', () => {
    expect(publish(GITHUB)).toContain('npm run release:stage && npm publish ./build/package');
  });
});

const CHANGELOG =
  '# Changelog\n\n## Unreleased\n\n### Added\n\n- A [thing](docs/a.md).\n\n## 0.1.0 (2026-01-02)\n\n- B.\n';

describe('Changelog', () => {
  it('gets a section for the released version, and an empty one for what follows', () => {
    const released = cutChangelog(CHANGELOG, '0.2.0', '2026-02-03');
    expect(released).toBe(CHANGELOG.replace('## Unreleased\n', '## Unreleased\n\n## 0.2.0 (2026-02-03)\n'));
    expect(notesOf(released, '0.2.0')).toBe('### Added\n\n- A [thing](docs/a.md).');
    expect(notesOf(released, '0.1.0')).toBe('- B.');
    expect(notesOf(released, '0.2')).toBeUndefined();
  });

  it.each([
    ['without an unreleased section', CHANGELOG.replace('Unreleased', '0.3.0'), 'must have a section "## Unreleased"'],
    ['without entries in it', CHANGELOG.replace('- A', 'A'), 'must list what changed, got no entries'],
  ])('is not released %s', (_, changelog, message) => {
    expect(() => cutChangelog(changelog, '0.2.0', '2026-02-03')).toThrow(message);
  });
});

describe('Release', () => {
  const write = (files: Record<string, string>) => {
    mkdirSync(join(folder, '.changeset'), { recursive: true });
    for (const [name, text] of Object.entries(files)) writeFileSync(join(folder, name), text);
  };
  const read = (name: string) => readFileSync(join(folder, name), 'utf8');
  const PACKAGE = '{\n  "name": "a",\n  "version": "0.1.0",\n  "files": ["dist", "b"]\n}\n';
  const release = (...args: string[]) =>
    execFileSync(process.execPath, [resolve('scripts/release.mjs'), ...args], {
      cwd: folder,
      encoding: 'utf8',
      stdio: 'pipe',
    });

  it('gets its version from the changesets, and its words from the changelog', () => {
    symlinkSync(resolve('node_modules'), join(folder, 'node_modules'));
    write({
      'package.json': PACKAGE,
      'package-lock.json': '{"name":"a","version":"0.1.0","lockfileVersion":3,"packages":{}}',
      'CHANGELOG.md': CHANGELOG,
      '.changeset/config.json': readFileSync('.changeset/config.json', 'utf8'),
      '.changeset/one.md': `---\n'a': patch\n---\n\nOne.\n`,
      '.changeset/two.md': `---\n'a': minor\n---\n\nTwo.\n`,
    });
    expect(problemsOf(folder, 'v0.1.0')).toContain(
      'Changesets must be applied, got one.md, two.md. Run: npm run release:version',
    );
    release('version');
    expect(read('package.json')).toBe(PACKAGE.replace('0.1.0', '0.2.0'));
    expect(JSON.parse(read('package-lock.json')).version).toBe('0.2.0');
    expect(read('CHANGELOG.md')).toMatch(
      /^# Changelog\n\n## Unreleased\n\n## 0\.2\.0 \(\d{4}-\d\d-\d\d\)\n\n### Added/,
    );
    expect(existsSync(join(folder, '.changeset/one.md'))).toBe(false);
    expect(() => release('version')).toThrow('There are no changesets. Add one: npx changeset');
    expect(problemsOf(folder, 'v0.2.0')).toEqual([expect.stringContaining('`repository` in package.json')]);
    write({ 'package.json': read('package.json').replace('"files"', `"repository": "${GITHUB}",\n  "files"`) });
    expect(problemsOf(folder, 'v0.2.0')).toEqual([]);
    release('check', 'v0.2.0');
    expect(release('notes')).toBe(`### Added\n\n- A [thing](${GITHUB}/blob/v0.2.0/docs/a.md).\n`);
  });

  it('can apply the changesets and the changelog of this repository', () => {
    symlinkSync(resolve('node_modules'), join(folder, 'node_modules'));
    cpSync('.changeset', join(folder, '.changeset'), { recursive: true });
    if (changesetsIn('.').length === 0) write({ '.changeset/one.md': `---\n'nest-rate-limit': patch\n---\n\nOne.\n` });
    const { name } = manifest;
    write({ 'package.json': JSON.stringify({ name, version: '0.1.0', repository: GITHUB }, null, 2) });
    write({ 'CHANGELOG.md': CHANGELOG });
    release('version');
    const released = JSON.parse(read('package.json')).version;
    expect(released).not.toBe('0.1.0');
    expect(problemsOf(folder, `v${released}`)).toEqual([]);
  });

  it('fails with all problems of the repository', () => {
    write({ 'package.json': PACKAGE, 'CHANGELOG.md': '# Changelog\n\n## Unreleased\n' });
    expect(problemsOf(folder, 'v0.3.0')).toEqual([
      expect.stringContaining('`repository` in package.json must be an address'),
      'The tag must be v0.1.0, the version in package.json, got v0.3.0',
      'CHANGELOG.md must have a section for 0.1.0. Run: npm run release:version',
    ]);
    expect(() => release('check', 'v0.3.0')).toThrow('The tag must be v0.1.0');
  });
});
