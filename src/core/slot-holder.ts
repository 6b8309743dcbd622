/** A process that takes, holds and awaits slots: one per store. Only for policies with a concurrency limit. */
export interface SlotHolder {
  /** A random whole number below 2^47. */
  readonly id: number;
  /**
   * The slots that the process holds. `hold`: takes under way included. `take`: those sent before this one included, this
   * one not; limits in this process, which decide while the store is unavailable, begin with it.
   */
  readonly count?: number;
  /** Orders what a holder reports in `count`. A `hold` older than the last one that was applied is ignored. */
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
