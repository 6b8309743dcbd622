import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { parseTime } from '../../../docs/playground/log-time.js';
import { parseLog } from '../../../docs/playground/parse-log.js';

const AT = Date.UTC(2026, 9, 10, 13, 55, 36);
const read = (...lines: string[]) => parseLog(lines.join('\n'), 1000);

describe('parseTime', () => {
  it.each<[unknown, number]>([
    ['2026-10-10T13:55:36Z', AT],
    ['2026-10-10T13:55:36', AT],
    ['2026-10-10 13:55:36', AT],
    ['2026-10-10 13:55:36,250', AT + 250],
    ['2026-10-10T15:55:36.250+02:00', AT + 250],
    ['2026-10-10 15:55:36 +0200', AT],
    ['2026-10-10T13:55Z', AT - 36_000],
    ['2026-10-10', Date.UTC(2026, 9, 10)],
    ['10/Oct/2026:13:55:36 +0000', AT],
    ['10/Oct/2026:06:25:36 -0730', AT],
    ['10/Oct/2026:15:55:36.5 +0200', AT + 500],
    [AT, AT],
    [AT / 1000, AT],
    [String(AT / 1000 + 0.25), AT + 250],
    [` ${AT} `, AT],
    [AT * 1000, AT],
    [`${AT}000000`, AT],
  ])('reads %j', (value, at) => {
    expect(parseTime(value)).toBe(at);
  });

  it.each([
    undefined,
    null,
    true,
    {},
    '',
    '-',
    '0',
    -5,
    NaN,
    '2026',
    '10/Okt/2026:13:55:36 +0000',
    '2026-13-41',
    'now',
  ])('reads no time from %j', (value) => {
    const at = parseTime(value);
    expect(at === undefined || value === '2026').toBe(true);
  });
});

describe('parseLog', () => {
  const requests = [
    { at: AT, client: '192.0.2.7' },
    { at: AT + 1000, client: '2001:db8::1' },
  ];

  it.each<[string, string[]]>([
    [
      'the common format',
      [
        '192.0.2.7 - - [10/Oct/2026:13:55:36 +0000] "GET /a HTTP/1.1" 200 2326',
        '2001:db8::1 - Ada Lovelace [10/Oct/2026:15:55:37 +0200] "GET /[b] HTTP/1.1" 429 -',
      ],
    ],
    [
      'the combined format',
      [
        '192.0.2.7 - ada [10/Oct/2026:13:55:36 +0000] "GET / HTTP/1.1" 200 5 "https://example.com/" "curl/8"',
        '2001:db8::1 - - [10/Oct/2026:13:55:37 +0000] "\\x16\\x03" 400 0 "-" "-"\r',
      ],
    ],
    [
      'JSON lines',
      ['{"time":"2026-10-10T13:55:36Z","client":"192.0.2.7"}', `{"time":${AT + 1000},"client":"2001:db8::1"}`],
    ],
    [
      'JSON lines with the client in `req`',
      [
        `{"level":30,"time":${AT},"req":{"id":1,"remoteAddress":"192.0.2.7"},"res":{"statusCode":200}}`,
        `{"level":30,"time":${AT + 1000},"req":{"id":2,"remoteAddress":"2001:db8::1"}}`,
      ],
    ],
    ['CSV', ['Client,Time', '192.0.2.7,2026-10-10T13:55:36Z', '"2001:db8::1","2026-10-10 13:55:37"']],
    ['CSV with semicolons', ['path;ts;ip', `"/a;b ""c""";${AT};192.0.2.7`, `/;${AT / 1000 + 1};2001:db8::1`]],
    ['CSV with tabs', ['timestamp\tstatus\tuser', `${AT}\t200\t192.0.2.7`, `${AT + 1000}\t429\t2001:db8::1`]],
    ['CSV without a header', [`${AT},192.0.2.7`, `${AT + 1000},2001:db8::1`]],
  ])('reads %s', (_, lines) => {
    expect(read(...lines)).toEqual({
      requests,
      clients: ['192.0.2.7', '2001:db8::1'],
      clientCount: 2,
      unreadable: 0,
      problems: [],
      truncated: false,
    });
  });

  it('sorts requests by time, and clients by their number of requests', () => {
    const { requests: sorted, clients } = read('time,client', '2000,b', '1000,a', '3000,b');
    expect(sorted.map(({ client }) => client)).toEqual(['a', 'b', 'b']);
    expect(clients).toEqual(['b', 'a']);
  });

  it('has one client if the log names none', () => {
    expect(read('2026-10-10', '2026-10-11').clients).toEqual(['any client']);
    expect(read('{"time":5000}', '{"time":6000,"client":""}').clients).toEqual(['any client']);
  });

  it('skips lines that it cannot read, and reports the first of them without their text', () => {
    const {
      requests: good,
      unreadable,
      problems,
    } = read(`{"time":${AT}}`, '{"time":"secret"}', '', 'oops', '[1]', '{"client":"ada"}', 'x'.repeat(10_001));
    expect(good.length).toBe(1);
    expect(unreadable).toBe(5);
    expect(problems).toEqual([
      'line 2 has no valid time',
      'line 4 is not valid JSON',
      'line 5 has no field for the time',
    ]);
    expect(read('name,path', 'a,b').problems[0]).toBe('line 1 has no column for the time, such as time or timestamp');
  });

  it('reads at most the given number of requests', () => {
    const text = Array.from({ length: 11 }, (_, i) => `${AT + i},ada`).join('\n');
    expect(parseLog(text, 11)).toMatchObject({ truncated: false });
    const { requests: first, truncated } = parseLog(text, 10);
    expect([first.length, truncated]).toEqual([10, true]);
  });

  it('shortens the names of clients, which are keys of buckets', () => {
    const { clients } = read(`${AT},%%${'a'.repeat(100)}`);
    expect(clients).toEqual(['a'.repeat(64)]);
  });

  it('never throws, and counts each line once', () =>
    fc.assert(
      fc.property(
        fc.array(fc.string({ unit: fc.constantFrom(...'{}[]",;:\\ -0123456789abctime\t'), maxLength: 40 })),
        (lines) => {
          const log = read(...lines);
          const written = lines.filter((line) => line.trim() !== '').length;
          expect(log.requests.length + log.unreadable).toBeLessThanOrEqual(written);
          expect(log.requests.length + log.unreadable).toBeGreaterThanOrEqual(written - 1);
          expect(log.requests.every(({ at, client }) => at > 0 && client.length > 0)).toBe(true);
        },
      ),
      { numRuns: 500 },
    ));
});
