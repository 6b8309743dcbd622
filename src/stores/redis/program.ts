import type { Policy } from '../../core/policy.js';
import { matchLimits } from '../../core/replace.js';
import type { StoreRequest, Verb } from '../../core/request.js';

const VERBS: readonly Verb[] = [
  'take',
  'estimate',
  'charge',
  'takeUpTo',
  'put',
  'cancel',
  'reset',
  'block',
  'unblock',
  'replace',
];
const STRATEGIES = ['reset', 'as-is', 'proportionally', 'additive'];

/** Collects requests for one run of the Lua script: its KEYS and its one argument. */
export class Program {
  readonly keys: string[] = [];
  private readonly places = new Map<string, number>();
  private readonly policies = new Map<string, number>();
  private definitions = '';
  private requests = '';

  constructor(private readonly keyOf: (policy: Policy, key: string) => string) {}

  add(request: StoreRequest): void {
    const { verb, takes } = request;
    let words = `,${VERBS.indexOf(verb) + 1},${takes.length}`;
    for (const { policy, key, amount, maxWait } of takes) {
      words += `,${this.policy(policy)},${this.key(policy, key)},${amount},${maxWait === Infinity ? -1 : maxWait}`;
    }
    const more = this.more(request);
    this.requests += `${words},${more.length}${more.map((word) => `,${word}`).join('')}`;
  }

  /** What a verb needs besides its takes. */
  private more({ verb, takes, actAt, duration, to, strategy }: StoreRequest): readonly (number | undefined)[] {
    if (verb === 'cancel') return actAt ?? [];
    if (verb === 'block') return [duration];
    if (verb !== 'replace' || !to || !strategy) return [];
    const matches = matchLimits(takes[0].policy, to).map((index) => index + 1);
    return [this.policy(to), this.key(to, takes[0].key), STRATEGIES.indexOf(strategy), ...matches];
  }

  /** The argument. `now` is -1 for the server's own time, `latest` is -1 for any. */
  argument(now: number, leastTtl: number, latest: number): string {
    return `[${now},${leastTtl},${latest},${this.policies.size}${this.definitions}${this.requests}]`;
  }

  private key(policy: Policy, key: string): number {
    const name = this.keyOf(policy, key);
    let place = this.places.get(name);
    if (place === undefined) {
      place = this.keys.push(name);
      this.places.set(name, place);
    }
    return place;
  }

  private policy(policy: Policy): number {
    // The time of a block is no part of the id, but of what the script must know.
    const name = `${policy.id} ${policy.block}`;
    let place = this.policies.get(name);
    if (place === undefined) {
      place = this.policies.size + 1;
      this.policies.set(name, place);
      this.definitions += definition(policy);
    }
    return place;
  }
}

const definitions = new WeakMap<Policy, string>();

function definition(policy: Policy): string {
  let words = definitions.get(policy);
  if (words === undefined) {
    words = `,${policy.block},${policy.limits.length}`;
    for (const { kind, capacity, weight, refill, period, slot } of policy.limits) {
      words += `,${kind === 'window' ? 1 : 0},${capacity},${weight},${refill},${period},${slot}`;
    }
    definitions.set(policy, words);
  }
  return words;
}
