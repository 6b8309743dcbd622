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
 * Servers that refuse whoever comes first, and what they saw of each client: for clients that try again.
 */

const requestOf = (context: ExecutionContext) =>
  context.switchToHttp().getRequest<{ params: { policy: string; client: string }; query: { cost?: string } }>();

const policies = {
  short: { maxRequest: 1, duration: 2 },
  long: { maxRequest: 1, unit: 'minute' },
  costly: { capacity: 1, refill: 1, cost: (context) => Number(requestOf(context).query.cost ?? 1) },
} satisfies Record<string, RateLimitOptions>;

/** Empties the bucket of a client when its first request is here: however late that is, it is refused. */
@Injectable()
class Exhausted implements Resolver<string> {
  private readonly known = new Set<string>();
  constructor(private readonly buckets: BucketService) {}

  async resolve(context: ExecutionContext): Promise<string> {
    const { policy, client } = requestOf(context).params;
    if (!this.known.has(client)) await this.buckets.bucket(policy, client).tryConsume();
    this.known.add(client);
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

/** A decision about a request, and when it was made. */
type Seen = DecisionMessage & { readonly at: number };

const seen = new Map<string, Seen[]>();
function see(message: unknown): void {
  const decision = message as DecisionMessage;
  if (decision.transport !== 'http') return;
  seen.set(decision.key, [...(seen.get(decision.key) ?? []), { ...decision, at: performance.now() }]);
}

const apps: INestApplication[] = [];

/** Starts a server. Returns the addresses for a client under a name of its own. */
export async function listen(adapter: AdapterName, options: RateLimitModuleOptions) {
  if (apps.length === 0) subscribe('nest-rate-limit:decision', see);
  const app = await createApp(adapter, {
    imports: [RateLimitModule.forRoot({ key: Exhausted, policies, ...options })],
    controllers: [Resource],
  });
  apps.push(app);
  await app.listen(0, '127.0.0.1');
  const { port } = app.getHttpServer().address() as AddressInfo;
  return (policy: keyof typeof policies, client: string) =>
    `http://127.0.0.1:${port}/${policy}/${encodeURIComponent(client)}`;
}

export async function closeAll(): Promise<void> {
  unsubscribe('nest-rate-limit:decision', see);
  for (const app of apps.splice(0)) await app.close();
}

/** What the server saw of a client, and what the client's call ended with, if with an error. */
export interface Run {
  readonly decisions: readonly Seen[];
  readonly error?: Error;
}

export async function finish(client: string, call: PromiseLike<unknown>): Promise<Run> {
  const error = await call.then(
    () => undefined,
    (reason: Error) => reason,
  );
  return { decisions: seen.get(client) ?? [], error };
}
