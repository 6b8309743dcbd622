import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from '@jest/globals';

const here = 'sample-app';
const read = (file: string) => readFileSync(file, 'utf8');
const dockerfile = read(join(here, 'Dockerfile'));
const compose = read(join(here, 'compose.yaml'));
const nginx = read(join(here, 'nginx.conf'));
const { devDependencies } = JSON.parse(read('package.json'));
const { dependencies } = JSON.parse(read(join(here, 'package.json'))) as { dependencies: Record<string, string> };
const all = (text: string, pattern: RegExp) => [...text.matchAll(pattern)].map(([, found]) => found);

it('copies only existing files, exactly those that .dockerignore allows', () => {
  const sources = all(dockerfile, /^COPY (?!--from)(.*) \S+$/gm).flatMap((files) => files.split(' '));
  expect(sources.length).toBeGreaterThan(5);
  expect(sources.filter((file) => !existsSync(file))).toEqual([]);
  expect(all(read(join(here, 'Dockerfile.dockerignore')), /^!(.*)$/gm)).toEqual(sources);
});

it('builds with installed tools, and starts the built entry file', () => {
  for (const command of all(dockerfile, /npx (\S+)/g)) expect(existsSync(`node_modules/.bin/${command}`)).toBe(true);
  const { entryFile } = JSON.parse(read('nest-cli.json'));
  expect(dockerfile).toContain(`CMD ["node", "build/${entryFile}.js"]`);
  expect(existsSync(`${entryFile}.ts`)).toBe(true);
});

it('installs every package that the app imports, in the tested version', () => {
  for (const [name, version] of Object.entries(dependencies))
    expect([name, version]).toEqual([name, devDependencies[name]]);
  const files = readdirSync(here, { recursive: true, encoding: 'utf8' }).filter(
    (name) => /\.(ts|mjs)$/.test(name) && !name.endsWith('.spec.ts'),
  );
  const imported = files.flatMap((file) => all(read(join(here, file)), /from '((?:@[^/']+\/)?[^@./'][^/']*)/g));
  const packages = new Set(imported.filter((name) => name !== 'nest-rate-limit' && !name.startsWith('node:')));
  expect(packages.size).toBeGreaterThan(8);
  expect(Object.keys(dependencies)).toEqual(expect.arrayContaining([...packages]));
});

it('routes the proxy to both apps, which trust its address', () => {
  const services = all(compose, /^ {2}([\w-]+):/gm);
  const upstream = all(nginx, /server ([\w-]+):3000;/g);
  expect(upstream).toHaveLength(2);
  expect(services).toEqual(expect.arrayContaining(upstream));
  expect(dockerfile).toContain('EXPOSE 3000');
  expect(all(nginx, /listen (\d+);/g)).toEqual(all(compose, /ports: \["127\.0\.0\.1:8080:(\d+)"\]/g));
  expect(compose).toContain('TRUST_PROXY: uniquelocal');
  expect(nginx).toContain('X-Forwarded-For $remote_addr');
});
