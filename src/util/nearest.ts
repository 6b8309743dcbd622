/** The one of `names` that `name` most likely misspells, ignoring case; `undefined` if none is close. */
export function nearest(name: string, names: readonly string[]): string | undefined {
  const most = Math.max(1, Math.floor(name.length / 3));
  let best: string | undefined;
  let least = most + 1;
  for (const candidate of names) {
    const distance = editDistance(name.toLowerCase(), candidate.toLowerCase());
    if (distance < least) {
      best = candidate;
      least = distance;
    }
  }
  return best;
}

/** The fewest insertions, deletions, replacements and swaps of neighbors that turn `a` into `b`. */
function editDistance(a: string, b: string): number {
  let before: number[] = [];
  let row = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let k = 1; k <= b.length; k++) {
      const isSwap = i > 1 && k > 1 && a[i - 1] === b[k - 2] && a[i - 2] === b[k - 1];
      const replaced = row[k - 1] + (a[i - 1] === b[k - 1] ? 0 : 1);
      next[k] = Math.min(row[k] + 1, next[k - 1] + 1, replaced, isSwap ? before[k - 2] + 1 : Infinity);
    }
    before = row;
    row = next;
  }
  return row[b.length];
}
