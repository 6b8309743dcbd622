import { Controller, Get, type ModuleMetadata, type Type } from '@nestjs/common';
import { Mutation, Query, Resolver, Subscription } from '@nestjs/graphql';
import { MessagePattern } from '@nestjs/microservices';
import { SubscribeMessage, WebSocketGateway } from '@nestjs/websockets';
import { RateLimit, type RateLimitOptions } from 'nest-rate-limit';

/** A limit whose name is also that of its handlers; the name of a subscription is `<name>Events`. */
type NamedLimit = RateLimitOptions & { readonly name: string };

function classesOf(given: NamedLimit, run: () => unknown): Record<'controller' | 'gateway' | 'resolver', Type> {
  const { name } = given;
  const limit = { key: 'all', ...given };

  @Controller()
  class Handlers {
    @RateLimit(limit)
    @Get(name)
    get() {
      return run();
    }

    @RateLimit(limit)
    @MessagePattern(name)
    receive() {
      return run();
    }
  }

  @WebSocketGateway()
  class Gateway {
    @RateLimit(limit)
    @SubscribeMessage(name)
    receive() {
      return run();
    }
  }

  @Resolver()
  class Fields {
    @Query(() => Boolean)
    ok() {
      return true;
    }

    @RateLimit(limit)
    @Mutation(() => Number, { name })
    change() {
      return run();
    }

    @RateLimit(limit)
    @Subscription(() => Number, { name: `${name}Events`, resolve: (value) => value })
    async *events() {
      yield await run();
    }
  }
  return { controller: Handlers, gateway: Gateway, resolver: Fields };
}

/** Handlers for one of the `TRANSPORTS`: one for each limit, which calls `run`. Their key is `'all'` by default. */
export function handlersOf(transport: string, limits: readonly NamedLimit[], run: () => unknown): ModuleMetadata {
  const classes = limits.map((limit) => classesOf(limit, run));
  const kind = transport.startsWith('a gateway') ? 'gateway' : 'resolver';
  return { controllers: classes.map(({ controller }) => controller), providers: classes.map((each) => each[kind]) };
}
