import { describe, expect, it, jest } from '@jest/globals';
import { atTurnEnd } from '../../src/util/turn-end.js';

const nextTurn = () => new Promise((resolve) => setTimeout(resolve));

describe('atTurnEnd', () => {
  it('runs in the order of the calls what one turn adds, and what that adds in the same turn', async () => {
    const order: string[] = [];
    atTurnEnd(() => {
      order.push('first');
      atTurnEnd(() => order.push('added'));
    });
    atTurnEnd(() => order.push('second'));
    setImmediate(() => order.push('immediate'));
    expect(order).toEqual([]);
    await nextTurn();
    expect(order).toEqual(['first', 'second', 'added', 'immediate']);
    atTurnEnd(() => order.push('later'));
    await nextTurn();
    expect(order.at(-1)).toBe('later');
  });

  it('runs while a test has replaced the timers, and afterwards', async () => {
    jest.useFakeTimers();
    const run = jest.fn();
    atTurnEnd(run);
    jest.useRealTimers();
    await nextTurn();
    atTurnEnd(run);
    await nextTurn();
    expect(run).toHaveBeenCalledTimes(2);
  });

  it('runs all others if one throws', async () => {
    const immediates: (() => void)[] = [];
    const spy = jest.spyOn(globalThis, 'setImmediate').mockImplementation(((run: () => void) => {
      immediates.push(run);
    }) as never);
    const order: string[] = [];
    await jest.isolateModulesAsync(async () => {
      const own = await import('../../src/util/turn-end.js');
      own.atTurnEnd(() => order.push('first'));
      own.atTurnEnd(() => {
        throw new Error('thrown');
      });
      own.atTurnEnd(() => order.push('last'));
    });
    expect(immediates).toHaveLength(1);
    expect(immediates[0]).toThrow('thrown');
    immediates[1]();
    spy.mockRestore();
    expect(order).toEqual(['first', 'last']);
    expect(immediates).toHaveLength(2);
  });
});
