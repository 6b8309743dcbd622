import { createHash } from 'node:crypto';
import { RateLimitStoreError } from '../../exceptions/rate-limit-store.error.js';
import type { ClientPort } from './clients/client-port.js';
import { SCRIPT } from './lua/script.js';
import { lateReplyTime } from './script-reply.js';

const SCRIPT_SHA = createHash('sha1').update(SCRIPT).digest('hex');

/** The argument of a command that Redis rejects as late: `now`, the least TTL, and the latest server time. */
const REJECTED = '[-1,0,0]';

/**
 * Runs the script, at most once per call.
 *
 * When a connection closes before the reply, Redis may have executed the command, and the client may send it again on the
 * next connection. The argument is a buffer then, which the client writes as it is at that moment, so that an argument that
 * Redis rejects can take its place.
 */
export class ScriptRunner {
  /** The arguments of commands in flight; `undefined` if the client sends no command again. */
  private readonly inFlight: Set<Buffer> | undefined;

  constructor(private readonly port: ClientPort) {
    if (!port.mayResend) return;
    this.inFlight = new Set();
    this.close = port.on('lost', () => this.rejectResent());
  }

  close: () => void = () => {};

  /** Runs the script by its hash, or by its source, which Redis then keeps. */
  run(keys: readonly string[], argument: string, withSource: boolean): Promise<unknown> {
    return this.inFlight
      ? this.runOnce(keys, argument, withSource, this.inFlight)
      : this.evaluate(keys, argument, withSource);
  }

  private async runOnce(
    keys: readonly string[],
    argument: string,
    withSource: boolean,
    inFlight: Set<Buffer>,
  ): Promise<unknown> {
    const buffer = Buffer.from(argument);
    inFlight.add(buffer);
    try {
      const reply = await this.evaluate(keys, buffer, withSource);
      if (!inFlight.has(buffer) && lateReplyTime(reply) !== undefined) {
        throw new RateLimitStoreError('The connection closed before the reply of a command');
      }
      return reply;
    } finally {
      inFlight.delete(buffer);
    }
  }

  private evaluate(keys: readonly string[], argument: string | Buffer, withSource: boolean): Promise<unknown> {
    return withSource ? this.port.eval(SCRIPT, keys, argument) : this.port.evalsha(SCRIPT_SHA, keys, argument);
  }

  private rejectResent(): void {
    for (const buffer of this.inFlight ?? []) {
      buffer.fill(' ');
      buffer.write(REJECTED);
    }
    this.inFlight?.clear();
  }
}
