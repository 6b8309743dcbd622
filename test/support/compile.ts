import { transformFile } from '@swc/core';
import { build } from 'esbuild';

/** Bundles a TypeScript file. SWC compiles it, because esbuild does not emit the metadata that Nest injects by. */
export async function compile(entry: string, outfile: string): Promise<void> {
  await build({
    entryPoints: [entry],
    outfile,
    bundle: true,
    platform: 'node',
    format: 'esm',
    packages: 'external',
    plugins: [{ name: 'swc', setup: ({ onLoad }) => onLoad({ filter: /\.ts$/ }, ({ path }) => transpile(path)) }],
  });
}

async function transpile(path: string): Promise<{ contents: string; loader: 'js' }> {
  const { code } = await transformFile(path, {
    swcrc: false,
    jsc: {
      target: 'es2023',
      parser: { syntax: 'typescript', decorators: true },
      transform: { legacyDecorator: true, decoratorMetadata: true, useDefineForClassFields: false },
      keepClassNames: true,
    },
    module: { type: 'es6' },
  });
  return { contents: code, loader: 'js' };
}
