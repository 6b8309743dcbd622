import { getEventListeners } from 'node:events';
import { afterEach, describe, expect, it } from '@jest/globals';
import { BucketService, MemoryStore } from 'nest-rate-limit';
import { anySignal } from '../../src/util/any-signal.js';

describe('anySignal', () => {
  it('aborts with the first of its signals, with its reason', () => {
    const [one, other] = [new AbortController(), new AbortController()];
    const { signal } = anySignal(undefined, one.signal, other.signal);
    other.abort('other');
    one.abort('one');
    expect([signal.aborted, signal.reason]).toEqual([true, 'other']);
  });

  it('is aborted at once if one of its signals is', () => {
    expect(anySignal(AbortSignal.abort('before')).signal.reason).toBe('before');
  });

  it('no longer aborts after its release', () => {
    const source = new AbortController();
    const [kept, released] = [anySignal(source.signal), anySignal(source.signal)];
    released.release();
    source.abort();
    expect([kept.signal.aborted, released.signal.aborted]).toEqual([true, false]);
  });

  it('adds one listener to a signal that many share, and removes it with the last', () => {
    const source = new AbortController();
    const all = Array.from({ length: 1000 }, () => anySignal(source.signal));
    expect(getEventListeners(source.signal, 'abort')).toHaveLength(1);
    for (const { release } of all) release();
    for (const { release } of all) release();
    expect(getEventListeners(source.signal, 'abort')).toHaveLength(0);
    anySignal(source.signal);
    expect(getEventListeners(source.signal, 'abort')).toHaveLength(1);
  });
});

describe('Many waiters', () => {
  const warnings: Error[] = [];
  const record = (warning: Error) => warnings.push(warning);
  afterEach(() => {
    process.off('warning', record);
    warnings.length = 0;
  });

  it.each(['of their own', 'of the application'])('on one signal %s cause no warning about a leak', async (whose) => {
    process.on('warning', record);
    const buckets = new BucketService(new MemoryStore());
    const bucket = buckets.bucket({ capacity: 1, refill: 0 }, 'key');
    await bucket.tryConsume();
    const own = new AbortController();
    const signal = whose === 'of their own' ? own.signal : undefined;
    const waiters = Array.from({ length: 50 }, () => bucket.watch(1, { signal }).catch((reason) => reason));
    await new Promise(setImmediate);
    if (signal) own.abort('enough');
    else buckets.onModuleDestroy();
    const reasons = await Promise.all(waiters);
    await new Promise(setImmediate);
    expect(new Set(reasons).size).toBe(1);
    expect(warnings).toEqual([]);
  });
});
