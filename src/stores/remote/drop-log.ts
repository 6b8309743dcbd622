import type { EffectDropReason } from '../../observe/channels.js';
import { logger } from '../../observe/logger.js';
import { steadyNow } from '../../util/clock.js';
import { formatError } from '../../util/option-error.js';
import type { PendingEffect } from './pending-effect.js';

/** ms between two log lines. */
const INTERVAL = 60_000;

const NAMES: Readonly<Record<string, string>> = { put: 'refund', charge: 'charge', block: 'block' };

const REASONS: Readonly<Record<EffectDropReason, string>> = {
  expired: 'the store was unavailable until it no longer mattered',
  full: 'too many of them wait for the store',
  failed: 'the store may have applied it, or cannot apply it',
  shutdown: 'the application has closed',
  superseded: 'a later one made it void',
};

/** Logs dropped effects: the first one immediately, then at most one line per minute with the number since. */
export class DropLog {
  private nextLine = 0;
  private count = 0;

  note({ request, count }: PendingEffect, reason: EffectDropReason, error?: unknown): void {
    this.count += count;
    if (steadyNow() < this.nextLine) return;
    this.nextLine = steadyNow() + INTERVAL;
    const [{ policy }] = request.takes;
    const cause = error === undefined ? '' : `: ${formatError(error)}`;
    const before = this.count - count;
    const others = before > 0 ? `, after ${before} others since the last line` : '';
    logger.warn(
      `Policy ${policy.name}: a ${NAMES[request.verb]} was dropped, because ${REASONS[reason]}${cause}${others}`,
    );
    this.count = 0;
  }

  /** Logs the number of effects that no line has reported yet. */
  close(): void {
    if (this.count > 0) logger.warn(`${this.count} more refunds and charges were dropped`);
    this.count = 0;
  }
}
