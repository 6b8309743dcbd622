/** The hero of the home page. It is not in docs/index.md, which GitHub renders too. */
export const home = {
  layout: 'home',
  hero: {
    name: 'nest-rate-limit',
    text: 'Rate limiting for NestJS',
    tagline:
      'One decorator: exact windows, token buckets, quotas and concurrency limits, in memory or in Redis, on every transport.',
    actions: [
      { theme: 'brand', text: 'Quickstart', link: '/quickstart' },
      { theme: 'alt', text: 'Playground', link: '/playground' },
      { theme: 'alt', text: 'Guides', link: '/guides/choosing-limits' },
      { theme: 'alt', text: 'API reference', link: '/reference/api/' },
    ],
  },
  features: [
    {
      title: 'Exact limits',
      details: 'Sliding windows and token buckets to the millisecond. Several limits are taken together or not at all.',
      link: '/concepts',
    },
    {
      title: 'Memory or Redis',
      details: 'The same decisions in both. One command for all limits of a request, and at most 50 ms if Redis fails.',
      link: '/guides/redis',
    },
    {
      title: 'Every transport',
      details: 'HTTP, GraphQL, WebSocket, gRPC and message brokers, with Nest 10, 11 and 12, on Express and Fastify.',
      link: '/guides/transports',
    },
    {
      title: 'Queue instead of reject',
      details: 'Early requests wait for their turn, first in, first out, across processes.',
      link: '/guides/queueing',
    },
    {
      title: 'Costs and budgets',
      details: 'Charge requests by their cost, also if it is known only after the response.',
      link: '/guides/costs',
    },
    {
      title: 'Testable',
      details: 'A fake clock for tests, a dry run for production, and a test suite for your own store.',
      link: '/guides/testing',
    },
  ],
};
