/** The sidebar of the site: every page of `docs/` except the home page is listed once. */
export const sidebar = [
  {
    text: 'Getting started',
    items: [
      { text: 'Quickstart', link: '/quickstart' },
      { text: 'Concepts', link: '/concepts' },
      { text: 'Choosing limits', link: '/guides/choosing-limits' },
    ],
  },
  {
    text: 'Guides',
    items: [
      { text: 'Manual checks', link: '/guides/manual-checks' },
      { text: 'Client addresses and serverless', link: '/guides/serverless' },
      { text: 'GraphQL, WebSocket, microservices', link: '/guides/transports' },
      { text: 'Message brokers', link: '/guides/message-brokers' },
      { text: 'Clients that retry', link: '/guides/retrying-clients' },
      { text: 'Suspending guards', link: '/guides/suspending' },
      { text: 'Custom stores', link: '/guides/custom-stores' },
    ],
  },
  {
    text: 'Production',
    items: [
      { text: 'Security', link: '/security' },
      { text: 'Redis in production', link: '/guides/redis' },
      { text: 'When Redis fails', link: '/guides/redis-failures' },
      { text: 'Observability', link: '/guides/observability' },
      { text: 'Benchmarks', link: '/benchmarks' },
    ],
  },
  {
    text: 'Reference',
    items: [
      { text: 'API', link: '/reference/api/' },
      { text: 'FAQ', link: '/faq' },
      { text: 'Changelog', link: '/changelog' },
    ],
  },
  {
    text: 'Migration',
    items: [
      { text: 'From @nestjs/throttler', link: '/migration/throttler' },
      { text: 'From express-rate-limit', link: '/migration/express-rate-limit' },
      { text: 'From rate-limiter-flexible', link: '/migration/rate-limiter-flexible' },
      { text: 'From nestjs-rate-limiter', link: '/migration/nestjs-rate-limiter' },
    ],
  },
  {
    text: 'Design',
    items: [{ text: 'Origins', link: '/design/origins' }],
  },
];
