import { expect, it } from '@jest/globals';
import axios from 'axios';
import { BucketService, MemoryStore, RateLimitOptionError } from 'nest-rate-limit';
import { limitAxios, limitFetch } from 'nest-rate-limit/outbound';

const bucket = new BucketService(new MemoryStore()).bucket({ capacity: 1, refill: 1 }, 'all');

it.each<[unknown, unknown, string]>([
  [{}, { maxWait: '1s' }, '`bucket` must be a bucket of BucketService, got {}'],
  [undefined, { maxWait: '1s' }, '`bucket` must be a bucket of BucketService, got undefined'],
  [bucket, undefined, '`options` must be an object, got undefined'],
  [bucket, {}, "`maxWait` must be milliseconds or a string such as '10s', got undefined"],
  [bucket, { maxWait: -1 }, '`maxWait` must be positive, got -1'],
  [bucket, { maxWait: '1s', maxBlock: 0 }, '`maxBlock` must be positive, got 0'],
  [bucket, { maxWait: '1s', maxBlok: '1s' }, 'unknown option `maxBlok`. Did you mean `maxBlock`?'],
])('rejects invalid arguments: %p, %p', (given, options, message) => {
  const start = () => limitFetch(given as typeof bucket, options as { maxWait: '1s' });
  expect(start).toThrow(RateLimitOptionError);
  expect(start).toThrow(`Invalid limitFetch: ${message}`);
  const intercept = () => limitAxios(axios.create(), given as typeof bucket, options as { maxWait: '1s' });
  expect(intercept).toThrow(`Invalid limitAxios: ${message}`);
});
