import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { migrated } from './support/fixtures.js';
import { type Call, statusesOf } from './support/run-app.js';

const HEAD = `import { Controller, ExecutionContext, Get, HttpException, Injectable, Module, UnauthorizedException, UseGuards } from '@nestjs/common';
import { APP_GUARD } from '@nestjs/core';
import { minutes, seconds, SkipThrottle, Throttle, ThrottlerException, ThrottlerGuard, ThrottlerModule } from '@nestjs/throttler';
`;

const AUTH = `
@Injectable()
class AuthGuard {
  canActivate(context: ExecutionContext) {
    const request = context.switchToHttp().getRequest();
    const id = request.headers['x-user'];
    if (!id) throw new UnauthorizedException();
    request.user = { id };
    return true;
  }
}
`;

/** Runs a source before and after its migration with the same calls. */
async function bothStatuses(source: string, calls: readonly Call[]) {
  const migration = migrated({ 'app.ts': source });
  return {
    migration,
    before: await statusesOf(source, calls),
    after: await statusesOf(migration.texts['app.ts'], calls),
  };
}

const times = (count: number, ...call: Call): Call[] => Array.from({ length: count }, () => call);

describe('A migrated application', () => {
  it('counts requests that an authentication guard behind the limiter rejects', async () => {
    const source = `${HEAD}${AUTH}
@Controller()
class CatsController {
  @Get('cats')
  list() {}
}

@Module({
  imports: [ThrottlerModule.forRoot([{ ttl: minutes(1), limit: 2 }])],
  controllers: [CatsController],
  providers: [{ provide: APP_GUARD, useClass: ThrottlerGuard }, { provide: APP_GUARD, useClass: AuthGuard }],
})
export class AppModule {}
`;
    const { before, after } = await bothStatuses(source, times(4, '/cats'));
    expect(before).toEqual([401, 401, 429, 429]);
    expect(after).toEqual(before);
  });

  it('counts by the user of an authentication guard before the limiter', async () => {
    const source = `${HEAD}${AUTH}
@Injectable()
class UserGuard extends ThrottlerGuard {
  protected async getTracker(req: Record<string, any>): Promise<string> {
    return req.user.id;
  }
}

@UseGuards(AuthGuard, UserGuard)
@Controller()
class CatsController {
  @Get('cats')
  list() {}
}

@Module({
  imports: [ThrottlerModule.forRoot([{ ttl: minutes(1), limit: 1 }])],
  controllers: [CatsController],
})
export class AppModule {}
`;
    const calls: Call[] = [['/cats', 'ada'], ['/cats', 'ada'], ['/cats', 'grace'], ['/cats']];
    const { before, after } = await bothStatuses(source, calls);
    expect(before).toEqual([200, 429, 200, 401]);
    expect(after).toEqual(before);
  });

  it('keeps the conditions and the answers of a guard of its own', async () => {
    const source = `${HEAD}
@Injectable()
class OwnGuard extends ThrottlerGuard {
  protected async shouldSkip(context: ExecutionContext): Promise<boolean> {
    if (context.switchToHttp().getRequest().headers['x-user'] === 'admin') return true;
    return super.shouldSkip(context);
  }

  protected async getTracker(req: Record<string, any>): Promise<string> {
    const user = req.headers['x-user'];
    return user === 'twin' ? 'ada' : String(user);
  }

  protected async throwThrottlingException(): Promise<void> {
    throw new HttpException('Enhance your calm', 420);
  }
}

@Controller()
class CatsController {
  @Get('cats')
  list() {}
}

@Module({
  imports: [ThrottlerModule.forRoot([{ ttl: minutes(1), limit: 1 }])],
  controllers: [CatsController],
  providers: [{ provide: APP_GUARD, useClass: OwnGuard }],
})
export class AppModule {}
`;
    const users = ['ada', 'twin', 'admin', 'admin', 'grace', 'grace', undefined, undefined];
    const { before, after } = await bothStatuses(
      source,
      users.map((user) => ['/cats', user]),
    );
    expect(before).toEqual([200, 420, 200, 200, 200, 420, 200, 420]);
    expect(after).toEqual(before);
  });

  it('limits handlers with a guard only, and ignores user agents and conditions', async () => {
    const source = `${HEAD}
@Controller()
class CatsController {
  @UseGuards(ThrottlerGuard)
  @Get('cats')
  cats() {}

  @Throttle({ default: { limit: 1 } })
  @Get('dogs')
  dogs() {}
}

@Module({
  imports: [
    ThrottlerModule.forRoot({
      throttlers: [{ ttl: minutes(1), limit: 1 }],
      skipIf: (context) => context.switchToHttp().getRequest().headers['x-user'] === 'admin',
      ignoreUserAgents: [/no-agent/],
    }),
  ],
  controllers: [CatsController],
})
export class AppModule {}
`;
    const calls: Call[] = [...times(2, '/cats'), ...times(2, '/dogs'), ...times(2, '/cats', 'admin')];
    const { before, after } = await bothStatuses(source, calls);
    expect(before).toEqual([200, 429, 200, 200, 200, 200]);
    expect(after).toEqual(before);
  });
});

/** Names of throttlers, among them one that the module does not have. */
const name = fc.constantFrom('default', 'short', 'unknown');
const limit = fc.integer({ min: 1, max: 3 });
const override = fc.record({ limit, ttl: fc.constantFrom('minutes(1)', '120_000') }, { requiredKeys: [] });
const throttle = fc.dictionary(name, override, { minKeys: 1, maxKeys: 2 }).map((options) => {
  const fields = Object.entries(options).map(
    ([key, fieldsOf]) =>
      `${key}: { ${Object.entries(fieldsOf)
        .map(([field, value]) => `${field}: ${value}`)
        .join(', ')} }`,
  );
  return `@Throttle({ ${fields.join(', ')} })`;
});
const skip = fc.oneof(
  fc.constant('@SkipThrottle()'),
  fc.dictionary(name, fc.boolean(), { minKeys: 1, maxKeys: 2 }).map(
    (options) =>
      `@SkipThrottle({ ${Object.entries(options)
        .map(([key, value]) => `${key}: ${value}`)
        .join(', ')} })`,
  ),
);
const decorators = fc
  .array(fc.oneof(throttle, skip), { maxLength: 2 })
  .map((list) => list.map((each) => `${each}\n`).join(''));
const guard = fc.constantFrom('global', 'class', 'method');

const application = fc
  .record({
    names: fc.subarray(['default', 'short'], { minLength: 1 }),
    limits: fc.tuple(limit, limit),
    guard,
    ofClass: decorators,
    ofMethods: fc.tuple(decorators, decorators, fc.constant('')),
  })
  .map(({ names, limits, guard, ofClass, ofMethods }) => {
    const throttlers = names.map(
      (each, i) => `{ ${each === 'default' ? '' : `name: '${each}', `}ttl: minutes(1), limit: ${limits[i]} }`,
    );
    const bound = '@UseGuards(ThrottlerGuard)\n';
    const methods = ofMethods.map(
      (each, i) => `${each}${guard === 'method' && i > 0 ? bound : ''}@Get('${'abc'[i]}')\n${'abc'[i]}() {}\n`,
    );
    return `${HEAD}
${ofClass}${guard === 'class' ? bound : ''}@Controller()
class CatsController {
${methods.join('\n')}
}

@Module({
  imports: [ThrottlerModule.forRoot([${throttlers.join(', ')}])],
  controllers: [CatsController],
  providers: [${guard === 'global' ? '{ provide: APP_GUARD, useClass: ThrottlerGuard }' : ''}],
})
export class AppModule {}
`;
  });

describe('Any combination of decorators, throttlers and guards', () => {
  it('is converted, and answers like before', async () => {
    await fc.assert(
      fc.asyncProperty(
        application,
        fc.array(fc.constantFrom<Call>(['/a'], ['/b'], ['/c']), { minLength: 12, maxLength: 16 }),
        async (source, calls) => {
          const { migration, before, after } = await bothStatuses(source, calls);
          expect(migration.isBlocked).toBe(false);
          expect(migration.texts['app.ts']).not.toMatch(/@nestjs\/throttler'|import .*Thrott/);
          expect(after).toEqual(before);
        },
      ),
      { numRuns: 60 },
    );
  });
});
