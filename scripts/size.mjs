// Prints the size of the package, and of the modules that an application with the memory store loads at startup. Sets
// no limit.
import { execFileSync } from 'node:child_process';
import { statSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const run = (command, ...args) => execFileSync(command, args, { cwd: root, encoding: 'utf8', maxBuffer: 1e8 });
const kB = (bytes) => `${(bytes / 1000).toFixed(1)} kB`;

// The library is already built, so listing its files needs no scripts.
const [packed] = JSON.parse(run('npm', 'pack', '--dry-run', '--json', '--ignore-scripts'));
console.log(`package: ${kB(packed.size)} packed, ${kB(packed.unpackedSize)} unpacked, ${packed.entryCount} files`);

/** A minimal application. The inspector reports every module, however it is loaded. */
const APP = `
  import { Session } from 'node:inspector';
  const loaded = new Set();
  const session = new Session();
  session.connect();
  session.on('Debugger.scriptParsed', ({ params }) => loaded.add(params.url));
  session.post('Debugger.enable');
  await import('reflect-metadata');
  const { Module } = await import('@nestjs/common');
  const { NestFactory } = await import('@nestjs/core');
  const { RateLimitModule } = await import('nest-rate-limit');
  class AppModule {}
  Module({ imports: [RateLimitModule.forRoot()] })(AppModule);
  const app = await NestFactory.createApplicationContext(AppModule, { logger: false });
  console.log(JSON.stringify([...loaded]));
  await app.close();
`;
const loaded = JSON.parse(run(process.execPath, '--input-type=module', '-e', APP));
const own = loaded.filter((url) => url.startsWith(new URL('../dist/', import.meta.url).href));
const bytes = own.reduce((sum, url) => sum + statSync(new URL(url)).size, 0);
console.log(`loaded at startup with the memory store: ${kB(bytes)} in ${own.length} modules`);
