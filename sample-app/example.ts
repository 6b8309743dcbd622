/** One example with the commands that demonstrate it. Shared by `npm start`, the README and the tests. */
export interface Example {
  readonly title: string;
  /** The source file of the example. */
  readonly file: string;
  readonly description: string;
  readonly steps: readonly (Step | ChatStep)[];
}

/** One or more HTTP requests. */
export interface Step {
  readonly method?: 'POST' | 'PUT' | 'DELETE';
  readonly path: string;
  /** Form fields or JSON; makes the request a POST. */
  readonly form?: string;
  readonly json?: string;
  readonly apiKey?: string;
  /** The number of requests; default 1. */
  readonly times?: number;
  /** Sends all requests concurrently instead of one after the other. */
  readonly together?: boolean;
  /** Shows the status and the rate limit headers instead of the body. */
  readonly head?: boolean;
  /** Seconds to wait before the request, for effects that need time. */
  readonly after?: number;
  readonly answers: Answers;
}

/** A number of messages sent to the chat. */
interface ChatStep {
  readonly lines: number;
  readonly answers: Answers;
}

/** The expected lines: each is a body followed by its status. `[n, line]` is a line repeated n times. */
export type Answers = readonly (string | readonly [number, string])[];

/** Returns the shell command of a step. */
function toCommand(step: Step | ChatStep, port = 3000): string {
  if ('lines' in step) {
    const url = port === 3000 ? '' : ` ws://localhost:${port}/chat`;
    return `seq ${step.lines} | node sample-app/chat/client.mjs${url}`;
  }
  const { method, path, form, json, apiKey, times = 1, together, head, after } = step;
  const url = `localhost:${port}${path}`;
  const words = [
    method && `-X ${method}`,
    apiKey && `-H 'X-Api-Key: ${apiKey}'`,
    form && `-d '${form}'`,
    json && `--json '${json}'`,
    path.includes('?') ? `'${url}'` : url,
  ];
  const request = words.filter(Boolean).join(' ');
  if (head) return `curl -si ${request} | grep -E '^(HTTP|ratelimit|retry)'`;
  const curl = `curl -sw ' [%{http_code}]\\n' ${request}`;
  if (after) return `sleep ${after}; ${curl}`;
  if (times === 1) return curl;
  // In a subshell, which does not print its jobs.
  if (together) return `(for i in $(seq ${times}); do ${curl} & done; wait)`;
  return `for i in $(seq ${times}); do ${curl}; done`;
}

/** Returns the expected lines, with the number of repetitions. */
function toAnswers(answers: Answers): string[] {
  return answers.map((answer) => (typeof answer === 'string' ? answer : `${answer[1]}  (${answer[0]} times)`));
}

/** Formats an example for `npm start`. */
export function toText({ title, description, steps }: Example, port: number): string {
  const lines = steps.flatMap((step) => [
    `  ${toCommand(step, port)}`,
    ...toAnswers(step.answers).map((answer) => `    ${answer}`),
  ]);
  return `${title}. ${description}\n${lines.join('\n')}\n`;
}

/** Formats an example for the README. */
export function toMarkdown({ title, file, description, steps }: Example): string {
  const commands = steps.map((step) => toCommand(step));
  const answers = steps.flatMap((step) => toAnswers(step.answers));
  const blocks = [`\`\`\`sh\n${commands.join('\n')}\n\`\`\``, `\`\`\`text\n${answers.join('\n')}\n\`\`\``];
  return [`### ${title}`, `[${file}](${file}). ${description}`, ...blocks].join('\n\n');
}
