import type { Policy } from '../../core/policy.js';
import { hashKey } from '../../util/bounded-key.js';

const PLAIN = /^[\w.:@+=,/-]{1,64}$/;

/**
 * The hash tag of a user's key. A short key of harmless characters is its own tag. Any other key is hashed, and with
 * `hashKeys` every key: a tag has bounded length, cannot end early, and differs for different keys.
 */
export function toHashTag(key: string, hashKeys: boolean): string {
  return !hashKeys && PLAIN.test(key) ? key : hashKey(key);
}

/**
 * The key of a bucket: `rl:1:{203.0.113.7}:SmsController.send:b20:1/6`. The `1` is the version of the stored format.
 * The tag puts all buckets of a user's key into one slot of a Cluster; the policy's name and numbers follow.
 */
export function redisKey(prefix: string, tag: string, policy: Policy): string {
  return `${prefix}1:{${tag}}:${policy.id}`;
}
