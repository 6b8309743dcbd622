/** Something to try: one idea, and commands that show it. `npm start`, the README and the tests share it. */
export interface Trial {
  readonly title: string;
  /** Where the idea stands. */
  readonly file: string;
  readonly idea: string;
  readonly steps: readonly (Step | ChatStep)[];
}

/** Requests over HTTP. */
export interface Step {
  readonly method?: 'POST' | 'PUT' | 'DELETE';
  readonly path: string;
  /** Fields of a form, or JSON; the request is a POST then. */
  readonly form?: string;
  readonly json?: string;
  readonly apiKey?: string;
  /** How often it is sent; default once. */
  readonly times?: number;
  /** All at once instead of one after the other. */
  readonly together?: boolean;
  /** Shows the status and the limit's headers instead of the body. */
  readonly head?: boolean;
  /** Seconds to wait before: for what happens without being asked. */
  readonly after?: number;
  readonly answers: Answers;
}

/** So many lines, said in the chat. */
interface ChatStep {
  readonly lines: number;
  readonly answers: Answers;
}

/** What comes back, line by line: the body with the status behind it. A number before says how often. */
export type Answers = readonly (string | readonly [number, string])[];

/** The step as a line for the shell. */
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
  // In a subshell, which tells nothing of its jobs.
  if (together) return `(for i in $(seq ${times}); do ${curl} & done; wait)`;
  return `for i in $(seq ${times}); do ${curl}; done`;
}

/** The answers as they come, equal ones counted. */
function toAnswers(answers: Answers): string[] {
  return answers.map((answer) => (typeof answer === 'string' ? answer : `${answer[1]}  (${answer[0]} times)`));
}

/** The trial as `npm start` prints it. */
export function toText({ title, idea, steps }: Trial, port: number): string {
  const lines = steps.flatMap((step) => [
    `  ${toCommand(step, port)}`,
    ...toAnswers(step.answers).map((answer) => `    ${answer}`),
  ]);
  return `${title}. ${idea}\n${lines.join('\n')}\n`;
}

/** The trial as it stands in the README. */
export function toMarkdown({ title, file, idea, steps }: Trial): string {
  const commands = steps.map((step) => toCommand(step));
  const answers = steps.flatMap((step) => toAnswers(step.answers));
  const blocks = [`\`\`\`sh\n${commands.join('\n')}\n\`\`\``, `\`\`\`text\n${answers.join('\n')}\n\`\`\``];
  return [`### ${title}`, `[${file}](${file}). ${idea}`, ...blocks].join('\n\n');
}
