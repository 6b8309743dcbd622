import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import {
  type ArgumentsHost,
  Catch,
  Controller,
  type ExceptionFilter,
  type ExecutionContext,
  Get,
  HttpException,
  type INestApplication,
  UseFilters,
  UseGuards,
} from '@nestjs/common';
import { SuspendableGuard, type SuspendableRequestContext } from 'nest-rate-limit';
import request from 'supertest';
import { ADAPTERS, createApp } from '../support/create-app.js';

type Action = 'pass' | 'abort' | 'resume-now' | 'resume-later' | 'abort-now' | 'abort-later' | 'fail-late' | 'throw';

interface Scenario {
  readonly id: string;
  readonly filters: readonly Action[];
  readonly mapped?: boolean;
  readonly expect: {
    readonly answer: string;
    readonly status: number;
    readonly ran: readonly number[];
    readonly handlerRuns: number;
    readonly waited: readonly number[];
  };
}

const { scenarios } = JSON.parse(readFileSync('test/vectors/suspendable-request.json', 'utf8')) as {
  scenarios: Scenario[];
};

class PlainError extends Error {}

let current: Scenario;
let ran: number[] = [];
let waited: number[] = [];
let handlerRuns = 0;

abstract class Filter extends SuspendableGuard {
  protected abstract readonly number: number;

  override canActivate(execution: ExecutionContext): boolean | Promise<boolean> {
    const activates = super.canActivate(execution);
    if (activates instanceof Promise) waited.push(this.number);
    else expect(activates).toBe(true);
    return activates;
  }

  protected filter(context: SuspendableRequestContext): void {
    const { number } = this;
    const error = () => new HttpException(`Filter${number}`, 418);
    ran.push(number);
    switch (current.filters[number - 1]) {
      case 'abort':
        expect(context.abortWith(error())).toBe(true);
        return;
      case 'resume-now':
        expect(context.suspend().resume()).toBe(true);
        return;
      case 'abort-now':
        expect(context.suspend().abortWith(error())).toBe(true);
        return;
      case 'resume-later':
        context.suspend();
        setImmediate(() => context.resume());
        return;
      case 'abort-later': {
        const suspension = context.suspend();
        setImmediate(() => suspension.abortWith(error()));
        return;
      }
      case 'fail-late':
        context.suspend();
        setImmediate(() => context.fail(new PlainError('late')));
        return;
      case 'throw':
        throw new PlainError('thrown');
    }
  }
}

class Filter1 extends Filter {
  protected readonly number = 1;
}
class Filter2 extends Filter {
  protected readonly number = 2;
}
class Filter3 extends Filter {
  protected readonly number = 3;
}

@Catch(PlainError)
class PlainErrorFilter implements ExceptionFilter {
  catch(error: PlainError, host: ArgumentsHost) {
    if (!current.mapped) throw error;
    const response = host.switchToHttp().getResponse<{ status(code: number): { send(body: string): void } }>();
    response.status(202).send('exception was mapped');
  }
}

@UseGuards(Filter1, Filter2, Filter3)
@Controller()
class Resource {
  @Get('plain')
  plain() {
    handlerRuns++;
    return 'handler';
  }

  @UseFilters(PlainErrorFilter)
  @Get('mapped')
  mapped() {
    return this.plain();
  }
}

describe.each(ADAPTERS)('Three SuspendableGuards in a row on %s', (adapter) => {
  let app: INestApplication;
  beforeAll(async () => {
    app = await createApp(adapter, { controllers: [Resource] });
  });
  beforeEach(() => {
    ran = [];
    waited = [];
    handlerRuns = 0;
  });
  afterAll(() => app.close());

  it('loads at least 20 scenarios', () => expect(scenarios.length).toBeGreaterThanOrEqual(20));

  it.each(scenarios)('runs scenario $id: $filters', async (scenario) => {
    current = scenario;
    const { status, text } = await request(app.getHttpServer()).get(scenario.mapped ? '/mapped' : '/plain');
    const answers: Record<string, string> = { mapped: 'exception was mapped' };
    const { answer } = scenario.expect;
    if (answer === 'error') expect(JSON.parse(text)).toMatchObject({ statusCode: 500 });
    else if (answer.startsWith('Filter')) expect(JSON.parse(text)).toEqual({ statusCode: 418, message: answer });
    else expect(text).toBe(answers[answer] ?? answer);
    expect({ answer, status, ran, handlerRuns, waited }).toEqual(scenario.expect);
  });
});
