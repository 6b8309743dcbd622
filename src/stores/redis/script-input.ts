import type { Policy } from '../../core/policy.js';
import { matchLimits } from '../../core/replace.js';
import type { StoreRequest, Take } from '../../core/request.js';
import type { SlotHolder } from '../../core/slot-holder.js';
import { ABSENT, CHECKED, HELD, MARKED, PER_LIMIT, RESOLVED, STRATEGY_CODES, VERB_CODES } from './script-protocol.js';

const NONE: readonly number[] = [];

/** Collects requests for one call of the Lua script: its KEYS and its argument. */
export class ScriptInput {
  readonly keys: string[] = [];
  private readonly policies: Policy[] = [];
  private definitions = '';
  private runs = '';
  /** The last request of the current run; requests of a run differ only in their keys. */
  private last: StoreRequest | undefined;
  private count = 0;

  /** `now` is about the time of the server, whose periods of the calendar the script receives. */
  constructor(
    private readonly keyOf: (policy: Policy, key: string) => string,
    private readonly now: () => number,
  ) {}

  add(request: StoreRequest): void {
    const { takes, to } = request;
    for (const { policy, key } of takes) this.keys.push(this.keyOf(policy, key));
    if (to) this.keys.push(this.keyOf(to, takes[0].key));
    if (!this.last || !differOnlyInKeys(this.last, request)) this.endRun();
    this.last = request;
    this.count++;
  }

  /** The argument. `now` is -1 for the server's own time, `latest` is -1 for any. */
  argument(now: number, leastTtl: number, latest: number): string {
    this.endRun();
    return `[${now},${leastTtl},${latest},${this.policies.length}${this.definitions}${this.runs}]`;
  }

  private endRun(): void {
    if (!this.last) return;
    const { verb, takes } = this.last;
    let run = `,${VERB_CODES[verb]},${this.count},${takes.length}`;
    for (const take of takes) {
      // A report has numbers of its own, as arguments of the verb.
      run += `,${this.policyNumber(take.policy)},${verb === 'hold' ? '0,0' : numbersOf(take)}`;
    }
    const more = this.argumentsOf(this.last);
    this.runs += more.length === 0 ? `${run},0` : `${run},${more.length},${more.join()}`;
    this.last = undefined;
    this.count = 0;
  }

  /** What a verb needs besides its takes. */
  private argumentsOf({ verb, takes, actAt, duration, to, strategy }: StoreRequest): readonly (number | undefined)[] {
    if (verb === 'cancel' || verb === 'put') return actAt ?? NONE;
    if (verb === 'block') return [duration];
    if (verb === 'hold') return reportOf(takes[0].holder);
    if (verb !== 'replace' || !to || !strategy) return NONE;
    const matches = matchLimits(takes[0].policy, to).map((index) => index + 1);
    return [this.policyNumber(to), STRATEGY_CODES[strategy], ...matches];
  }

  private policyNumber(policy: Policy): number {
    const index = this.policies.indexOf(policy);
    if (index >= 0) return index + 1;
    this.definitions += definitionOf(policy, this.now);
    return this.policies.push(policy);
  }
}

function numbersOf({ policy, amount, amounts, checks, maxWait, mark, holder }: Take): string {
  const resolved = policy.scales ? `${RESOLVED},` : '';
  const held = holder ? `${HELD},${holderOf(holder)},` : '';
  const marked = mark === undefined ? '' : `${MARKED},${mark},`;
  const wanted = amounts ? `${PER_LIMIT},${amountsOf(amounts, checks)}` : amount;
  return `${resolved}${held}${marked}${wanted},${maxWait === Infinity ? -1 : maxWait}`;
}

/** The holder of a take. Its count is that of a report, which is numbered. */
function holderOf({ id, waited, nextWaited, count, sequence }: SlotHolder): string {
  const isReport = count !== undefined && sequence !== undefined;
  const report = isReport ? `${count},${sequence}` : `${ABSENT},${ABSENT}`;
  return `${id},${orAbsent(waited)},${orAbsent(nextWaited)},${report}`;
}

function reportOf(holder: SlotHolder | undefined): readonly number[] {
  if (!holder) return NONE;
  return [holder.id, orAbsent(holder.count), orAbsent(holder.sequence), orAbsent(holder.waited)];
}

function orAbsent(number: number | undefined): number {
  return number ?? ABSENT;
}

function amountsOf(amounts: readonly number[], checks: Take['checks']): string {
  return checks ? amounts.map((amount, i) => (amount === 0 && checks[i] ? CHECKED : amount)).join() : amounts.join();
}

/** Whether two requests are the same but for their keys. */
function differOnlyInKeys(one: StoreRequest, other: StoreRequest): boolean {
  return (
    one.verb === other.verb &&
    one.actAt === other.actAt &&
    one.duration === other.duration &&
    one.to === other.to &&
    one.strategy === other.strategy &&
    one.takes.length === other.takes.length &&
    one.takes.every((take, i) => takesAlike(take, other.takes[i], one.verb === 'hold'))
  );
}

function takesAlike(one: Take, other: Take, isReport: boolean): boolean {
  return (
    one.policy === other.policy &&
    one.amount === other.amount &&
    one.amounts === other.amounts &&
    one.checks === other.checks &&
    one.mark === other.mark &&
    one.maxWait === other.maxWait &&
    (one.holder === other.holder || holdersAlike(one.holder, other.holder, isReport))
  );
}

/** Whether two holders are the same to the script. */
function holdersAlike(one: SlotHolder | undefined, other: SlotHolder | undefined, isReport: boolean): boolean {
  return (
    one?.id === other?.id &&
    one?.waited === other?.waited &&
    one?.nextWaited === other?.nextWaited &&
    one?.sequence === other?.sequence &&
    ((!isReport && one?.sequence === undefined) || one?.count === other?.count)
  );
}

/** What the script reads about a policy. That of a policy with calendar quotas holds from `since` until `until`. */
interface Definition {
  readonly numbers: string;
  readonly since: number;
  readonly until: number;
}

const definitions = new WeakMap<Policy, Definition>();

function definitionOf(policy: Policy, now: () => number): string {
  const known = definitions.get(policy);
  if (known && (known.until === Infinity || holdsAt(known, now()))) return known.numbers;
  const definition = define(policy, now());
  definitions.set(policy, definition);
  return definition.numbers;
}

function holdsAt({ since, until }: Definition, at: number): boolean {
  return at >= since && at < until;
}

function define({ block, limits }: Policy, now: number): Definition {
  let numbers = `,${block},${limits.length}`;
  let since = -Infinity;
  let until = Infinity;
  for (const { algorithm, capacity, weight, refill, period, slot, calendar } of limits) {
    const pair = calendar?.pairAt(now);
    numbers += `,${algorithm.id},${capacity},${weight},${(pair ?? [refill, period, slot]).join()}`;
    if (!pair) continue;
    // Nearer to another boundary, the pair is another one.
    since = Math.max(since, (pair[0] + pair[1]) / 2);
    until = Math.min(until, (pair[1] + pair[2]) / 2);
  }
  return { numbers, since, until };
}
