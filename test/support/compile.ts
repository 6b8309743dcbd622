import { type Options, transformFile } from '@swc/core';
import { build } from 'esbuild';
import config from '../../jest.config.js';

/** The options of SWC with which Jest compiles the tests. */
const {
  '\\.ts$': [, SWC],
} = config.transform as Record<string, [string, Options]>;

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
  const { code } = await transformFile(path, { ...SWC, swcrc: false });
  return { contents: code, loader: 'js' };
}
