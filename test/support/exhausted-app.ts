import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import type { AddressInfo } from 'node:net';
import { Controller, type ExecutionContext, Get, type INestApplication, Injectable, Post } from '@nestjs/common';
import {
  BucketService,
  type DecisionMessage,
  RateLimit,
  RateLimitModule,
  type RateLimitModuleOptions,
  type RateLimitOptions,
  type Resolver,
} from 'nest-rate-limit';
import { type AdapterName, createApp } from './create-app.js';

/*
 * Servers that reject the first request of each client and record its decisions, for testing clients that retry.
 */

const requestOf = (context: ExecutionContext) =>
  context.switchToHttp().getRequest<{ params: { policy: string; client: string }; query: { cost?: string } }>();

const policies = {
  short: { maxRequest: 1, duration: 2 },
  long: { maxRequest: 1, unit: 'minute' },
  costly: { capacity: 1, refill: 1, cost: (context) => Number(requestOf(context).query.cost ?? 1) },
} satisfies Record<string, RateLimitOptions>;

/** Resolves the key. Empties a client's bucket when its first request arrives, so that this request is always rejected. */
@Injectable()
class ExhaustingKey implements Resolver<string> {
  private readonly exhausted = new Set<string>();
  constructor(private readonly buckets: BucketService) {}

  async resolve(context: ExecutionContext): Promise<string> {
    const { policy, client } = requestOf(context).params;
    if (!this.exhausted.has(client)) await this.buckets.bucket(policy, client).tryConsume();
    this.exhausted.add(client);
    return client;
  }
}

@RateLimit((context) => requestOf(context).params.policy)
@Controller(':policy/:client')
class Resource {
  @Get()
  get() {}

  @Post()
  post() {}
}

/** A decision, and the time when it was published. */
type TimedDecision = DecisionMessage & { readonly at: number };

const decisionsByClient = new Map<string, TimedDecision[]>();
function record(message: unknown): void {
  const decision = message as DecisionMessage;
  if (decision.transport !== 'http') return;
  decisionsByClient.set(decision.key, [
    ...(decisionsByClient.get(decision.key) ?? []),
    { ...decision, at: performance.now() },
  ]);
}

const apps: INestApplication[] = [];

/** Starts a server. Returns a function that builds the URL for a policy and a client name. */
export async function listen(adapter: AdapterName, options: RateLimitModuleOptions) {
  if (apps.length === 0) subscribe('nest-rate-limit:decision', record);
  const app = await createApp(adapter, {
    imports: [RateLimitModule.forRoot({ key: ExhaustingKey, policies, ...options })],
    controllers: [Resource],
  });
  apps.push(app);
  await app.listen(0, '127.0.0.1');
  const { port } = app.getHttpServer().address() as AddressInfo;
  return (policy: keyof typeof policies, client: string) =>
    `http://127.0.0.1:${port}/${policy}/${encodeURIComponent(client)}`;
}

export async function closeAll(): Promise<void> {
  unsubscribe('nest-rate-limit:decision', record);
  for (const app of apps.splice(0)) await app.close();
}

/** The decisions about a client's requests, and the error of the client's call, if it failed. */
export interface Run {
  readonly decisions: readonly TimedDecision[];
  readonly error?: Error;
}

/** Waits for the client's call to settle. */
export async function waitForRun(client: string, call: PromiseLike<unknown>): Promise<Run> {
  const error = await call.then(
    () => undefined,
    (reason: Error) => reason,
  );
  return { decisions: decisionsByClient.get(client) ?? [], error };
}
