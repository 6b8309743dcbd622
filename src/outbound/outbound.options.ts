import type { Duration } from '../util/duration.js';

/** How calls to an upstream are limited. */
export interface OutboundOptions {
  /**
   * The longest time that a call waits for its turn, `0` for not at all, or `Infinity`. A call that would wait longer
   * rejects with `OutboundLimitExceededException`, immediately where that is known. Calls that wait are kept in memory:
   * with 5 calls per second and `'10s'`, about 50.
   */
  readonly maxWait: Duration;
  /**
   * The longest time for which an answer of the upstream may block the bucket. Default: `'5m'`. Longer times are cut, so
   * that a wrong header cannot stop the calls for days.
   */
  readonly maxBlock?: Duration;
}
