/** A power of two. */
const PARTS = 64;

/**
 * Keys and their slots, in many maps instead of one: V8 rebuilds a map each time it has grown or shrunk by half, and
 * with a million keys in it that alone would stop the process for 15 ms and more.
 */
export class SlotMap {
  size = 0;
  private readonly parts: (Map<string, number> | undefined)[] = new Array(PARTS).fill(undefined);

  get(key: string): number | undefined {
    return this.parts[partOf(key)]?.get(key);
  }

  /** Adds a key that is not there. */
  add(key: string, slot: number): void {
    const index = partOf(key);
    const part = this.parts[index] ?? new Map<string, number>();
    this.parts[index] = part;
    part.set(key, slot);
    this.size++;
  }

  /** Deletes a key that is there. */
  delete(key: string): void {
    this.parts[partOf(key)]?.delete(key);
    this.size--;
  }

  *entries(): IterableIterator<[string, number]> {
    for (const part of this.parts) if (part) yield* part;
  }
}

/** Four characters tell addresses, numbers, names and random ids well enough apart; keys are never empty. */
function partOf(key: string): number {
  const { length } = key;
  const hash =
    key.charCodeAt(length - 1) +
    key.charCodeAt((length * 7) >> 3) * 11 +
    key.charCodeAt(length >> 1) * 7 +
    key.charCodeAt(length >> 2) * 31;
  return hash & (PARTS - 1);
}
