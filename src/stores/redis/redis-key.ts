import type { Policy } from '../../core/policy.js';
import { hashKey } from '../../util/hash-key.js';

const PLAIN = /^[\w.:@+=,/-]{1,64}$/;

/**
 * What stands for a user's key in a key of Redis. Plain short ones stand for themselves; any other is hashed, so that
 * it can be of any length, cannot end the hash tag and cannot look like another. With `hash` all are hashed.
 */
export function tagOf(key: string, hash: boolean): string {
  return !hash && PLAIN.test(key) ? key : hashKey(key);
}

/**
 * The key of a bucket: `rl:1:{203.0.113.7}:SmsController.send:b20:1/6`. The `1` is the version of what is stored
 * there; the tag keeps all buckets of one user's key in one slot of a Cluster; name and numbers of the policy follow.
 */
export function redisKey(prefix: string, tag: string, policy: Policy): string {
  return `${prefix}1:{${tag}}:${policy.id}`;
}
