import { describe, expect, it } from '@jest/globals';
import { brand, brandOf } from '../../src/util/brand.js';

/** Returns the classes of one copy of a package. */
function copy(version?: string) {
  class Base {
    readonly isMine = true;
    static {
      brand(this, 'TestBase', version);
    }
  }
  class Derived extends Base {
    static {
      brand(this, 'TestDerived', version);
    }
  }
  return { Base, Derived };
}

describe('brand', () => {
  it.each([undefined, '1.0.0'])('lets instanceof recognize instances of another copy of version %p', (version) => {
    const [one, other] = [copy(version), copy(version)];
    expect(new other.Base()).toBeInstanceOf(one.Base);
    expect(new other.Derived()).toBeInstanceOf(one.Base);
    expect(new other.Derived()).toBeInstanceOf(one.Derived);
    expect(new other.Base()).not.toBeInstanceOf(one.Derived);
  });

  it('does not recognize instances of another version', () => {
    const [one, other] = [copy('1.0.0'), copy('2.0.0')];
    expect(new one.Base()).toBeInstanceOf(one.Base);
    expect(new other.Base()).not.toBeInstanceOf(one.Base);
    expect(brandOf(new other.Base(), 'TestBase')).toBe('2.0.0');
  });

  it('does not make an instance of the base class one of a subclass without a brand', () => {
    const [one, other] = [copy(), copy()];
    class Own extends one.Base {}
    expect(new Own()).toBeInstanceOf(one.Base);
    expect(new Own()).toBeInstanceOf(other.Base);
    expect(new Own()).toBeInstanceOf(Own);
    expect(new one.Base()).not.toBeInstanceOf(Own);
    expect(new other.Base()).not.toBeInstanceOf(Own);
  });

  it.each([undefined, null, 0, 'text', {}, Object.create(null)])('does not recognize %p', (value) => {
    expect((value as unknown) instanceof copy().Base).toBe(false);
  });
});
