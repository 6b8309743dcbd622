import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { formatDuration } from '../../../docs/playground/format.js';
import { inRange, LOAD_KINDS, type Load, requestsOf } from '../../../docs/playground/load.js';
import { MAX_REQUESTS, Player } from '../../../docs/playground/player.js';
import { compile } from '../../../docs/playground/simulate.js';
import { DEFAULT_STATE, fromHash, toHash } from '../../../docs/playground/state.js';
import { Timeline } from '../../../docs/playground/timeline.js';

const NONE: Load = { kind: 'none', rate: 1, size: 1, pause: 1, clients: 1 };
const STEADY: Load = { ...NONE, kind: 'steady', rate: 4, clients: 2 };
const BURSTS: Load = { ...NONE, kind: 'bursts', size: 8, pause: 4 };
const RANDOM: Load = { ...NONE, kind: 'random', rate: 20, clients: 3 };

function playerOf(load: Load, ...inputs: unknown[]): Player {
  const player = new Player();
  player.load(load);
  player.watch('client 1');
  player.compare(inputs.map(compile));
  return player;
}

const countsOf = (player: Player) => player.runs.map((run) => run?.counts);
const WINDOW = { maxRequest: 5, duration: 10 };
const BUCKET = { capacity: 5, refill: 5, duration: 10 };

describe('Player', () => {
  it('sends each candidate the same requests', () => {
    const player = playerOf(BURSTS, WINDOW, BUCKET);
    player.advanceTo(player.start + 12_000);
    expect(player.requests).toBe(32);
    // After 4, 8 and 12 s: the bucket has gained 2 each time, the window is free again after 10 s.
    expect(countsOf(player)).toEqual([
      { admitted: 10, queued: 0, rejected: 22 },
      { admitted: 11, queued: 0, rejected: 21 },
    ]);
  });

  it('counts queued requests, and their longest wait', () => {
    const player = playerOf(NONE, { capacity: 1, refill: 1, maxWait: '3s' });
    player.send('client 1', 6);
    expect(countsOf(player)).toEqual([{ admitted: 1, queued: 3, rejected: 2 }]);
    expect(player.runs[0]?.longestWait).toBe(3000);
    expect([...(player.runs[0]?.rejections ?? [])]).toEqual([['client 1', 2]]);
  });

  it('sends all requests again, clicked ones as well, to a candidate that changes', () => {
    const player = playerOf(RANDOM, WINDOW);
    player.advanceTo(player.start + 3000);
    player.send('client 2', 7);
    player.advanceTo(player.start + 6000);
    const before = structuredClone(countsOf(player));
    player.compare([compile(BUCKET), compile(WINDOW)]);
    expect(countsOf(player)[1]).toEqual(before[0]);
    expect(player.runs[0]?.timeline.bins.length).toBe(player.runs[1]?.timeline.bins.length);
  });

  it('keeps the run of a candidate that does not change', () => {
    const plan = compile(WINDOW);
    const player = new Player();
    player.load(STEADY);
    player.compare([plan]);
    const [run] = player.runs;
    player.compare([plan, undefined]);
    expect(player.runs).toEqual([run, undefined]);
    expect(player.runs[0]).toBe(run);
  });

  it('gives the same result in one step or in many', () =>
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 0, max: 2000 }), { maxLength: 30 }), (steps) => {
        const [many, one] = [playerOf(RANDOM, WINDOW, BUCKET), playerOf(RANDOM, WINDOW, BUCKET)];
        let end = many.start;
        for (const ms of steps) {
          end += ms;
          many.advanceTo(end);
        }
        one.advanceTo(end);
        expect(countsOf(many)).toEqual(countsOf(one));
        expect(many.runs.map((run) => run?.timeline)).toEqual(one.runs.map((run) => run?.timeline));
      }),
      { numRuns: 50 },
    ));

  it('goes from one request to the next', () => {
    const player = playerOf(STEADY, WINDOW);
    const times = [1, 2, 3].map(() => {
      player.step();
      return player.now - player.start;
    });
    expect(times).toEqual([0, 250, 500]);
    expect(player.runs[0]?.recent.map(({ request }) => request.client)).toEqual(['client 1', 'client 2', 'client 1']);
  });

  it('replays a log from its first request to its last', () => {
    const player = new Player();
    player.compare([compile({ maxRequest: 1, duration: 5 })]);
    player.load({ ...NONE, kind: 'log' }, [
      { at: 1_700_000_000_000, client: 'ada' },
      { at: 1_700_000_004_000, client: 'ada' },
      { at: 1_700_000_005_000, client: 'ada' },
    ]);
    expect([player.start, player.hasNext]).toEqual([1_700_000_000_000, true]);
    player.advanceTo(player.start + 5000);
    expect(player.hasNext).toBe(false);
    expect(countsOf(player)).toEqual([{ admitted: 2, queued: 0, rejected: 1 }]);
  });

  it('stops at the most requests that it keeps, and continues after a reset', () => {
    const player = playerOf({ ...STEADY, rate: 1000 }, WINDOW);
    player.advanceTo(player.start + 200_000);
    expect([player.requests, player.isFull, player.hasNext]).toEqual([MAX_REQUESTS, true, false]);
    expect(player.now - player.start).toBe(MAX_REQUESTS - 1);
    player.send('client 1', 10);
    player.step();
    expect(player.requests).toBe(MAX_REQUESTS);
    player.load(STEADY);
    expect([player.requests, player.isFull]).toEqual([0, false]);
  });

  it('records the least share of tokens left in each interval', () => {
    const player = playerOf(NONE, { capacity: 4, refill: 1 });
    player.send('client 1', 3);
    player.advanceTo(player.start + 1000);
    const shares = player.runs[0]?.timeline.bins.map(({ left }) => left);
    expect(shares).toEqual([0.25, 0.3125, 0.375, 0.4375, 0.5]);
  });
});

describe('Timeline', () => {
  it('keeps all counts in at most 200 intervals, however long it is', () =>
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 0, max: 10 ** 12 }), { minLength: 1, maxLength: 50 }), (times) => {
        const timeline = new Timeline(1000);
        for (const time of times.sort((a, b) => a - b)) timeline.count(1000 + time, 'admitted');
        expect(timeline.bins.length).toBeLessThanOrEqual(200);
        expect(timeline.bins.reduce((sum, { admitted }) => sum + admitted, 0)).toBe(times.length);
        expect(timeline.end).toBeGreaterThan(1000 + times[times.length - 1]);
        timeline.bins.forEach(({ admitted }, i) => {
          const inside = times.filter((time) => Math.floor(time / timeline.width) === i);
          expect(admitted).toBe(inside.length);
        });
      }),
    ));
});

describe('requestsOf', () => {
  it.each(LOAD_KINDS)('generates requests in the order of their times: %s', (kind) => {
    const requests = requestsOf({ ...RANDOM, size: 3, kind }, 1000);
    const times = Array.from({ length: 50 }, () => requests.next().value?.at).filter((at) => at !== undefined);
    expect(times).toEqual([...times].sort((a, b) => a - b));
    expect(times.every((at) => at >= 1000 && Number.isInteger(at))).toBe(true);
    expect(times.length).toBe(kind === 'none' || kind === 'log' ? 0 : 50);
  });

  it('generates the same random requests each time, at the requested rate', () => {
    const first = requestsOf(RANDOM, 0);
    const second = requestsOf(RANDOM, 0);
    const requests = Array.from({ length: 2000 }, () => first.next().value);
    expect(Array.from({ length: 2000 }, () => second.next().value)).toEqual(requests);
    expect(2000 / ((requests[1999]?.at ?? 0) / 1000)).toBeCloseTo(20, -1);
    expect(new Set(requests.map((one) => one?.client)).size).toBe(3);
  });
});

describe('State in the address', () => {
  it('restores what it holds', () =>
    fc.assert(
      fc.property(
        fc.record({
          policies: fc.array(fc.string({ maxLength: 100 }), { minLength: 1, maxLength: 3 }),
          load: fc.record({
            kind: fc.constantFrom(...LOAD_KINDS),
            rate: fc.constantFrom(0.1, 2.5, 1000),
            size: fc.integer({ min: 1, max: 1000 }),
            pause: fc.constantFrom(0.1, 60, 3600),
            clients: fc.integer({ min: 1, max: 50 }),
          }),
        }),
        (state) => {
          expect(fromHash(`#${toHash(state)}`)).toEqual(state);
        },
      ),
    ));

  it('has defaults for what is missing or invalid', () => {
    expect(fromHash('')).toEqual(DEFAULT_STATE);
    expect(fromHash('#how-to-use-it')).toEqual(DEFAULT_STATE);
    expect(fromHash(`#policy=${'x'.repeat(20_000)}`)).toEqual(DEFAULT_STATE);
    expect(fromHash('load=flood&rate=-5&size=1e9&pause=NaN&clients=2.4&policy=1&policy=2&policy=3&policy=4')).toEqual({
      policies: ['1', '2', '3'],
      load: { kind: 'bursts', rate: 0.1, size: 1000, pause: 4, clients: 2 },
    });
    expect(inRange('rate', '', 7)).toBe(7);
  });
});

it.each([
  [0, '0 ms'],
  [0.2, '1 ms'],
  [999, '999 ms'],
  [1000, '1 s'],
  [1501, '1.6 s'],
  [59_999, '60 s'],
  [61_000, '1 min 1 s'],
  [3_600_000, '1 h'],
  [90_000_000, '1 d 1 h'],
  [Infinity, 'never'],
])('formats %d ms as %s', (ms, text) => {
  expect(formatDuration(ms)).toBe(text);
});
