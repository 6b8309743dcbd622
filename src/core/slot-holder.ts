/** A process that takes, holds and awaits slots: one per store. Only for policies with a concurrency limit. */
export interface SlotHolder {
  /** A random whole number below 2^47. */
  readonly id: number;
  /**
   * The slots that the process holds. `hold`: takes under way included. `take`: those sent before this one included, this
   * one not; limits in this process, which decide while the store is unavailable, begin with it.
   */
  readonly count?: number;
  /**
   * Orders what a holder reports in `count`: what is older than the last report that was applied is ignored; without it
   * the report is the last one. A `take` that has both is a report, too: `count` is set before the decision.
   */
  readonly sequence?: number;
  /**
   * `take`: for how many ms the request has waited in its process's queue; absent for a new request. `hold`: the same of
   * the oldest waiter; absent if none waits.
   */
  readonly waited?: number;
  /** `take`: the `waited` of the next waiter, the oldest one once this request is admitted; absent if there is none. */
  readonly nextWaited?: number;
  /** The store is in this process: its slots do not expire. */
  readonly isLasting?: boolean;
}

/**
 * A message to a process that waits for slots. `'2'`: it may take up to two. `'0 17'`: it was granted one after its report
 * 17, and may take no more.
 */
export interface HolderMessage {
  /** The `id` of the process's `SlotHolder`. */
  readonly holder: number;
  readonly text: string;
}
