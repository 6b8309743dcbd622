// Loads a port for some seconds when it is told to, and tells how many requests were answered.
import autocannon from 'autocannon';
import { serve } from './lib/measure.mjs';

const SAMPLE_MS = 20;
let client = 0;

serve(async ({ port, seconds }) => {
  const result = await autocannon({
    url: `http://127.0.0.1:${port}/`,
    connections: 64,
    duration: seconds,
    // It ends with a sample.
    sampleInt: SAMPLE_MS,
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
  return {
    requests: result['2xx'],
    seconds: (result.finish - result.start) / 1000,
    errors: errors + non2xx + timeouts,
  };
});
