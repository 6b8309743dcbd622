import { readdirSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import type { Vector } from './vector.js';

/** The vectors of one file. */
export interface VectorFile {
  /** The file name without its extension. */
  readonly name: string;
  readonly vectors: readonly Vector[];
}

/** Reads the vectors for stores from the installed package, in the order of the file names. */
export function readVectorFiles(): VectorFile[] {
  const require = createRequire(join(process.cwd(), 'package.json'));
  const directory = join(dirname(require.resolve('nest-rate-limit/package.json')), 'test', 'vectors');
  return readdirSync(directory)
    .filter((file) => file.endsWith('.json'))
    .sort()
    .map((file) => ({
      name: file.slice(0, -'.json'.length),
      vectors: JSON.parse(readFileSync(join(directory, file), 'utf8')),
    }))
    .filter(({ vectors }) => areForStores(vectors));
}

/** Vectors for stores name the bucket under test; other files describe suspended requests. */
function areForStores(content: unknown): boolean {
  return Array.isArray(content) && content.some((vector: Vector) => vector.policy ?? vector.construct);
}
