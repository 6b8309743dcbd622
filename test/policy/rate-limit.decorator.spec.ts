import { describe, expect, it } from '@jest/globals';
import { RateLimit, RateLimitOptionError, SkipRateLimit } from 'nest-rate-limit';

class Users {
  static all() {}
  get size() {
    return 0;
  }
  list() {}
}

const DECORATORS = [RateLimit({ maxRequest: 1, unit: 'hour' }), SkipRateLimit()];
const { prototype } = Users;
const descriptorOf = (target: object, property: PropertyKey) =>
  Object.getOwnPropertyDescriptor(target, property) as PropertyDescriptor;

describe.each(DECORATORS)('A decorator', (decorate) => {
  it.each<[string, object, string, PropertyDescriptor | undefined]>([
    ['a static member', Users, 'all', descriptorOf(Users, 'all')],
    ['an accessor', prototype, 'size', descriptorOf(prototype, 'size')],
    ['a property', prototype, 'arrow', undefined],
  ])('rejects %s', (found, target, property, descriptor) => {
    expect(() => decorate(target, property, descriptor as PropertyDescriptor)).toThrow(
      new RateLimitOptionError(
        `Invalid @RateLimit or @SkipRateLimit on Users.${property}: it must be on a class or a method, got ${found}`,
      ),
    );
  });

  it('accepts a class and a method', () => {
    decorate(Users);
    decorate(prototype, 'list', descriptorOf(prototype, 'list'));
  });
});
