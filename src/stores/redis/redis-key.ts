import { createHash } from 'node:crypto';
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

/** The version of the stored format: states of another version have other keys, and are never read. */
const FORMAT = 2;
/** 42 bits: among 1,000 sets of limits of one name, two share a fingerprint with a probability of 1 in 10 million. */
const FINGERPRINT_LENGTH = 7;
const labels = new WeakMap<Policy, string>();

/**
 * The key of a bucket: `rl:{203.0.113.7}:SmsController.send:T4vxkG4`. The tag puts all buckets of a user's key into one
 * slot of a Cluster; the policy's name, and a fingerprint of its limits and the stored format follow.
 */
export function redisKey(prefix: string, tag: string, policy: Policy): string {
  return `${prefix}{${tag}}:${labels.get(policy) ?? labelOf(policy)}`;
}

function labelOf(policy: Policy): string {
  const hash = createHash('sha256').update(`${FORMAT} ${policy.id}`).digest('base64url');
  const label = `${policy.name}:${hash.slice(0, FINGERPRINT_LENGTH)}`;
  labels.set(policy, label);
  return label;
}
