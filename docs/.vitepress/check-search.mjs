// Searches the built site for what readers look for, and fails if the page is not among the first results.
import { readdirSync } from 'node:fs';
import MiniSearch from 'minisearch';
import { boostDocument, searchOptions } from './search.mjs';

/** What readers type, and the page, or one of the pages, that answers it. */
const QUERIES = [
  ['only decorated routes', 'faq'],
  ['cost per request', 'guides/costs'],
  ['llm tokens', 'guides/costs|quickstart'],
  ['plan', 'guides/tiers-and-tenants|quickstart'],
  ['count only failed requests', 'faq'],
  ['burst', 'concepts'],
  ['skip', 'reference/module|reference/decorator'],
  ['playground', 'playground'],
  ['replay access log', 'playground'],
  ['sliding window', 'concepts|faq'],
  ['blocked longer than window', 'faq'],
  ['rejected request count', 'faq'],
  ['several limits', 'concepts|faq|reference/decorator'],
  ['concurrent requests', 'faq'],
  ['share a bucket', 'faq'],
  ['IPv6', 'guides/keys-and-proxies|faq'],
  ['trust proxy', 'guides/keys-and-proxies'],
  ['X-Forwarded-For', 'guides/keys-and-proxies|guides/serverless'],
  ['guard order', 'guides/authentication'],
  ['passport jwt', 'guides/authentication'],
  ['injectable class', 'reference/decorator|guides/tiers-and-tenants|faq'],
  ['graphql', 'guides/graphql'],
  ['websocket gateway', 'guides/websocket|faq'],
  ['rabbitmq', 'guides/message-brokers'],
  ['redis down', 'faq|guides/redis-failures'],
  ['start without redis', 'faq'],
  ['memory growth', 'faq|guides/redis|reference/stores'],
  ['cluster', 'guides/redis'],
  ['valkey', 'faq|reference/stores'],
  ['tests 429', 'troubleshooting'],
  ['fake clock', 'guides/testing|concepts'],
  ['custom error message', 'guides/responses|reference/decorator'],
  ['Retry-After', 'concepts|guides/responses|guides/retrying-clients'],
  ['limit outgoing requests', 'guides/outbound'],
  ['axios', 'guides/outbound|guides/retrying-clients|reference/api'],
  ['reset a client', 'faq|guides/manual-checks'],
  ['login', 'guides/login-protection'],
  ['kubernetes', 'guides/deployment'],
  ['lambda', 'guides/serverless'],
  ['opentelemetry metrics', 'guides/observability|reference/api'],
  ['swagger', 'guides/openapi|reference/api'],
  ['throttler', 'migration/throttler'],
  ['maxWait', 'reference/decorator|guides/queueing'],
  ['perHandler', 'reference/decorator'],
  ['unknown option', 'troubleshooting'],
  ['Untrusted proxy', 'troubleshooting'],
  ['byUser() found no user', 'troubleshooting'],
];
const FIRST = 5;

const chunks = new URL('../../build/docs/assets/chunks/', import.meta.url);
const file = readdirSync(chunks).find((name) => name.startsWith('@localSearchIndexroot'));
const { default: json } = await import(new URL(file, chunks));
const index = MiniSearch.loadJSON(json, {
  fields: ['title', 'titles', 'text'],
  searchOptions: { ...searchOptions, boostDocument },
});

const missed = QUERIES.flatMap(([query, expected]) => {
  const found = index
    .search(query)
    .slice(0, FIRST)
    .map(({ id }) => id);
  return found.some((id) => new RegExp(`/(${expected})`).test(id)) ? [] : [`${query}: ${found.join(', ')}`];
});
console.log(`Search: ${QUERIES.length - missed.length} of ${QUERIES.length} queries find their page`);
for (const line of missed) console.error(`  ${line}`);
if (missed.length > 0) process.exitCode = 1;
