import { expect, it } from '@jest/globals';
import { AdmissionLog, admit, windowWait } from '../../../src/core/algorithms/sliding-window.js';
import { parsePolicy } from '../../../src/core/policy.js';

it('tells an end of a window that owes all that can be counted', () => {
  const [limit] = parsePolicy({ maxRequest: 1, duration: 1, unit: 'milliseconds' }, 'p').limits;
  const log = new AdmissionLog();
  admit(limit, log, 1000, 0);
  admit(limit, log, Number.MAX_SAFE_INTEGER, 0);
  expect(windowWait(limit, log, 1000, 0)).toBe(1);
});
