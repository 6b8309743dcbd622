/** Something to try: one idea, and requests that show it. The page beside this file and the tests hold the same. */
export interface Trial {
  readonly idea: string;
  readonly steps: readonly Step[];
}

export interface Step {
  readonly method?: 'POST';
  readonly path: string;
  /** Fields of a form; the request is a POST then. */
  readonly form?: string;
  /** How often it is sent; default once. */
  readonly times?: number;
  /** All at once instead of one after the other. */
  readonly together?: boolean;
  /** Shows the status and the limit's headers instead of the body. */
  readonly head?: boolean;
  /** What comes back, line by line: the body with the status behind it. A number before says how often. */
  readonly answers: readonly (string | readonly [number, string])[];
}

const REFUSED = '{"statusCode":429,"message":"Too Many Requests"} [429]';
const UNAUTHORIZED = '{"message":"Wrong name or password","error":"Unauthorized","statusCode":401} [401]';

export const trials: readonly Trial[] = [
  {
    idea: 'A handler without a decorator is not limited.',
    steps: [{ path: '/free', times: 5, answers: [[5, 'Hello Free World [200]']] }],
  },
  {
    idea: 'A sliding window: 2 requests in any 10 seconds.',
    steps: [{ path: '/limited', times: 3, answers: [[2, 'Hello Limited World [200]'], REFUSED] }],
  },
  {
    idea: 'A token bucket for each phone number: 20 at once, 10 per minute. The headers tell what is left.',
    steps: [
      {
        path: '/sms',
        form: 'phone=+4930901820',
        head: true,
        answers: [
          'HTTP/1.1 201 Created',
          'RateLimit-Policy: "SmsController.send";q=20;w=120',
          'RateLimit: "SmsController.send";r=19;t=6',
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
    idea: 'One bucket of 5, one more each second: an upload costs 3, a ping 1.',
    steps: [
      { method: 'POST', path: '/api/upload', times: 2, answers: ['uploaded [201]', REFUSED] },
      { path: '/api/ping', times: 3, answers: [[2, 'pong [200]'], REFUSED] },
    ],
  },
  {
    idea: 'A service that asks for itself: 5 mails at once to one recipient, one more each second.',
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
          REFUSED,
        ],
      },
    ],
  },
  {
    idea: 'Waiting in line: one answer each second. Who would wait longer than 5 seconds is refused at once.',
    steps: [{ path: '/queue', times: 3, together: true, answers: [[3, 'It is your turn [200]']] }],
  },
  {
    idea: 'Brute force: only failures count. The sixth try starts a block of a minute, for this user at this address.',
    steps: [
      { path: '/login', form: 'user=ada&password=wrong', times: 6, answers: [[5, UNAUTHORIZED], REFUSED] },
      { path: '/login', form: 'user=ada&password=lovelace', answers: [REFUSED] },
      { path: '/login', form: 'user=grace&password=hopper', answers: ['Welcome, grace [200]'] },
    ],
  },
  {
    idea: 'A cost that is known afterwards: 100 rows at once, one more each second. The second report leaves a debt.',
    steps: [{ path: '/reports?rows=70', times: 3, answers: [[2, '{"rows":70} [200]'], REFUSED] }],
  },
];

/** The step as a line for the shell. */
export function toCommand({ method, path, form, times = 1, together, head }: Step, port = 3000): string {
  const url = `localhost:${port}${path}`;
  const request = [method && `-X ${method}`, form && `-d '${form}'`, path.includes('?') ? `'${url}'` : url];
  const words = request.filter(Boolean).join(' ');
  if (head) return `curl -si ${words} | grep -E '^(HTTP|RateLimit|Retry)'`;
  const curl = `curl -sw ' [%{http_code}]\\n' ${words}`;
  if (times === 1) return curl;
  // In a subshell, which tells nothing of its jobs.
  if (together) return `(for i in $(seq ${times}); do ${curl} & done; wait)`;
  return `for i in $(seq ${times}); do ${curl}; done`;
}

/** The answers as they come, equal ones counted. */
export function toAnswers({ answers }: Step): string[] {
  return answers.map((answer) => (typeof answer === 'string' ? answer : `${answer[1]}  (${answer[0]} times)`));
}

/** The trial as `npm start` prints it. */
export function toText({ idea, steps }: Trial, port: number): string {
  const lines = steps.flatMap((step) => [
    `  ${toCommand(step, port)}`,
    ...toAnswers(step).map((answer) => `    ${answer}`),
  ]);
  return `${idea}\n${lines.join('\n')}\n`;
}

/** The trial as it stands in the README. */
export function toMarkdown({ idea, steps }: Trial): string {
  const commands = steps.map((step) => toCommand(step));
  const answers = steps.flatMap(toAnswers);
  return `${idea}\n\n\`\`\`sh\n${commands.join('\n')}\n\`\`\`\n\n\`\`\`text\n${answers.join('\n')}\n\`\`\`\n`;
}
