import { fileURLToPath } from 'node:url';

/**
 * What the playground, which runs the library in the browser, replaces: modules of Node and Nest, and two files of the
 * library that need Node.
 */
export const browserAliases = [
  { find: /^(?:node:(?:crypto|net|util)|@nestjs\/common)$/, replacement: standIn('node') },
  { find: /^(?:\.\.\/)+util\/clock\.js$/, replacement: standIn('clock') },
  { find: /^(?:\.\.\/)+util\/detached-string\.js$/, replacement: standIn('detached-string') },
];

function standIn(name: string): string {
  return fileURLToPath(new URL(`../playground/browser/${name}.ts`, import.meta.url));
}
