// A chat client: sends each line of its standard input, and prints the replies and the messages of other clients.
// Usage: `node client.mjs [url]`
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { WebSocket } from 'ws';

const socket = new WebSocket(process.argv[2] ?? 'ws://localhost:3000/chat');
await once(socket, 'open');
socket.on('message', (message) => {
  const { event, data } = JSON.parse(message);
  if (event === 'heard') return console.log(`received: ${data}`);
  if (event === 'said') console.log(data);
  else console.log(data.retryAfter ? `${data.message}, again in ${Math.ceil(data.retryAfter / 1000)} s` : data.message);
  socket.emit('answer');
});
for await (const line of createInterface({ input: process.stdin })) {
  socket.send(JSON.stringify({ event: 'say', data: line }));
  await once(socket, 'answer');
}
socket.close();
