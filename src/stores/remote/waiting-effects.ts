import type { StoreRequest } from '../../core/request.js';
import { effectName, mergeEffects, type PendingEffect } from './pending-effect.js';

/** Effects that wait to be repeated: refunds, and for each bucket at most one charge and one block. */
export class WaitingEffects {
  private readonly charges = new Map<string, PendingEffect>();
  private readonly refunds = new Set<PendingEffect>();

  get size(): number {
    return this.charges.size + this.refunds.size;
  }

  add(effect: PendingEffect): void {
    if (effect.request.verb === 'put') {
      this.refunds.add(effect);
      return;
    }
    const name = effectName(effect.request);
    const other = this.charges.get(name);
    this.charges.set(name, other ? mergeEffects(other, effect) : effect);
  }

  /** Removes the charge or block with the bucket and verb of `request`. */
  remove(request: StoreRequest): PendingEffect | undefined {
    const name = effectName(request);
    const effect = this.charges.get(name);
    this.charges.delete(name);
    return effect;
  }

  /** Removes up to `most` effects, charges first: as long as one waits, too much is admitted. */
  takeFirst(most: number): PendingEffect[] {
    const first: PendingEffect[] = [];
    for (const [name, effect] of this.charges) {
      if (first.length === most) return first;
      this.charges.delete(name);
      first.push(effect);
    }
    for (const effect of this.refunds) {
      if (first.length === most) return first;
      this.refunds.delete(effect);
      first.push(effect);
    }
    return first;
  }

  /** Removes the effect that is missed least: the oldest refund, or the oldest charge if there is none. */
  takeLeast(): PendingEffect | undefined {
    const [refund] = this.refunds;
    if (refund) {
      this.refunds.delete(refund);
      return refund;
    }
    return this.takeFirst(1)[0];
  }
}
