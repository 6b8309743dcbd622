const RETRY = 1000;

/**
 * Receives the events of the app, and reconnects for as long as the page is open: an `EventSource` gives up when a proxy
 * answers in place of the app, such as with 502.
 */
export function follow({ onDecisions, onStore, onLost }) {
  const source = new EventSource('/events');
  source.addEventListener('decisions', ({ data }) => onDecisions(JSON.parse(data)));
  source.addEventListener('store', ({ data }) => onStore(JSON.parse(data)));
  source.addEventListener('error', () => {
    onLost();
    if (source.readyState === EventSource.CLOSED) setTimeout(() => follow({ onDecisions, onStore, onLost }), RETRY);
  });
}
