// Installs the packed library into fresh applications and runs them. Each row of the printed table is one application.
// Together the rows cover every pair of Nest version, module type, Node version and ioredis version.
import { execFile } from 'node:child_process';
import { cpSync, mkdirSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { withPackage } from './pack.mjs';

const require = createRequire(import.meta.url);
require('esbuild-register/dist/node').register();
const { default: setUpRedis, freePort, redisUrl } = require('../test/support/redis.ts');

const OLDEST = '20.19.0'; // the minimum in `engines` of the package
const NEWEST = '24.21.0';
const IOREDIS = { 5: '5.11.1', 6: '6.0.0' };
const OWN_TSC = '../node_modules/typescript/bin/tsc'; // the version in smoke/nest-*.json
const TSC_7 = fileURLToPath(new URL('../node_modules/@typescript/native/bin/tsc', import.meta.url));
const JEST = { name: 'Jest 30, ts-jest, supertest', args: ['../node_modules/jest/bin/jest.js'] };
const VITEST = { name: 'Vitest 4, supertest', args: ['../node_modules/vitest/vitest.mjs', 'run', '--globals'] };

const rows = [
  // First, because the others install ioredis.
  types(12, 'module', OLDEST),
  client(12, 'module', OLDEST, 'node-redis', 'redis@5.12.1'),
  client(12, 'commonjs', NEWEST, 'node-redis', 'redis@5.12.1'),
  client(11, 'module', NEWEST, 'glide', '@valkey/valkey-glide@2.5.2'),
  client(11, 'commonjs', OLDEST, 'glide', '@valkey/valkey-glide@2.5.2'),
  // The compiler options of Nest 10 projects: `exports` of a package is ignored.
  app(10, 'commonjs', OLDEST, 5, { module: 'commonjs', moduleResolution: 'node10', skipLibCheck: false }),
  app(10, 'module', NEWEST, 6),
  features(10, 'commonjs', NEWEST),
  added(10, 'commonjs', OLDEST),
  app(11, 'commonjs', OLDEST, 6),
  app(11, 'module', NEWEST, 5),
  features(11, 'module', OLDEST),
  added(11, 'module', OLDEST),
  ownTest(11, 'commonjs', OLDEST, JEST),
  app(12, 'commonjs', NEWEST, 5),
  app(12, 'module', OLDEST, 6, { skipLibCheck: false }, TSC_7),
  features(12, 'commonjs', OLDEST),
  added(12, 'module', NEWEST),
  // With this flag, Jest can `require` ESM from Node 24.9.
  ownTest(12, 'commonjs', NEWEST, JEST, '--experimental-vm-modules'),
  ownTest(12, 'module', OLDEST, VITEST),
  bundles('commonjs', OLDEST),
  bundles('module', NEWEST),
];

function app(nest, type, node, ioredis, options = {}, tsc = OWN_TSC) {
  const what = '200, 200, 429 on Express and Fastify, in memory and Redis, as JSON and problem+json';
  const run = async (folder, program) => {
    await npm(folder, '--ignore-scripts', `ioredis@${IOREDIS[ioredis]}`);
    const cwd = project(folder, type, 'app', options);
    await execute(process.execPath, [tsc, '-p', '.'], cwd);
    await executeToEnd(program, ['entries.mjs'], cwd);
    await executeToEnd(program, ['app.js', redisUrl()], cwd);
  };
  return { nest, type, node, with: `ioredis ${ioredis}`, what, run };
}

function types(nest, type, node) {
  const run = async (folder) => {
    const cwd = project(folder, type, 'memory', { skipLibCheck: false });
    await execute(process.execPath, [OWN_TSC, '-p', '.'], cwd);
  };
  return { nest, type, node, with: 'no ioredis', what: 'strict type check, including library types', run };
}

function client(nest, type, node, name, library) {
  const run = async (folder, program) => {
    await npm(folder, '--ignore-scripts', library);
    const cwd = project(folder, type, name);
    await execute(process.execPath, [OWN_TSC, '-p', '.'], cwd);
    await executeToEnd(program, [`${name}.js`, redisUrl()], cwd);
  };
  return { nest, type, node, with: `${library}, no ioredis`, what: 'a decision and a subscription in Redis', run };
}

function features(nest, type, node) {
  const what = 'three messages to a gateway and a service, three calls of methods; OpenAPI';
  const run = async (folder, program) => {
    const cwd = project(folder, type, 'features');
    await execute(process.execPath, [TSC_7, '-p', '.'], cwd);
    await executeToEnd(program, ['features.js', String(await freePort())], cwd);
  };
  return { nest, type, node, with: 'socket.io, TCP, swagger, OpenTelemetry', what, run };
}

function added(nest, type, node) {
  const what = '`nest add` for two projects of a workspace, Express and Fastify: 200, 429';
  const run = async (folder, program) => {
    const files = ['apps/express/src/main.ts', 'apps/fastify/src/fastify.ts'];
    const cwd = project(folder, type, 'added', {}, files);
    cpSync(fileURLToPath(new URL('smoke/added', import.meta.url)), cwd, { recursive: true });
    for (const name of ['express', 'fastify']) {
      const cli = '../node_modules/@nestjs/cli/bin/nest.js';
      const output = await execute(program, [cli, 'add', 'nest-rate-limit', '--skip-install', '-p', name], cwd);
      if (!output.includes('Added RateLimitModule.forRoot()')) throw new Error(`nest add on ${name}\n${output}`);
    }
    await execute(process.execPath, [OWN_TSC, '-p', '.'], cwd);
    for (const file of files) {
      const output = await executeToEnd(program, [file.replace(/ts$/, 'js')], cwd);
      if (!output.startsWith('200 429\n')) throw new Error(`${file} is not limited\n${output}`);
    }
  };
  return { nest, type, node, with: 'the Nest CLI', what, run };
}

function ownTest(nest, type, node, runner, ...flags) {
  const what = 'a test suite of an application';
  const run = async (folder, program) => {
    const cwd = project(folder, type, 'limited.spec', { types: ['node', 'jest'], isolatedModules: true });
    const jest = { testRegex: '\\.spec\\.ts$', transform: { '\\.ts$': 'ts-jest' } };
    writeFileSync(join(cwd, 'jest.config.json'), JSON.stringify(jest));
    await execute(program, [...flags, ...runner.args], cwd);
  };
  return { nest, type, node, with: runner.name, what, run };
}

function bundles(type, node) {
  const what = 'bundles, also minified, without optional packages; two copies of the library';
  const run = async (folder, program) => {
    const cwd = project(folder, type, 'bundled');
    await execute(process.execPath, [TSC_7, '-p', '.'], cwd);
    await executeToEnd(program, ['bundle.mjs'], cwd);
    // A library in the application's workspace, with a copy of its own.
    cpSync(join(folder, 'node_modules/nest-rate-limit'), join(cwd, 'library/node_modules/nest-rate-limit'), {
      recursive: true,
    });
    await executeToEnd(program, ['copies.mjs'], cwd);
  };
  return { nest: 12, type, node, with: 'esbuild, webpack, rspack', what, run, packages: 'bundlers' };
}

/** Creates a project next to the installed packages, with the sources of an application, and returns its path. */
function project(folder, type, name, options, files = [`${name}.ts`]) {
  const cwd = join(folder, `${name}-${type}`);
  cpSync(fileURLToPath(new URL('smoke', import.meta.url)), cwd, { recursive: true });
  writeFileSync(join(cwd, 'package.json'), JSON.stringify({ private: true, type }));
  const compilerOptions = {
    target: 'es2022',
    module: 'nodenext',
    moduleResolution: 'nodenext',
    strict: true,
    esModuleInterop: true,
    experimentalDecorators: true,
    emitDecoratorMetadata: true,
    skipLibCheck: true,
    types: ['node'],
    ...options,
  };
  writeFileSync(join(cwd, 'tsconfig.json'), JSON.stringify({ compilerOptions, files }));
  return cwd;
}

/** Runs a command; if it fails, the error contains its output. */
async function execute(command, args, cwd) {
  try {
    return (await promisify(execFile)(command, args, { cwd, timeout: 300_000, maxBuffer: 2 ** 26 })).stdout;
  } catch (error) {
    throw new Error(`${[command, ...args].join(' ')}\n${error.stdout}${error.stderr || error.message}`);
  }
}

/** Runs a program that prints `done` last, and returns its output: Node also exits with 0 if a promise never settles. */
async function executeToEnd(program, args, cwd) {
  const output = await execute(program, args, cwd);
  if (!output.endsWith('done\n')) throw new Error(`${args[0]} exited before printing "done"\n${output}`);
  return output;
}

const npm = (cwd, ...args) =>
  execute('npm', ['install', '--no-audit', '--no-fund', '--prefer-offline', '--loglevel=error', ...args], cwd);

async function installPackages(packages, { dir, tarball }) {
  const folder = join(dir, packages);
  mkdirSync(folder);
  cpSync(fileURLToPath(new URL(`smoke/${packages}.json`, import.meta.url)), join(folder, 'package.json'));
  await npm(folder, '--ignore-scripts', tarball);
  return folder;
}

/** Installs the npm package `node`, which contains the Node binary. */
async function installNode(version, { dir }) {
  const folder = join(dir, `node-${version}`);
  mkdirSync(folder);
  writeFileSync(join(folder, 'package.json'), '{}');
  await npm(folder, `node@${version}`);
  return join(folder, 'node_modules/.bin/node');
}

await withPackage(async (scratch) => {
  await setUpRedis();
  const once = (install) => {
    const installed = {};
    return (version) => (installed[version] ??= install(version, scratch));
  };
  const [folderOf, nodeOf] = [once(installPackages), once(installNode)];
  const packagesOf = ({ packages, nest }) => packages ?? `nest-${nest}`;
  const runRow = async (row) => row.run(await folderOf(packagesOf(row)), await nodeOf(row.node));
  // Rows with the same packages share a folder, so they run one after another.
  const groups = [...new Set(rows.map(packagesOf))].map(async (packages) => {
    for (const row of rows.filter((other) => packagesOf(other) === packages)) {
      row.error = await runRow(row).then(
        () => undefined,
        (error) => error,
      );
    }
  });
  await Promise.all(groups);
});

console.table(rows.map(({ run, packages, error, ...row }) => ({ ...row, passed: error === undefined })));
const failed = rows.filter(({ error }) => error !== undefined);
for (const { nest, type, what, error } of failed) console.error(`\nNest ${nest}, ${type}, ${what}: ${error.message}`);
if (failed.length > 0) process.exitCode = 1;

// For .ci/run, which counts each row, in the format of Jest's report.
const file = process.argv.find((argument) => argument.startsWith('--outputFile='))?.split('=')[1];
const report = { numPassedTests: rows.length - failed.length, numFailedTests: failed.length };
if (file) writeFileSync(file, JSON.stringify(report));
