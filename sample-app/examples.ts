import type { Example } from './example.js';

const REJECTED = '{"statusCode":429,"message":"Too Many Requests"} [429]';
const UNAUTHORIZED = '{"message":"Wrong name or password","error":"Unauthorized","statusCode":401} [401]';

export const examples: readonly Example[] = [
  {
    title: 'No limit',
    file: 'hello/hello.controller.ts',
    description: 'A handler without a decorator is not limited.',
    steps: [{ path: '/free', times: 5, answers: [[5, 'Hello Free World [200]']] }],
  },
  {
    title: 'A sliding window',
    file: 'hello/hello.controller.ts',
    description: '2 requests in any 10 seconds.',
    steps: [{ path: '/limited', times: 3, answers: [[2, 'Hello Limited World [200]'], REJECTED] }],
  },
  {
    title: 'A token bucket',
    file: 'sms/sms.controller.ts',
    description:
      'One bucket per phone number: a burst of 20 messages, refilled at 10 per minute. The headers report the remaining tokens.',
    steps: [
      {
        path: '/sms',
        form: 'phone=+4930901820',
        head: true,
        answers: [
          'HTTP/1.1 201 Created',
          'ratelimit-policy: "SmsController.send";q=20;w=120',
          'ratelimit: "SmsController.send";r=19;t=6',
        ],
      },
      {
        path: '/sms',
        form: 'phone=+4930901821',
        times: 21,
        answers: [
          [20, 'Sent to 4930901821 [201]'],
          '{"statusCode":429,"message":"Too many messages to this number"} [429]',
        ],
      },
      {
        path: '/sms',
        form: 'phone=nobody',
        answers: [
          '{"message":"phone must be a number of 6 to 15 digits","error":"Bad Request","statusCode":400} [400]',
        ],
      },
    ],
  },
  {
    title: 'A named policy, and costs',
    file: 'api/api.controller.ts',
    description:
      'Several handlers share a bucket of 5 tokens, refilled at one per second. An upload costs 3, a ping 1.',
    steps: [
      { method: 'POST', path: '/api/upload', times: 2, answers: ['uploaded [201]', REJECTED] },
      { path: '/api/ping', times: 3, answers: [[2, 'pong [200]'], REJECTED] },
    ],
  },
  {
    title: 'Weights',
    file: 'documents/documents.controller.ts',
    description: 'The cost depends on the method: reading costs 1 of 20 tokens, writing 5, deleting 10.',
    steps: [
      { path: '/documents/7', answers: ['Document 7 [200]'] },
      { method: 'PUT', path: '/documents/7', answers: ['Document 7 is written [200]'] },
      { method: 'DELETE', path: '/documents/7', times: 2, answers: ['Document 7 is gone [200]', REJECTED] },
    ],
  },
  {
    title: 'Tiers',
    file: 'tiers/tiers.module.ts',
    description:
      'A premium key allows 1000 requests per minute, a standard key 100. Requests without a valid key are limited by address, to 10.',
    steps: [
      {
        path: '/quotes',
        apiKey: 'ada-1815',
        head: true,
        answers: ['HTTP/1.1 200 OK', 'ratelimit-policy: "premium";q=1000;w=60', 'ratelimit: "premium";r=999;t=1'],
      },
      {
        path: '/quotes',
        apiKey: 'grace-1906',
        head: true,
        answers: ['HTTP/1.1 200 OK', 'ratelimit-policy: "standard";q=100;w=60', 'ratelimit: "standard";r=99;t=1'],
      },
      {
        path: '/quotes',
        apiKey: 'made-up',
        head: true,
        answers: ['HTTP/1.1 200 OK', 'ratelimit-policy: "free";q=10;w=60', 'ratelimit: "free";r=9;t=6'],
      },
      { path: '/quotes', times: 10, answers: [[9, 'Less is more [200]'], REJECTED] },
    ],
  },
  {
    title: 'A manual check in a service',
    file: 'mail/mail.service.ts',
    description: 'One bucket per recipient: a burst of 5 mails, refilled at one per second.',
    steps: [
      {
        path: '/mail',
        form: 'to=ada@example.com',
        times: 6,
        answers: [
          '{"left":4} [201]',
          '{"left":3} [201]',
          '{"left":2} [201]',
          '{"left":1} [201]',
          '{"left":0} [201]',
          REJECTED,
        ],
      },
    ],
  },
  {
    title: 'A worker',
    file: 'outbox/outbox.worker.ts',
    description:
      'A burst of 2 mails, refilled at one per second. If the mail server is busy, all workers pause for 3 seconds; the first mail to `busy@example.com` simulates this.',
    steps: [
      {
        path: '/outbox',
        form: 'to=ada@example.com',
        times: 4,
        answers: [[4, 'To be sent to ada@example.com [202]']],
      },
      { path: '/outbox', after: 0, answers: ['{"waiting":2} [200]'] },
      { path: '/outbox', after: 3, answers: ['{"waiting":0} [200]'] },
    ],
  },
  {
    title: 'Queueing',
    file: 'queue/queue.controller.ts',
    description:
      'One request per second; those that arrive early are queued. A request that would wait longer than 5 seconds is rejected immediately.',
    steps: [{ path: '/queue', times: 3, together: true, answers: [[3, 'It is your turn [200]']] }],
  },
  {
    title: 'A concurrency limit',
    file: 'exports/exports.controller.ts',
    description:
      'Each client runs 2 exports of 2 seconds at once. The third one begins when one of them has ended. A request that would wait longer than 10 seconds is rejected.',
    steps: [{ path: '/exports', times: 3, together: true, answers: [[3, 'Exported [200]']] }],
  },
  {
    title: 'Login protection',
    file: 'login/login.controller.ts',
    description:
      'Only failed attempts count. After 5 in a minute, the next attempt blocks the user at this address for a minute.',
    steps: [
      { path: '/login', form: 'user=ada&password=wrong', times: 6, answers: [[5, UNAUTHORIZED], REJECTED] },
      { path: '/login', form: 'user=ada&password=lovelace', answers: [REJECTED] },
      { path: '/login', form: 'user=grace&password=hopper', answers: ['Welcome, grace [200]'] },
    ],
  },
  {
    title: 'A cost known afterwards',
    file: 'reports/reports.controller.ts',
    description:
      'A burst of 100 rows, refilled at one per second. A report is charged for its rows after the response; the second one leaves a debt.',
    steps: [{ path: '/reports?rows=70', times: 3, answers: [[2, '{"rows":70} [200]'], REJECTED] }],
  },
  {
    title: 'GraphQL',
    file: 'graphql/books.resolver.ts',
    description: 'All fields share a bucket of 10 tokens, refilled at one per second. A query costs 1, a mutation 5.',
    steps: [
      {
        path: '/graphql',
        json: '{"query":"{ books }"}',
        head: true,
        answers: [
          'HTTP/1.1 200 OK',
          'ratelimit-policy: "BooksResolver";q=10;w=10',
          'ratelimit: "BooksResolver";r=9;t=1',
        ],
      },
      {
        path: '/graphql',
        json: '{"query":"mutation { addBook(title: \\"Emma\\") }"}',
        head: true,
        answers: [
          'HTTP/1.1 200 OK',
          'ratelimit-policy: "BooksResolver";q=10;w=10',
          'ratelimit: "BooksResolver";r=4;t=1',
        ],
      },
      {
        path: '/graphql',
        json: '{"query":"mutation { addBook(title: \\"Emma\\") }"}',
        head: true,
        answers: [
          'HTTP/1.1 429 Too Many Requests',
          'ratelimit-policy: "BooksResolver";q=10;w=10',
          'ratelimit: "BooksResolver";r=4;t=1',
          'retry-after: 1',
        ],
      },
    ],
  },
  {
    title: 'WebSockets',
    file: 'chat/chat.gateway.ts',
    description:
      'One bucket per connection: a burst of 5 messages, refilled at one per second. A rejection is sent as an `exception` message. Without `seq`, the client sends the lines that you type.',
    steps: [
      {
        lines: 7,
        answers: [...'12345', [2, 'Too many messages, again in 1 s']],
      },
    ],
  },
  {
    title: 'Health',
    file: 'health/health.controller.ts',
    description:
      'Reports the health of the store. Without Redis, each process decides locally, so the app stays healthy.',
    steps: [{ path: '/health', answers: ['{"status":"up"} [200]'] }],
  },
];
