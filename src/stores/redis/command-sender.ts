import type { Policy } from '../../core/policy.js';
import type { StoreRequest } from '../../core/request.js';
import { RateLimitStoreError } from '../../exceptions/rate-limit-store.error.js';
import { type Clock, later, steadyNow, systemClock } from '../../util/clock.js';
import { GIVING_VERBS } from '../rate-limit.store.js';
import type { ClientPort } from './clients/client-port.js';
import { CommandDeadline } from './command-deadline.js';
import { hasSeveralKeys, runAcrossSlots } from './cross-slot.js';
import { FirstConnection } from './first-connection.js';
import type { PendingRequest, ReplyRow } from './pending-request.js';
import { groupByKey } from './request-queue.js';
import { ScriptInput } from './script-input.js';
import {
  dispatchReplies,
  isCrossSlotError,
  isScriptMissing,
  isTryAgainError,
  lateReplyTime,
  toStoreError,
} from './script-reply.js';
import { ScriptRunner } from './script-runner.js';
import { SentCommand } from './sent-command.js';
import type { ServerTime } from './server-time.js';
import { writeOnce } from './write-once.js';

/** The shortest TTL in ms with an injected clock: Redis expires keys by its own clock, which may be ahead. */
const MIN_TTL_OF_INJECTED_CLOCK = 60_000;

/** How often a batch is sent at most: Redis may lack the script, or receive it too late although its callers still wait. */
const MAX_ATTEMPTS = 4;

/** ms until a command is sent again whose slot is being migrated, and how long it is retried without a timeout. */
const RETRY_DELAY = 5;
const LONGEST_RETRY = 2000;

interface Options {
  readonly timeout: number;
  /** Whether a command may have several requests. */
  readonly batch: boolean;
  /** Whether a command may have buckets of one key only. */
  readonly sharded: boolean;
  /** A clock for tests, instead of the server's. */
  readonly clock: Clock | undefined;
  readonly serverTime: ServerTime;
  readonly keyOf: (policy: Policy, key: string) => string;
  readonly nodeOf: (key: string) => string | undefined;
}

/** Sends requests to Redis, and again where Redis has not executed them and there is time left. */
export class CommandSender {
  private readonly script: ScriptRunner;
  private readonly deadline: CommandDeadline;
  private readonly firstConnection: FirstConnection;
  private sharded: boolean;

  constructor(
    private readonly port: ClientPort,
    private readonly options: Options,
  ) {
    this.script = new ScriptRunner(port);
    this.deadline = new CommandDeadline(port.timeouts, options.timeout);
    this.firstConnection = new FirstConnection(port);
    this.sharded = options.sharded;
  }

  /**
   * Sends requests in one command; if several servers share the keys, in one for each key; without batching, in one for
   * each request. Their deadline starts when the bytes are handed to the client, or at `since`.
   */
  send(requests: readonly PendingRequest[], since?: number): void {
    const { batch } = this.options;
    const isOneCommand = requests.length === 1 || (batch && !this.sharded);
    if (isOneCommand && !this.isAcross(requests[0])) {
      this.sendBatch(requests, since);
      return;
    }
    const single = requests.filter((pending) => !this.isAcross(pending));
    const batches = batch ? groupByKey(single) : single.map((pending) => [pending]);
    const sockets = batches.map(([{ request }]) => this.port.socketOf(this.nodeOf(request)));
    writeOnce(sockets, () => {
      for (const batch of batches) this.sendBatch(batch, since);
    });
    for (const pending of requests) if (this.isAcross(pending)) this.sendAcross(pending, since);
  }

  /** Stops waiting for the first connection. */
  stopWaiting(): void {
    this.firstConnection.end();
  }

  close(): void {
    this.firstConnection.end();
    this.script.close();
  }

  /** Sends the parts of a request one after the other. They share one deadline; refunds start their own. */
  private sendAcross({ request, call, resolve, reject }: PendingRequest, since: number | undefined): void {
    let started = since;
    const run = (part: StoreRequest) =>
      new Promise<ReplyRow>((resolve, reject) => {
        if (GIVING_VERBS.has(part.verb)) {
          this.sendBatch([{ request: part, call: undefined, resolve, reject }]);
          return;
        }
        if (call && !call.ended) started = this.unlessPassed(started);
        started = this.sendBatch([{ request: part, call, resolve, reject }], started).at;
      });
    runAcrossSlots(request, run).then(resolve, reject);
  }

  private sendBatch(batch: readonly PendingRequest[], since?: number, attempt = 1, withSource = false): SentCommand {
    const started = steadyNow();
    const node = this.nodeOf(batch[0].request);
    const command = new SentCommand(since ?? started, node, this.port.socketOf(node));
    for (const { call } of batch) if (call) call.sent = command;
    const latest = this.deadline.sent(command.at, started);
    const { attempt: connecting } = this.firstConnection;
    const run = () => this.run(batch, latest, withSource);
    const replied = connecting ? connecting.then(run) : run();
    // Again: if this process was suspended since `started`, that is not the time of Redis. `latest` must stay the earlier one.
    if (since === undefined) command.at = steadyNow();
    replied.then(
      (reply) => this.settle(batch, command, reply, started, attempt),
      (error) => {
        this.deadline.settled(steadyNow());
        this.fail(batch, command, attempt, error);
      },
    );
    return command;
  }

  /** Settles the requests of a batch, which was sent at `started`, with its reply. */
  private settle(
    batch: readonly PendingRequest[],
    command: SentCommand,
    reply: unknown,
    started: number,
    attempt: number,
  ): void {
    const { serverTime, clock } = this.options;
    const received = steadyNow();
    this.deadline.settled(received);
    try {
      const late = lateReplyTime(reply);
      if (late !== undefined) {
        serverTime.observe(late, started, received);
        return this.sendAgain(batch, command, attempt);
      }
      const serverNow = dispatchReplies(batch, reply, (pending) => this.sendAgain([pending], command, attempt));
      if (serverNow !== undefined && !clock) serverTime.observe(serverNow, started, received);
    } catch (error) {
      this.fail(batch, command, attempt, error);
    }
  }

  /** Rejects the requests of a batch, unless it can be sent again. */
  private fail(batch: readonly PendingRequest[], command: SentCommand, attempt: number, error: unknown): void {
    if (isScriptMissing(error)) return this.sendAgain(batch, command, attempt, true);
    if (isCrossSlotError(error) && needsSharding(batch)) {
      this.sharded = true;
      return this.send(batch, this.unlessPassed(command.at));
    }
    const retryUntil = command.at + Math.min(this.options.timeout, LONGEST_RETRY);
    if (isTryAgainError(error) && steadyNow() + RETRY_DELAY < retryUntil) {
      return later(RETRY_DELAY, () => void this.sendBatch(batch, command.at, attempt));
    }
    const storeError = toStoreError(error);
    for (const { reject } of batch) reject(storeError);
  }

  /**
   * Sends a batch again that Redis did not execute, for the callers that still wait. It lacked the script, or the batch
   * reached it after its deadline: either the estimate of the server's time was wrong, or this process was suspended
   * before the bytes left it.
   */
  private sendAgain(batch: readonly PendingRequest[], command: SentCommand, attempt: number, withSource = false): void {
    const isInTime = steadyNow() <= command.at + this.options.timeout;
    const isAwaited = ({ call }: PendingRequest) => attempt < MAX_ATTEMPTS && (call ? !call.ended : isInTime);
    const awaited = batch.filter(isAwaited);
    if (awaited.length > 0) this.sendBatch(awaited, this.unlessPassed(command.at), attempt + 1, withSource);
    if (awaited.length === batch.length) return;
    const message = `Command reached Redis after its ${this.options.timeout} ms deadline`;
    const error = new RateLimitStoreError(message, 'store', { outcome: 'not-applied' });
    for (const pending of batch) if (!awaited.includes(pending)) pending.reject(error);
  }

  /** The start of a deadline. If callers wait although it has passed, this process is late, and another one starts. */
  private unlessPassed(since: number | undefined): number | undefined {
    return since !== undefined && steadyNow() < since + this.options.timeout ? since : undefined;
  }

  /** Whether the buckets of a request may be on several servers. */
  private isAcross({ request }: PendingRequest): boolean {
    return this.sharded && hasSeveralKeys(request);
  }

  /** The node of a Cluster that has the first bucket of a request. */
  private nodeOf({ takes }: StoreRequest): string | undefined {
    return this.port.isCluster ? this.options.nodeOf(takes[0].key) : undefined;
  }

  /** The time by which the script decides, as far as it is known here. */
  private estimatedNow(): number {
    const { clock, serverTime } = this.options;
    return clock?.now() ?? (Math.floor(serverTime.at(steadyNow())) || systemClock.now());
  }

  private run(batch: readonly PendingRequest[], latest: number, withSource: boolean): Promise<unknown> {
    const { keyOf, clock, serverTime } = this.options;
    try {
      const input = new ScriptInput(keyOf, () => batch[0].calendarAt ?? this.estimatedNow());
      for (const { request } of batch) input.add(request);
      const deadline = latest === Infinity ? -1 : serverTime.at(latest);
      const argument = input.argument(clock ? clock.now() : -1, clock ? MIN_TTL_OF_INJECTED_CLOCK : 0, deadline);
      return this.script.run(input.keys, argument, withSource);
    } catch (error) {
      return Promise.reject(error);
    }
  }
}

/** Whether a batch has buckets of several keys. */
function needsSharding(batch: readonly PendingRequest[]): boolean {
  return groupByKey(batch).length > 1 || batch.some(({ request }) => hasSeveralKeys(request));
}
