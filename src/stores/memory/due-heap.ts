/**
 * Slots ordered by the instants when they are due: an indexed binary heap in flat arrays. Reading the first is O(1);
 * adding, moving and removing a slot are O(log n).
 */
export class DueHeap {
  private dues = new Float64Array(16);
  private slots = new Uint32Array(16);
  /** The index of each slot in the heap. */
  private places = new Uint32Array(16);
  size = 0;

  /** The slot that is due first; there must be one. */
  get first(): number {
    return this.slots[0];
  }

  /** When the first is due; `Infinity` if there is none. */
  get firstDue(): number {
    return this.size > 0 ? this.dues[0] : Infinity;
  }

  /** When a slot that is in the heap is due. */
  dueOf(slot: number): number {
    return this.dues[this.places[slot]];
  }

  add(slot: number, due: number): void {
    if (this.size === this.dues.length) {
      this.dues = grown(this.dues, new Float64Array(this.size * 2));
      this.slots = grown(this.slots, new Uint32Array(this.size * 2));
    }
    // Slots need not arrive in order: those of blocked buckets are added later.
    if (slot >= this.places.length) this.places = grown(this.places, new Uint32Array(slot * 2));
    this.rise(this.size++, slot, due);
  }

  /** Moves a slot that is in the heap. */
  move(slot: number, due: number): void {
    const place = this.places[slot];
    if (due < this.dues[place]) this.rise(place, slot, due);
    else this.sink(place, slot, due);
  }

  remove(slot: number): void {
    const place = this.places[slot];
    const last = --this.size;
    if (place === last) return;
    const moved = this.slots[last];
    const due = this.dues[last];
    if (due < this.dues[place]) this.rise(place, moved, due);
    else this.sink(place, moved, due);
  }

  private rise(from: number, slot: number, due: number): void {
    let place = from;
    while (place > 0) {
      const parent = (place - 1) >>> 1;
      if (this.dues[parent] <= due) break;
      this.put(place, this.slots[parent], this.dues[parent]);
      place = parent;
    }
    this.put(place, slot, due);
  }

  private sink(from: number, slot: number, due: number): void {
    let place = from;
    for (;;) {
      let child = 2 * place + 1;
      if (child >= this.size) break;
      if (child + 1 < this.size && this.dues[child + 1] < this.dues[child]) child++;
      if (this.dues[child] >= due) break;
      this.put(place, this.slots[child], this.dues[child]);
      place = child;
    }
    this.put(place, slot, due);
  }

  private put(place: number, slot: number, due: number): void {
    this.dues[place] = due;
    this.slots[place] = slot;
    this.places[slot] = place;
  }
}

function grown<Numbers extends Float64Array | Uint32Array>(from: Numbers, to: Numbers): Numbers {
  to.set(from);
  return to;
}
