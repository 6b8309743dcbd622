// Bundles an application with the bundlers that Nest users have, in their configurations, and runs each bundle.
import { execFileSync } from 'node:child_process';
import { createRequire } from 'node:module';
import rspack from '@rspack/core';
import { build } from 'esbuild';
import webpack from 'webpack';
import nodeExternals from 'webpack-node-externals';

const require = createRequire(import.meta.url);

/** What Nest imports if it is installed: users list exactly these in their bundler's options. */
const LAZY = [
  '@nestjs/microservices',
  '@nestjs/microservices/microservices-module.js',
  '@nestjs/websockets/socket-module.js',
  'class-transformer',
  'class-transformer/storage',
  'class-validator',
];
const ENTRY = './bundled.js';
const NODE_ESM = 'import { createRequire as r } from "node:module"; const require = r(import.meta.url);';

const bundles = {
  'esbuild.cjs': (file) => esbuild(file, 'cjs'),
  'esbuild.mjs': (file) => esbuild(file, 'esm', { banner: { js: NODE_ESM } }),
  'esbuild-minified.cjs': (file) => esbuild(file, 'cjs', { minify: true }),
  'webpack.cjs': (file) => pack(webpack, file),
  // As `nest build --webpack` does.
  'webpack-externals.cjs': (file) => pack(webpack, file, { externals: [nodeExternals()] }),
  'rspack.cjs': (file) => pack(rspack, file),
  'rspack-minified.cjs': (file) => pack(rspack, file, { optimization: { nodeEnv: false, minimize: true } }),
};

function esbuild(outfile, format, options) {
  return build({
    entryPoints: [ENTRY],
    bundle: true,
    platform: 'node',
    external: LAZY,
    logLevel: 'silent',
    format,
    outfile,
    ...options,
  });
}

async function pack(bundler, file, options) {
  const checkResource = (resource) => LAZY.includes(resource) && !isInstalled(resource);
  const config = {
    mode: 'none',
    target: 'node',
    context: import.meta.dirname ?? process.cwd(),
    entry: ENTRY,
    output: { path: process.cwd(), filename: file, library: { type: 'commonjs2' } },
    optimization: { nodeEnv: false },
    plugins: [new bundler.IgnorePlugin({ checkResource })],
    ...options,
  };
  const stats = await new Promise((resolve, reject) => {
    bundler(config, (error, result) => (error ? reject(error) : resolve(result)));
  });
  if (stats.hasErrors()) throw new Error(stats.toString({ all: false, errors: true }));
}

function isInstalled(name) {
  try {
    require.resolve(name);
    return true;
  } catch {
    return false;
  }
}

for (const [file, bundle] of Object.entries(bundles)) {
  await bundle(file);
  const output = execFileSync(process.execPath, [file], { encoding: 'utf8' });
  if (!output.endsWith('done\n')) throw new Error(`${file} did not limit\n${output}`);
}
console.log('done');
