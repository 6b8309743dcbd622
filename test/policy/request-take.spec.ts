import { describe, expect, it, jest } from '@jest/globals';
import { type ExecutionContext, Logger } from '@nestjs/common';
import { NO_CLIENT } from '../../src/keys/client-key.js';
import { warnOnce } from '../../src/observe/logger.js';
import { parseRequestPolicy } from '../../src/policy/request-policy.js';
import { resolveTake } from '../../src/policy/request-take.js';

describe('resolveTake', () => {
  it('warns about each problem of a dry-run policy once, in one line', async () => {
    warnOnce.reset();
    const warn = jest.spyOn(Logger.prototype, 'warn').mockReturnValue();
    const skip = jest.fn<() => Promise<boolean>>().mockResolvedValue(false).mockRejectedValueOnce(new Error('a\nb'));
    const options = { name: 'trial', maxRequest: 1, dryRun: true, skip };
    const policy = parseRequestPolicy(
      options,
      '',
      () => NO_CLIENT,
      () => ({ resolve: () => undefined as never }),
    );
    for (let i = 0; i < 3; i++) expect(await resolveTake(policy, {} as ExecutionContext)).toBeUndefined();
    expect(warn.mock.calls).toEqual([
      ['[dry run] Policy trial could not be evaluated: Error: a\\u000ab'],
      [
        'Policy trial does not apply to requests without a client address: set its `key` to a function that identifies their sender',
      ],
    ]);
    warn.mockRestore();
  });
});
