/** Options of the search, for MiniSearch. */
export const searchOptions = {
  fuzzy: 0.2,
  prefix: true,
  boost: { title: 4, text: 2, titles: 1 },
};

/** Ranks guides above the API reference, and both above pages with many numbers or old text. */
export function boostDocument(page) {
  if (/\/(benchmarks|changelog|design\/)/.test(page)) return 0.2;
  return page.includes('/reference/api/') ? 0.4 : 1;
}
