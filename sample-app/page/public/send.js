const SHOWN_HEADERS = ['RateLimit-Policy', 'RateLimit', 'Retry-After'];

/** Sends one request or message. Returns its status, the lines of its headers, and milliseconds until a retry. */
export function send(route) {
  return route.say ? say(route) : request(route);
}

async function request({ path, method, form, json, apiKey }) {
  const body = json ?? (form === undefined ? undefined : new URLSearchParams(form));
  const { status, statusText, headers } = await fetch(path, {
    method: method ?? (body === undefined ? 'GET' : 'POST'),
    headers: { ...(json && { 'Content-Type': 'application/json' }), ...(apiKey && { 'X-Api-Key': apiKey }) },
    body,
    cache: 'no-store',
  });
  const lines = SHOWN_HEADERS.filter((name) => headers.has(name)).map((name) => `${name}: ${headers.get(name)}`);
  return { status, statusText, lines, retryAfter: Number(headers.get('Retry-After')) * 1000 };
}

/** Opened on first use, and again after it was closed. */
let socket;
/** Messages without a reply. Replies arrive in the order of the messages. */
const pending = [];

function open(path) {
  if (socket?.readyState <= WebSocket.OPEN) return socket;
  socket = new WebSocket(new URL(path, location.href.replace(/^http/, 'ws')));
  socket.addEventListener('message', ({ data }) => {
    const reply = JSON.parse(data);
    if (reply.event === 'said') pending.shift()?.resolve({ status: 'said', lines: [] });
    else if (reply.event === 'exception') pending.shift()?.resolve(rejectionOf(reply.data));
  });
  socket.addEventListener('close', () => {
    for (const { reject } of pending.splice(0)) reject();
  });
  return socket;
}

const rejectionOf = ({ message, retryAfter }) => ({
  status: 'rejected',
  lines: [`message: ${message}`, `retryAfter: ${retryAfter}`],
  retryAfter,
});

function say({ path, say }) {
  const chat = open(path);
  const send = () => chat.send(JSON.stringify({ event: 'say', data: say }));
  return new Promise((resolve, reject) => {
    pending.push({ resolve, reject });
    if (chat.readyState === WebSocket.OPEN) send();
    else chat.addEventListener('open', send);
  });
}
