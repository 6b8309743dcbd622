import type { Policy } from '../../core/policy.js';
import { matchLimits } from '../../core/replace.js';
import type { StoreRequest, Take, Verb } from '../../core/request.js';

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
  private readonly policies = new Map<Policy, number>();
  private definitions = '';
  private runs = '';
  /** The run of requests at the end, that differ in nothing but their keys. */
  private last: StoreRequest | undefined;
  private count = 0;

  constructor(private readonly keyOf: (policy: Policy, key: string) => string) {}

  add(request: StoreRequest): void {
    const { takes, to } = request;
    for (const { policy, key } of takes) this.keys.push(this.keyOf(policy, key));
    if (to) this.keys.push(this.keyOf(to, takes[0].key));
    if (!this.last || !sameButKeys(this.last, request)) this.endRun();
    this.last = request;
    this.count++;
  }

  /** The argument. `now` is -1 for the server's own time, `latest` is -1 for any. */
  argument(now: number, leastTtl: number, latest: number): string {
    this.endRun();
    return `[${now},${leastTtl},${latest},${this.policies.size}${this.definitions}${this.runs}]`;
  }

  private endRun(): void {
    if (!this.last) return;
    const { verb, takes } = this.last;
    let words = `,${VERBS.indexOf(verb) + 1},${this.count},${takes.length}`;
    for (const { policy, amount, maxWait } of takes) {
      words += `,${this.policy(policy)},${amount},${maxWait === Infinity ? -1 : maxWait}`;
    }
    const more = this.more(this.last);
    this.runs += `${words},${more.length}${more.map((word) => `,${word}`).join('')}`;
    this.last = undefined;
    this.count = 0;
  }

  /** What a verb needs besides its takes. */
  private more({ verb, takes, actAt, duration, to, strategy }: StoreRequest): readonly (number | undefined)[] {
    if (verb === 'cancel') return actAt ?? [];
    if (verb === 'block') return [duration];
    if (verb !== 'replace' || !to || !strategy) return [];
    const matches = matchLimits(takes[0].policy, to).map((index) => index + 1);
    return [this.policy(to), STRATEGIES.indexOf(strategy), ...matches];
  }

  private policy(policy: Policy): number {
    let place = this.policies.get(policy);
    if (place === undefined) {
      place = this.policies.size + 1;
      this.policies.set(policy, place);
      this.definitions += definition(policy);
    }
    return place;
  }
}

/** Whether two requests are the same but for their keys. */
function sameButKeys(one: StoreRequest, other: StoreRequest): boolean {
  return (
    one.verb === other.verb &&
    one.actAt === other.actAt &&
    one.duration === other.duration &&
    one.to === other.to &&
    one.strategy === other.strategy &&
    one.takes.length === other.takes.length &&
    one.takes.every((take, i) => sameButKey(take, other.takes[i]))
  );
}

function sameButKey(one: Take, other: Take): boolean {
  return one.policy === other.policy && one.amount === other.amount && one.maxWait === other.maxWait;
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
