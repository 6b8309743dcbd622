/** A power of two. */
const PARTS = 64;
/** V8 doubles its maps, so this is one that is full. */
const FEW = 2 ** 17;

/**
 * Keys and their slots. V8 rebuilds a map each time it has grown or shrunk by half, and with a million keys in it that
 * alone would stop the process for 15 ms and more. So many keys are spread over many maps. As long as they are few they
 * stand in one, because to tell a key's part takes half as long again as to find the key.
 */
export class SlotMap {
  private readonly few = new Map<string, number>();
  private readonly parts: Map<string, number>[] = [];
  /** How many stand in parts. */
  private spread = 0;
  /** Set when they have become many: the few that are left in one map, on their way to the parts. */
  private leaving: MapIterator<[string, number]> | undefined;

  get size(): number {
    return this.few.size + this.spread;
  }

  get(key: string): number | undefined {
    const slot = this.few.get(key);
    return slot !== undefined || !this.leaving ? slot : this.parts[partOf(key)].get(key);
  }

  /** Adds a key that is not there. */
  add(key: string, slot: number): void {
    if (!this.leaving && this.few.size < FEW) {
      this.few.set(key, slot);
      return;
    }
    if (!this.leaving) {
      for (let i = 0; i < PARTS; i++) this.parts.push(new Map());
      this.leaving = this.few.entries();
    }
    this.spreadOut(key, slot);
    const { value } = this.leaving.next();
    if (!value) return;
    this.few.delete(value[0]);
    this.spreadOut(value[0], value[1]);
  }

  /** Deletes a key that is there. */
  delete(key: string): void {
    if (!this.few.delete(key) && this.parts[partOf(key)].delete(key)) this.spread--;
  }

  *entries(): IterableIterator<[string, number]> {
    yield* this.few;
    for (const part of this.parts) yield* part;
  }

  private spreadOut(key: string, slot: number): void {
    this.parts[partOf(key)].set(key, slot);
    this.spread++;
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
