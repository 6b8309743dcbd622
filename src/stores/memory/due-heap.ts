/**
 * Records ordered by the instants when they are due: an indexed binary heap in flat arrays. Reading the first is O(1);
 * adding, moving and removing a record are O(log n).
 */
export class DueHeap {
  private dues = new Float64Array(16);
  private records = new Uint32Array(16);
  /** The index of each record in the heap. */
  private places = new Uint32Array(16);
  size = 0;

  /** The record that is due first; there must be one. */
  get first(): number {
    return this.records[0];
  }

  /** When the first is due; `Infinity` if there is none. */
  get firstDue(): number {
    return this.size > 0 ? this.dues[0] : Infinity;
  }

  /** When a record that is in the heap is due. */
  dueOf(record: number): number {
    return this.dues[this.places[record]];
  }

  add(record: number, due: number): void {
    if (this.size === this.dues.length) {
      this.dues = grown(this.dues, new Float64Array(this.size * 2));
      this.records = grown(this.records, new Uint32Array(this.size * 2));
    }
    // Records need not arrive in order: those of blocked buckets are added later.
    if (record >= this.places.length) this.places = grown(this.places, new Uint32Array(record * 2));
    this.rise(this.size++, record, due);
  }

  /** Moves a record that is in the heap. */
  move(record: number, due: number): void {
    const place = this.places[record];
    if (due < this.dues[place]) this.rise(place, record, due);
    else this.sink(place, record, due);
  }

  remove(record: number): void {
    const place = this.places[record];
    const last = --this.size;
    if (place === last) return;
    const moved = this.records[last];
    const due = this.dues[last];
    if (due < this.dues[place]) this.rise(place, moved, due);
    else this.sink(place, moved, due);
  }

  private rise(from: number, record: number, due: number): void {
    let place = from;
    while (place > 0) {
      const parent = (place - 1) >>> 1;
      if (this.dues[parent] <= due) break;
      this.put(place, this.records[parent], this.dues[parent]);
      place = parent;
    }
    this.put(place, record, due);
  }

  private sink(from: number, record: number, due: number): void {
    let place = from;
    for (;;) {
      let child = 2 * place + 1;
      if (child >= this.size) break;
      if (child + 1 < this.size && this.dues[child + 1] < this.dues[child]) child++;
      if (this.dues[child] >= due) break;
      this.put(place, this.records[child], this.dues[child]);
      place = child;
    }
    this.put(place, record, due);
  }

  private put(place: number, record: number, due: number): void {
    this.dues[place] = due;
    this.records[place] = record;
    this.places[record] = place;
  }
}

function grown<Numbers extends Float64Array | Uint32Array>(from: Numbers, to: Numbers): Numbers {
  to.set(from);
  return to;
}
