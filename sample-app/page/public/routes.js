/** What can be tried, and the bucket that it draws from: its policy and how much it holds. */
export const ROUTES = [
  {
    path: '/api/ping',
    policy: 'api',
    limit: 5,
    idea: 'A named policy: 5 tokens at once, one more each second. A ping costs 1.',
  },
  { path: '/api/upload', form: '', policy: 'api', limit: 5, idea: 'The same bucket as /api/ping. An upload costs 3.' },
  {
    path: '/limited',
    policy: 'HelloController.limited',
    limit: 2,
    window: true,
    idea: 'A sliding window: 2 requests in any 10 seconds.',
  },
  {
    path: '/sms',
    form: 'phone=%2B4930901820',
    policy: 'SmsController.send',
    limit: 20,
    idea: 'A bucket for each phone number: 20 at once, 10 per minute.',
  },
  {
    path: '/documents/7',
    method: 'PUT',
    policy: 'DocumentsController',
    limit: 20,
    idea: 'Weights: to write costs 5 of 20 tokens, to read 1, to delete 10. One more each second.',
  },
  { path: '/quotes', policy: 'free', limit: 10, idea: 'Tiers: without an API key 10 at once, 10 per minute.' },
  {
    path: '/quotes',
    apiKey: 'ada-1815',
    policy: 'premium',
    limit: 1000,
    idea: 'Tiers: with a premium key 1000 at once, 1000 per minute.',
  },
  {
    path: '/mail',
    form: 'to=ada@example.com',
    policy: 'mail',
    limit: 5,
    idea: 'A service that asks by itself: 5 mails at once, one more each second.',
  },
  {
    path: '/outbox',
    form: 'to=ada@example.com',
    policy: 'outbox',
    limit: 2,
    idea: 'A worker, which sends one mail each second. Nobody waits for it: the answer is 202, at once.',
  },
  {
    path: '/queue',
    policy: 'QueueController.enter',
    limit: 1,
    // A browser has six connections to us, and one of them is for the events: more would only keep all others waiting.
    burst: 5,
    idea: 'Waiting in line: one request passes each second, and who comes too early stands still, for 5 seconds at most.',
  },
  {
    path: '/login',
    form: 'user=ada&password=wrong',
    policy: 'LoginController.login',
    limit: 5,
    window: true,
    idea: 'A wrong password. Only failures count; after 5 in a minute all is refused for a minute.',
  },
  {
    path: '/reports?rows=70',
    policy: 'ReportsController.report',
    limit: 100,
    idea: 'A cost that is known afterwards: 70 rows cost 70. The gauge sees it with the next request.',
  },
  {
    path: '/graphql',
    json: '{"query":"{ books }"}',
    policy: 'BooksResolver',
    limit: 10,
    idea: 'GraphQL: a query costs 1 of 10 tokens, a mutation 5. One more each second.',
  },
  {
    path: '/chat',
    say: 'Hello',
    policy: 'ChatGateway.say',
    limit: 5,
    idea: 'A WebSocket: 5 messages at once on each connection, one more each second. A refusal is a message, too.',
  },
  { path: '/free', idea: 'No limit, and so no bucket and no decision.' },
];

/** The route as it stands in the list. */
export function nameOf({ method, path, form, json, say, apiKey }) {
  if (say) return `WebSocket ${path}`;
  const verb = method ?? ((form ?? json) === undefined ? 'GET' : 'POST');
  return `${verb} ${path}${apiKey ? ' with a premium key' : ''}`;
}
