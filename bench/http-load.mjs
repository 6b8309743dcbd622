// Loads a port for some seconds and prints how many requests were answered.
import autocannon from 'autocannon';

const [, , port, seconds] = process.argv;
let client = 0;
const result = await autocannon({
  url: `http://127.0.0.1:${port}/`,
  connections: 64,
  duration: Number(seconds),
  setupClient: (connection) => {
    // Each connection speaks for others in turn.
    const requests = Array.from({ length: 16 }, () => ({
      method: 'GET',
      headers: { 'x-client': `c${client++ % 1000}` },
    }));
    connection.setRequests(requests);
  },
});
const { errors, non2xx, timeouts } = result;
console.log(
  JSON.stringify({ requests: result.requests.total, seconds: result.duration, errors: errors + non2xx + timeouts }),
);
