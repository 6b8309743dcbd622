/** A map of at most `max` entries: adding another one evicts the oldest. For whatever clients can make up. */
export class BoundedMap<K, V> extends Map<K, V> {
  /** `onEvict` is called with each evicted value after it was removed. */
  constructor(
    private readonly max: number,
    private readonly onEvict?: (value: V, key: K) => void,
  ) {
    super();
  }

  override set(key: K, value: V): this {
    if (this.size >= this.max && !this.has(key)) this.evictOldest();
    return super.set(key, value);
  }

  private evictOldest(): void {
    const [oldest] = this;
    this.delete(oldest[0]);
    this.onEvict?.(oldest[1], oldest[0]);
  }
}
