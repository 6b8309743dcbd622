import { hashKey } from './stores/hash-key.js';

const LONGEST = 256;

/**
 * A key of bounded length. Keys come from strangers and are kept in memory: one of more than 256 characters is replaced
 * by its hash. So is one that begins as hashes do, or somebody could write down the hash of another's key.
 */
export function boundKey(key: string): string {
  return key.length <= LONGEST && key[0] !== '%' ? key : hashKey(key);
}
