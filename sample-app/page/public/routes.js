/** The routes to try, each with the policy and the capacity of its bucket. */
export const ROUTES = [
  {
    path: '/api/ping',
    policy: 'api',
    limit: 5,
    description: 'A named policy: a burst of 5 tokens, refilled at one per second. A ping costs 1.',
  },
  {
    path: '/api/upload',
    form: '',
    policy: 'api',
    limit: 5,
    description: 'The same bucket as /api/ping. An upload costs 3.',
  },
  {
    path: '/limited',
    policy: 'HelloController.limited',
    limit: 2,
    window: true,
    description: 'A sliding window: 2 requests in any 10 seconds.',
  },
  {
    path: '/sms',
    form: 'phone=%2B4930901820',
    policy: 'SmsController.send',
    limit: 20,
    description: 'One bucket per phone number: a burst of 20 messages, refilled at 10 per minute.',
  },
  {
    path: '/documents/7',
    method: 'PUT',
    policy: 'DocumentsController',
    limit: 20,
    description: 'Weights: writing costs 5 of 20 tokens, reading 1, deleting 10. Refilled at one per second.',
  },
  { path: '/quotes', policy: 'free', limit: 10, description: 'Tiers: 10 requests per minute without an API key.' },
  {
    path: '/quotes',
    apiKey: 'ada-1815',
    policy: 'premium',
    limit: 1000,
    description: 'Tiers: 1000 requests per minute with a premium key.',
  },
  {
    path: '/mail',
    form: 'to=ada@example.com',
    policy: 'mail',
    limit: 5,
    description: 'A service that calls BucketService: a burst of 5 mails, refilled at one per second.',
  },
  {
    path: '/outbox',
    form: 'to=ada@example.com',
    policy: 'outbox',
    limit: 2,
    description: 'A worker that sends one mail per second. Requests are answered immediately with 202.',
  },
  {
    path: '/queue',
    policy: 'QueueController.enter',
    limit: 1,
    // A browser opens six connections to a server; one is for the events. More requests would block the rest.
    burst: 5,
    description: 'A queue: one request per second. Requests that arrive early are queued for up to 5 seconds.',
  },
  {
    path: '/exports',
    policy: 'ExportsController.run',
    limit: 2,
    slots: true,
    burst: 5,
    description:
      'A concurrency limit: 2 exports of 2 seconds at once. Others wait for a free slot for up to 10 seconds.',
  },
  {
    path: '/login',
    form: 'user=ada&password=wrong',
    policy: 'LoginController.login',
    limit: 5,
    window: true,
    description:
      'A wrong password. Only failures count; after 5 in a minute, the next attempt starts a block of a minute.',
  },
  {
    path: '/reports?rows=70',
    policy: 'ReportsController.report',
    limit: 100,
    description: 'A cost that is known afterwards: 70 rows cost 70. The bucket shows it after the next request.',
  },
  {
    path: '/graphql',
    json: '{"query":"{ books }"}',
    policy: 'BooksResolver',
    limit: 10,
    description: 'GraphQL: a query costs 1 of 10 tokens, a mutation 5. Refilled at one per second.',
  },
  {
    path: '/chat',
    say: 'Hello',
    policy: 'ChatGateway.say',
    limit: 5,
    description: 'A WebSocket: a burst of 5 messages per connection, refilled at one per second.',
  },
  { path: '/free', description: 'No limit: neither a bucket nor decisions.' },
];

/** The label of a route in the list. */
export function nameOf({ method, path, form, json, say, apiKey }) {
  if (say) return `WebSocket ${path}`;
  const verb = method ?? ((form ?? json) === undefined ? 'GET' : 'POST');
  return `${verb} ${path}${apiKey ? ' with a premium key' : ''}`;
}
