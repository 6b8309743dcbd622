/** A power of two. */
const PARTS = 64;
/** The most keys in one map. V8 doubles its maps, so a map of this size is full. */
const MOST_IN_ONE_MAP = 2 ** 17;

/**
 * Maps keys to records. V8 rebuilds a map whenever it has grown or shrunk by half, and with a million keys each rebuild
 * would block the process for 15 ms and more. So many keys are spread over 64 maps. Few keys share one map, because
 * computing a key's part takes half as long as the look-up itself.
 */
export class RecordMap {
  private readonly few = new Map<string, number>();
  private readonly parts: Map<string, number>[] = [];
  /** Number of keys in `parts`. */
  private spread = 0;
  /** Set once there are many keys: those left in the one map, which move to the parts one by one. */
  private moving: MapIterator<[string, number]> | undefined;

  get size(): number {
    return this.few.size + this.spread;
  }

  get(key: string): number | undefined {
    const record = this.few.get(key);
    return record !== undefined || !this.moving ? record : this.parts[partOf(key)].get(key);
  }

  /** Adds a key that is not in the map. */
  add(key: string, record: number): void {
    if (!this.moving && this.few.size < MOST_IN_ONE_MAP) {
      this.few.set(key, record);
      return;
    }
    if (!this.moving) {
      for (let i = 0; i < PARTS; i++) this.parts.push(new Map());
      this.moving = this.few.entries();
    }
    this.addToPart(key, record);
    const { value } = this.moving.next();
    if (!value) return;
    this.few.delete(value[0]);
    this.addToPart(value[0], value[1]);
  }

  /** Deletes a key that is in the map. */
  delete(key: string): void {
    if (!this.few.delete(key) && this.parts[partOf(key)].delete(key)) this.spread--;
  }

  *entries(): IterableIterator<[string, number]> {
    yield* this.few;
    for (const part of this.parts) yield* part;
  }

  private addToPart(key: string, record: number): void {
    this.parts[partOf(key)].set(key, record);
    this.spread++;
  }
}

/** Four characters spread addresses, numbers, names and random ids well enough; keys are never empty. */
function partOf(key: string): number {
  const { length } = key;
  const hash =
    key.charCodeAt(length - 1) +
    key.charCodeAt((length * 7) >> 3) * 11 +
    key.charCodeAt(length >> 1) * 7 +
    key.charCodeAt(length >> 2) * 31;
  return hash & (PARTS - 1);
}
