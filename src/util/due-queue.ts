/** An element of a `DueQueue`. */
export interface Due {
  readonly due: number;
}

/** Elements in the order of their due times; those that are due at the same time keep the order of their insertion. */
export class DueQueue<T extends Due> {
  private readonly items: T[] = [];

  get size(): number {
    return this.items.length;
  }

  /** When the first element is due; `Infinity` if there is none. */
  get firstDue(): number {
    return this.items.length > 0 ? this.items[0].due : Infinity;
  }

  add(item: T): void {
    let low = 0;
    let high = this.items.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.items[middle].due <= item.due) low = middle + 1;
      else high = middle;
    }
    this.items.splice(low, 0, item);
  }

  remove(item: T): void {
    const index = this.items.indexOf(item);
    if (index >= 0) this.items.splice(index, 1);
  }

  /** Removes and returns the first element. */
  shift(): T | undefined {
    return this.items.shift();
  }

  /** Removes and returns all elements that are due at `now`. */
  takeDue(now: number): T[] {
    let count = 0;
    while (count < this.items.length && this.items[count].due <= now) count++;
    return this.items.splice(0, count);
  }
}
