// Sends requests to a port for some seconds on request, and reports how many succeeded.
import autocannon from 'autocannon';
import { serve } from './lib/measure.mjs';

const SAMPLE_MS = 20;
let client = 0;

serve(async ({ port, seconds }) => {
  const result = await autocannon({
    url: `http://127.0.0.1:${port}/`,
    connections: 64,
    duration: seconds,
    // The run ends at a sample.
    sampleInt: SAMPLE_MS,
    setupClient: (connection) => {
      // Each connection sends requests of 16 clients in turn.
      const requests = Array.from({ length: 16 }, () => ({
        method: 'GET',
        headers: { 'x-client': `c${client++ % 1000}` },
      }));
      connection.setRequests(requests);
    },
  });
  const { errors, non2xx, timeouts } = result;
  return {
    requests: result['2xx'],
    seconds: (result.finish - result.start) / 1000,
    errors: errors + non2xx + timeouts,
  };
});
