/** The sidebar of the site: every page of `docs/` except the home page is listed once. */
export const sidebar = [
  {
    text: 'Getting started',
    items: [
      { text: 'Quickstart', link: '/quickstart' },
      { text: 'Concepts', link: '/concepts' },
      { text: 'Choosing limits', link: '/guides/choosing-limits' },
      { text: 'Playground', link: '/playground' },
    ],
  },
  {
    text: 'Guides',
    items: [
      { text: 'Keys and proxies', link: '/guides/keys-and-proxies' },
      { text: 'Authentication and guard order', link: '/guides/authentication' },
      { text: 'Tiers and tenants', link: '/guides/tiers-and-tenants' },
      { text: 'Login protection', link: '/guides/login-protection' },
      { text: 'Costs and budgets', link: '/guides/costs' },
      { text: 'Queueing requests', link: '/guides/queueing' },
      { text: 'Concurrency limits', link: '/guides/concurrency' },
      { text: 'Limit any method', link: '/guides/methods' },
      { text: 'Manual checks', link: '/guides/manual-checks' },
      { text: 'Limit outgoing requests', link: '/guides/outbound' },
      { text: 'Responses', link: '/guides/responses' },
      { text: 'OpenAPI', link: '/guides/openapi' },
      { text: 'Testing', link: '/guides/testing' },
      { text: 'Clients that retry', link: '/guides/retrying-clients' },
      { text: 'Suspending guards', link: '/guides/suspending' },
      { text: 'Custom stores', link: '/guides/custom-stores' },
    ],
  },
  {
    text: 'Transports and platforms',
    items: [
      { text: 'Transports', link: '/guides/transports' },
      { text: 'GraphQL', link: '/guides/graphql' },
      { text: 'WebSocket', link: '/guides/websocket' },
      { text: 'Microservices and gRPC', link: '/guides/microservices' },
      { text: 'Message brokers', link: '/guides/message-brokers' },
      { text: 'Serverless and cloud platforms', link: '/guides/serverless' },
    ],
  },
  {
    text: 'Production',
    items: [
      { text: 'Security', link: '/security' },
      { text: 'Redis in production', link: '/guides/redis' },
      { text: 'Redis clients', link: '/guides/clients' },
      { text: 'When Redis fails', link: '/guides/redis-failures' },
      { text: 'Deployment and Kubernetes', link: '/guides/deployment' },
      { text: 'Observability', link: '/guides/observability' },
      { text: 'Benchmarks', link: '/benchmarks' },
    ],
  },
  {
    text: 'Reference',
    items: [
      { text: '@RateLimit options', link: '/reference/decorator' },
      { text: 'Module options', link: '/reference/module' },
      { text: 'Stores', link: '/reference/stores' },
      { text: 'Servers', link: '/reference/servers' },
      { text: 'API', link: '/reference/api/' },
      { text: 'API: testing', link: '/reference/api/testing/' },
      { text: 'API: outbound', link: '/reference/api/outbound/' },
      { text: 'API: swagger', link: '/reference/api/swagger/' },
      { text: 'API: opentelemetry', link: '/reference/api/opentelemetry/' },
      { text: 'Troubleshooting', link: '/troubleshooting' },
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
    items: [
      { text: 'Design', link: '/design/overview' },
      { text: 'Origins', link: '/design/origins' },
    ],
  },
];
