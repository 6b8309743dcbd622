import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { type Due, DueQueue } from '../../src/util/due-queue.js';

interface Item extends Due {
  readonly id: number;
}

describe('DueQueue', () => {
  it('orders its elements like a stable sort, however they are added and removed', () => {
    const call = fc.tuple(fc.constantFrom('add', 'add', 'add', 'remove', 'shift', 'takeDue'), fc.nat(20));
    fc.assert(
      fc.property(fc.array(call, { maxLength: 200 }), (calls) => {
        const queue = new DueQueue<Item>();
        let model: Item[] = [];
        calls.forEach(([verb, n], id) => {
          if (verb === 'add') {
            const item = { due: n, id };
            queue.add(item);
            model = [...model, item].sort((a, b) => a.due - b.due);
          } else if (verb === 'remove' && model.length > 0) {
            const item = model[n % model.length];
            queue.remove(item);
            queue.remove(item);
            model = model.filter((other) => other !== item);
          } else if (verb === 'shift') {
            expect(queue.shift()).toBe(model.shift());
          } else {
            const due = verb === 'takeDue' ? model.filter((item) => item.due <= n) : [];
            if (verb === 'takeDue') expect(queue.takeDue(n)).toEqual(due);
            model = model.filter((item) => !due.includes(item));
          }
          expect([queue.size, queue.firstDue]).toEqual([model.length, model[0]?.due ?? Infinity]);
        });
      }),
    );
  });
});
