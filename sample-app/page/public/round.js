import { at, make, now, write } from './dom.js';
import { nameOf } from './routes.js';
import { send } from './send.js';

const FLOOD_INTERVAL = 80;
const FAILED = { status: 'no response', lines: [] };
/** Only the responses to the last click are shown. */
let shown;

/** The requests of one click, and their responses: for each status their number and the headers of the last one. */
export class Round {
  sent = 0;
  retryAt = 0;
  responses = new Map();

  constructor(route) {
    this.route = route;
    shown = this;
  }

  async send() {
    this.sent++;
    const response = await send(this.route).catch(() => FAILED);
    const count = (this.responses.get(response.status)?.count ?? 0) + 1;
    this.responses.set(response.status, { ...response, count });
    if (response.retryAfter) this.retryAt = now() + response.retryAfter;
    if (shown === this) this.show();
  }

  async flood(end) {
    while (now() < end) await Promise.all([this.send(), new Promise((next) => setTimeout(next, FLOOD_INTERVAL))]);
  }

  summary() {
    const counts = [...this.responses].map(([status, { count }]) => `${count}\u00a0×\u00a0${status}`);
    return `${nameOf(this.route)}: ${this.sent} sent, ${counts.join(', ')}`;
  }

  show() {
    write(at('result'), this.summary());
    at('responses').replaceChildren(...[...this.responses.values()].map(elementOf));
  }
}

function elementOf({ status, statusText = '', lines }) {
  const element = make('div', { className: status < 300 || status === 'said' ? 'allowed' : 'rejected' });
  element.append(make('dt', { text: `${status} ${statusText}` }), ...lines.map((text) => make('dd', { text })));
  return element;
}

export function drawRetry(time) {
  const left = Math.ceil(((shown?.retryAt ?? 0) - time) / 1000);
  at('retry').hidden = left <= 0;
  write(at('retry').lastElementChild, `${Math.max(0, left)} s`);
}
