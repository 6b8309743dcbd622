/** An element of a `DueQueue`. */
export interface Due {
  readonly due: number;
}

/** Elements in the order of their due times; those that are due at the same time keep the order of their insertion. */
export class DueQueue<T extends Due> {
  /** The elements, from `head`. What is before it has been removed. */
  private readonly items: T[] = [];
  private head = 0;

  get size(): number {
    return this.items.length - this.head;
  }

  /** When the first element is due; `Infinity` if there is none. */
  get firstDue(): number {
    return this.size > 0 ? this.items[this.head].due : Infinity;
  }

  add(item: T): void {
    this.items.splice(
      this.firstIndex((due) => due > item.due),
      0,
      item,
    );
  }

  /** Moves the fewer elements: those before or behind it. Thousands may be removed at once, the first ones first. */
  remove(item: T): void {
    const from = this.firstIndex((due) => due >= item.due);
    const index = this.items.indexOf(item, from);
    if (index < 0) return;
    if (index - this.head > this.items.length - index) {
      this.items.splice(index, 1);
      return;
    }
    this.items.copyWithin(this.head + 1, this.head, index);
    this.dropFirst(1);
  }

  /** Removes and returns the first element. */
  shift(): T | undefined {
    if (this.size === 0) return undefined;
    const first = this.items[this.head];
    this.dropFirst(1);
    return first;
  }

  /** Removes and returns all elements that are due at `now`. */
  takeDue(now: number): T[] {
    const end = this.firstIndex((due) => due > now);
    const taken = this.items.slice(this.head, end);
    this.dropFirst(taken.length);
    return taken;
  }

  /** The first index at which `isLate` holds, which then holds at all later ones. */
  private firstIndex(isLate: (due: number) => boolean): number {
    let low = this.head;
    let high = this.items.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (isLate(this.items[middle].due)) high = middle;
      else low = middle + 1;
    }
    return low;
  }

  private dropFirst(count: number): void {
    this.head += count;
    if (this.head * 2 < this.items.length) return;
    this.items.splice(0, this.head);
    this.head = 0;
  }
}
