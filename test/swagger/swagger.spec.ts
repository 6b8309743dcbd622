import { afterEach, describe, expect, it } from '@jest/globals';
import { Body, Controller, Get, HttpCode, type INestApplication, Module, Post, type Type } from '@nestjs/common';
import {
  ApiCreatedResponse,
  ApiProperty,
  ApiTooManyRequestsResponse,
  DocumentBuilder,
  type OpenAPIObject,
  SwaggerModule,
} from '@nestjs/swagger';
import { Validator } from '@seriousme/openapi-schema-validator';
import { RateLimit, RateLimitModule, type RateLimitModuleOptions, SkipRateLimit } from 'nest-rate-limit';
import { ApiRateLimit } from 'nest-rate-limit/swagger';
import { createApp } from '../support/create-app.js';

const ONE = { capacity: 1, refill: 1 } as const;

class Dto {
  @ApiProperty({ type: String })
  text = '';
}

@Controller('methods')
class MethodsController {
  @RateLimit(ONE)
  @Get('limited')
  limited() {}

  @RateLimit({ ...ONE, message: 'Slowly' })
  @HttpCode(202)
  @Post('accepted')
  accepted(@Body() body: Dto) {
    return body;
  }

  @ApiCreatedResponse({ type: Dto })
  @RateLimit({ ...ONE, message: { code: 'SLOWLY' } })
  @Post('documented')
  documented() {}

  @ApiTooManyRequestsResponse({ description: 'mine' })
  @RateLimit(ONE)
  @Get('own')
  own() {}

  @RateLimit(ONE)
  @ApiTooManyRequestsResponse({ description: 'mine' })
  @Get('own-below')
  ownBelow() {}

  @RateLimit({ ...ONE, dryRun: true })
  @Get('trial')
  trial() {}

  @RateLimit({ ...ONE, skip: true })
  @Get('skipped')
  skipped() {}

  @ApiRateLimit(false)
  @RateLimit(ONE)
  @Get('secret')
  secret() {}

  @ApiRateLimit({ description: 'The printer is busy', schema: { type: 'string' } })
  @Post('manual')
  manual() {}

  @RateLimit('named')
  @Get('named')
  named() {}

  @RateLimit(() => 'named')
  @Get('resolved')
  resolved() {}

  @Get('free')
  free() {}
}

@RateLimit(ONE)
@Controller('class')
class ClassController {
  @Get('one')
  one() {}

  @ApiTooManyRequestsResponse({ description: 'mine' })
  @Get('two')
  two() {}
}

@RateLimit(ONE)
@Controller('mixed')
class MixedController {
  // As the compiler plugin of the package writes it.
  static _OPENAPI_METADATA_FACTORY() {
    return { list: { summary: 'All of them', type: [Dto] }, one: { type: Dto }, free: { type: Dto } };
  }

  @Get()
  list(): Dto[] {
    return [];
  }

  @Get('one')
  one(): Dto {
    return new Dto();
  }

  @SkipRateLimit()
  @Get('free')
  free(): Dto {
    return new Dto();
  }
}

@ApiTooManyRequestsResponse({ description: 'of the class' })
@Controller('class-own')
class ClassOwnController {
  @RateLimit(ONE)
  @Get()
  one() {}
}

class Base {
  @Get('list')
  list() {}
}

@RateLimit(ONE)
@Controller('limited-child')
class LimitedChild extends Base {}

@Controller('free-child')
class FreeChild extends Base {}

@SkipRateLimit()
@Controller('skipped-child')
class SkippedChild extends LimitedChild {}

const ALL = [
  MethodsController,
  ClassController,
  MixedController,
  ClassOwnController,
  LimitedChild,
  FreeChild,
  SkippedChild,
];

const apps: INestApplication[] = [];
afterEach(async () => {
  for (const app of apps.splice(0)) await app.close();
});

async function documentOf(controllers: Type[], options?: RateLimitModuleOptions): Promise<OpenAPIObject> {
  const policies = { named: { ...ONE, message: 'By name' } };
  const imports = options ? [RateLimitModule.forRoot({ policies, ...options })] : [];
  const app = await createApp('express', { imports, controllers });
  apps.push(app);
  return checked(SwaggerModule.createDocument(app, new DocumentBuilder().build()));
}

/** The document, which an independent validator finds right. */
async function checked(document: OpenAPIObject): Promise<OpenAPIObject> {
  const { valid, errors } = await new Validator().validate(JSON.parse(JSON.stringify(document)));
  expect({ valid, errors }).toEqual({ valid: true, errors: undefined });
  return document;
}

type Responses = Record<string, { description?: string; headers?: object; content?: Record<string, object> }>;

function responsesOf(document: OpenAPIObject): Record<string, Responses> {
  return Object.fromEntries(
    Object.entries(document.paths).map(([path, item]) => [
      path,
      (item.get ?? item.post)?.responses as unknown as Responses,
    ]),
  );
}

const PLAIN = (message = 'Too Many Requests') => ({
  description: expect.stringContaining('`Retry-After`'),
  headers: {
    'Retry-After': { description: expect.any(String), schema: { type: 'integer', minimum: 1 } },
    RateLimit: { description: expect.any(String), schema: { type: 'string' } },
    'RateLimit-Policy': { description: expect.any(String), schema: { type: 'string' } },
  },
  content: {
    'application/json': {
      schema: {
        type: 'object',
        required: ['statusCode', 'message'],
        properties: {
          statusCode: { type: 'integer', example: 429 },
          message: { type: 'string', example: message },
        },
      },
    },
  },
});

describe('the OpenAPI document of @nestjs/swagger', () => {
  it('tells the refusals of limited handlers, and else what it would tell anyway', async () => {
    const before = responsesOf(await documentOf([MethodsController]));
    const after = responsesOf(await documentOf([MethodsController], {}));
    const refusals = Object.fromEntries(Object.entries(after).map(([path, all]) => [path.split('/')[2], all[429]]));
    expect(refusals).toEqual({
      limited: PLAIN(),
      accepted: PLAIN('Slowly'),
      documented: { ...PLAIN(), content: { 'application/json': { schema: { type: 'object' } } } },
      own: { description: 'mine' },
      'own-below': { description: 'mine' },
      trial: undefined,
      skipped: undefined,
      secret: undefined,
      manual: { description: 'The printer is busy', content: { 'application/json': { schema: { type: 'string' } } } },
      named: PLAIN('By name'),
      resolved: PLAIN(),
      free: undefined,
    });
    const others = (all: Record<string, Responses>) =>
      Object.fromEntries(Object.entries(all).map(([path, { 429: _, ...rest }]) => [path, rest]));
    expect(others(after)).toEqual(others(before));
    expect(Object.keys(after['/methods/accepted'])).toEqual(['202', '429']);
  });

  it('tells a class as its handlers, but not those that are skipped, and what the compiler plugin found', async () => {
    const before = responsesOf(await documentOf([MixedController]));
    const after = responsesOf(await documentOf(ALL, {}));
    expect(after['/class/one']).toEqual({ 200: { description: '' }, 429: PLAIN() });
    expect(after['/class/two'][429]).toEqual({ description: 'mine' });
    expect(after['/mixed']).toEqual({ ...before['/mixed'], 429: PLAIN() });
    expect(after['/mixed/one']).toEqual({ ...before['/mixed/one'], 429: PLAIN() });
    expect(JSON.stringify(after['/mixed'])).toContain('"items":{"$ref":"#/components/schemas/Dto"}');
    expect(after['/mixed/free']).toEqual(before['/mixed/free']);
    expect(after['/class-own'][429]).toEqual({ description: 'of the class' });
  });

  it('tells inherited handlers class by class', async () => {
    const after = responsesOf(await documentOf(ALL, {}));
    expect(after['/limited-child/list']).toEqual({ 200: { description: '' }, 429: PLAIN() });
    expect(after['/free-child/list']).toEqual({ 200: { description: '' } });
    expect(after['/skipped-child/list']).toEqual({ 200: { description: '' } });
  });

  it('tells the headers and the body that the options choose, and those of a default policy', async () => {
    const options = { headers: ['draft-6', 'legacy'], problemDetails: true, default: ONE } as const;
    const after = responsesOf(await documentOf([MethodsController], options));
    const { headers = {}, content = {} } = after['/methods/free'][429];
    expect(Object.keys(headers)).toEqual([
      'Retry-After',
      ...['RateLimit', 'X-RateLimit'].flatMap((name) => [`${name}-Limit`, `${name}-Remaining`, `${name}-Reset`]),
    ]);
    expect(Object.keys(content)).toEqual(['application/problem+json']);
    expect(JSON.stringify(content)).toContain('violated-policies');
    const none = responsesOf(await documentOf([MethodsController], { headers: false }));
    expect(Object.keys(none['/methods/limited'][429].headers ?? {})).toEqual(['Retry-After']);
    expect(none['/methods/free'][429]).toBeUndefined();
  });

  it('tells the policies of features as well', async () => {
    @Controller('features')
    class FeatureController {
      @RateLimit('feature')
      @Get('one')
      one() {}

      @RateLimit('trial')
      @Get('trial')
      trial() {}
    }
    const feature = RateLimitModule.forFeature({
      feature: { ...ONE, message: 'A feature' },
      trial: { ...ONE, dryRun: true },
    });
    @Module({ imports: [feature], controllers: [FeatureController] })
    class FeatureModule {}
    const app = await createApp('express', { imports: [FeatureModule, RateLimitModule.forRoot()] });
    apps.push(app);
    const responses = responsesOf(await checked(SwaggerModule.createDocument(app, new DocumentBuilder().build())));
    expect(responses['/features/one'][429]).toEqual(PLAIN('A feature'));
    expect(responses['/features/trial']).toEqual({ 200: { description: '' } });
  });

  it('tells the refusals of a handler that a decorator above `@RateLimit` has wrapped', async () => {
    const wrap: MethodDecorator = (_target, _property, descriptor: PropertyDescriptor) => {
      const { value } = descriptor;
      descriptor.value = (...args: unknown[]) => value(...args);
    };
    @Controller('wrapped')
    class WrappedController {
      @Get()
      @wrap
      @RateLimit(ONE)
      one() {}
    }
    const responses = responsesOf(await documentOf([WrappedController], {}));
    expect(responses['/wrapped'][429]).toEqual(PLAIN('Too Many Requests'));
  });
});
