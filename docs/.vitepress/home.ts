/** The hero of the home page. It is not in docs/index.md, which GitHub renders too. */
export const home = {
  layout: 'home',
  hero: {
    name: 'nest-rate-limit',
    text: 'Rate limiting for NestJS',
    tagline: 'One decorator: exact sliding windows and token buckets, in memory or in Redis, on every transport.',
    actions: [
      { theme: 'brand', text: 'Quickstart', link: '/quickstart' },
      { theme: 'alt', text: 'Guides', link: '/guides/choosing-limits' },
      { theme: 'alt', text: 'API reference', link: '/reference/api/' },
    ],
  },
};
