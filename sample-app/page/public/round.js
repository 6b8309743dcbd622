import { at, now, write } from './dom.js';
import { nameOf } from './routes.js';

/** The requests of one click, and the numbers of their responses. */
export class Round {
  sent = 0;
  answers = new Map();

  constructor(route) {
    this.route = route;
  }

  async send() {
    this.sent++;
    const { answer, retryAfter } = await (this.route.say ? say(this.route) : request(this.route)).catch(() => ({
      answer: 'no answer',
    }));
    this.answers.set(answer, (this.answers.get(answer) ?? 0) + 1);
    if (retryAfter) retryAt = now() + retryAfter;
    const answers = [...this.answers].map(([each, times]) => `${times}\u00a0×\u00a0${each}`).join(', ');
    write(at('result'), `${nameOf(this.route)}: ${this.sent} sent, ${answers}`);
  }

  async flood(end) {
    while (now() < end) await Promise.all([this.send(), new Promise((next) => setTimeout(next, 80))]);
  }
}

async function request({ path, method, form, json, apiKey }) {
  const body = json ?? (form === undefined ? undefined : new URLSearchParams(form));
  const { status, headers } = await fetch(path, {
    method: method ?? (body === undefined ? 'GET' : 'POST'),
    headers: { ...(json && { 'Content-Type': 'application/json' }), ...(apiKey && { 'X-Api-Key': apiKey }) },
    body,
    cache: 'no-store',
  });
  return { answer: status, retryAfter: Number(headers.get('Retry-After')) * 1000 };
}

/** Opened on first use, and again after it was closed. */
let socket;
/** Messages without a reply. Replies arrive in the order of the messages. */
const waiting = [];

function open(path) {
  if (socket?.readyState <= WebSocket.OPEN) return socket;
  socket = new WebSocket(new URL(path, location.href.replace(/^http/, 'ws')));
  socket.addEventListener('message', ({ data }) => {
    const { event, data: content } = JSON.parse(data);
    if (event === 'said') waiting.shift()?.resolve({ answer: 'said' });
    else if (event === 'exception') waiting.shift()?.resolve({ answer: 'refused', retryAfter: content.retryAfter });
  });
  socket.addEventListener('close', () => {
    for (const { reject } of waiting.splice(0)) reject();
  });
  return socket;
}

function say({ path, say }) {
  const chat = open(path);
  const send = () => chat.send(JSON.stringify({ event: 'say', data: say }));
  return new Promise((resolve, reject) => {
    waiting.push({ resolve, reject });
    if (chat.readyState === WebSocket.OPEN) send();
    else chat.addEventListener('open', send);
  });
}

let retryAt = 0;

export function drawRetry(time) {
  const left = Math.ceil((retryAt - time) / 1000);
  at('retry').className = left > 0 ? 'refused' : '';
  write(at('retry').lastElementChild, retryAt ? `${Math.max(0, left)} s` : '–');
}
