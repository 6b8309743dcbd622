// Builds the library twice from the same sources: dist/esm for `import`, dist/cjs for `require`. And dist/schematics, which
// the Nest CLI requires.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { cpSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const tsc = `${root}/node_modules/@typescript/native/bin/tsc`;

rmSync(`${root}/dist`, { recursive: true, force: true });
const builds = ['tsconfig.build.json', 'tsconfig.cjs.json', 'tsconfig.schematics.json'].map(async (project) => {
  const [code] = await once(spawn(process.execPath, [tsc, '-p', project], { cwd: root, stdio: 'inherit' }), 'close');
  return code === 0;
});
if (!(await Promise.all(builds)).every(Boolean)) process.exit(1);
// ioredis is optional: without it, its types become `any` instead of a compile error.
for (const format of ['esm', 'cjs']) {
  const file = `${root}/dist/${format}/stores/redis/clients/ioredis.d.ts`;
  writeFileSync(file, readFileSync(file, 'utf8').replace(/^import .* from 'ioredis';$/m, '// @ts-ignore\n$&'));
}
// The package has `"type": "module"`; this marks what is CommonJS.
for (const folder of ['cjs', 'schematics'])
  writeFileSync(`${root}/dist/${folder}/package.json`, '{"type":"commonjs"}\n');
for (const file of ['collection.json', 'nest-add/schema.json']) {
  cpSync(`${root}/schematics/${file}`, `${root}/dist/schematics/${file}`);
}
for (const format of ['esm', 'cjs']) tolerateMissingPeers(join(root, 'dist', format));

/**
 * Wraps the lazy imports of optional peers in `try`: bundlers leave a package out that is missing there, and fail on one
 * that is missing elsewhere. At run time the import still rejects.
 */
function tolerateMissingPeers(folder) {
  const lazyImport =
    /\bimport\(('[^'.][^']*')\)|Promise\.resolve\(\)\.then\(\(\) => __importStar\(require\(('[^'.][^']*')\)\)\)/g;
  for (const name of readdirSync(folder, { recursive: true })) {
    if (!name.endsWith('.js')) continue;
    const file = join(folder, name);
    const source = readFileSync(file, 'utf8');
    const wrapped = source.replace(lazyImport, (_, imported, required) => {
      const load = imported ? `await import(${imported})` : `__importStar(require(${required}))`;
      return `(async () => { try { return ${load}; } catch (error) { throw error; } })()`;
    });
    if (wrapped !== source) writeFileSync(file, wrapped);
  }
}
