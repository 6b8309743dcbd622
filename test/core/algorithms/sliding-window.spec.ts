import { expect, it } from '@jest/globals';
import { AdmissionLog } from '../../../src/core/algorithms/admission-log.js';
import { admit, windowWait } from '../../../src/core/algorithms/sliding-window.js';
import { parsePolicy } from '../../../src/core/policy.js';

it('returns the wait for a window whose admissions add up to Number.MAX_SAFE_INTEGER', () => {
  const [limit] = parsePolicy({ maxRequest: 1, duration: 1, unit: 'milliseconds' }, 'p').limits;
  const log = new AdmissionLog();
  admit(limit, log, 1000, 0);
  admit(limit, log, Number.MAX_SAFE_INTEGER, 0);
  expect(windowWait(limit, log, 1000, 0)).toBe(1);
});
