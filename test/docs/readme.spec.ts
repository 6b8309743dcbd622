import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { afterEach, describe, expect, it } from '@jest/globals';
import { type INestApplication, Module, type Type } from '@nestjs/common';
import { RateLimitModule } from 'nest-rate-limit';
import request, { type Response } from 'supertest';
import { NestFactory, run, snippetIn } from '../support/pages.js';
import { snippetsOf } from '../support/snippets.js';

let app: INestApplication | undefined;
afterEach(() => app?.close());

describe('README examples', () => {
  it('quote the figures of the benchmark page', () => {
    execFileSync(process.execPath, ['scripts/speed.mjs', '--check'], { stdio: 'pipe' });
  });

  it('fit into 200 lines', () => {
    expect(readFileSync('README.md', 'utf8').split('\n').length).toBeLessThanOrEqual(200);
  });
});

/** The 429 responses that pages print, with the path and the module options that lead to them. */
const responses = [
  { page: 'README.md', section: 'Use', index: 0, options: {} },
  { page: 'docs/quickstart.md', section: 'Limit a handler', index: 0, options: {} },
  { page: 'docs/guides/responses.md', section: '', index: 0, options: {} },
  { page: 'docs/guides/responses.md', section: '', index: 1, options: { problemDetails: true } },
];

describe('Printed 429 response', () => {
  it.each(responses)('is sent: $page, number $index', async ({ page, section, index, options }) => {
    const [of, name] = section ? [page, section] : ['README.md', 'Use'];
    const { AppController } = (await run(snippetIn(of, name, 0))) as { AppController: Type };
    @Module({ imports: [RateLimitModule.forRoot(options)], controllers: [AppController] })
    class AppModule {}
    app = await NestFactory.create(AppModule);
    await app.init();
    const get = () => request(app?.getHttpServer()).get('/limited');
    expect([(await get()).status, (await get()).status]).toEqual([200, 200]);
    const printed = snippetsOf(page).filter(({ language }) => language === 'http');
    expectResponse(await get(), printed[index].code);
    expect((await request(app.getHttpServer()).get('/elsewhere')).status).toBe(404);
  });
});

/** Compares a response with one printed in the README. */
function expectResponse(response: Response, printed: string): void {
  const [head, body] = printed.split('\n\n');
  const [status, ...headers] = head.split('\n');
  expect(status).toContain(` ${response.status} `);
  for (const header of headers) {
    const [name, value] = header.split(': ');
    expect([name, response.headers[name.toLowerCase()]]).toEqual([name, value]);
  }
  expect(JSON.parse(response.text)).toEqual(JSON.parse(body));
}
