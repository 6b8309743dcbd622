import { channel } from 'node:diagnostics_channel';
import { createServer } from 'node:http';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, jest } from '@jest/globals';
import type { NestExpressApplication } from '@nestjs/platform-express';
import type { Browser } from 'playwright-core';
import { openChromium } from '../support/chromium.js';
import { LivePage, startApp } from '../support/live-page.js';

const LIMITED = 'HelloController.limited';
// Installing Chromium may take minutes.
jest.setTimeout(300_000);

let browser: Browser;
beforeAll(async () => {
  browser = await openChromium();
});
afterAll(() => browser?.close());

let app: NestExpressApplication;
let page: LivePage;
beforeEach(async () => {
  app = await startApp();
  page = await LivePage.open(browser, app);
});
afterEach(async () => {
  await page?.close();
  await app?.close();
});

describe('Requests sent from the page', () => {
  it('empty the bucket; rejections are counted, Retry-After counts down, and the bucket refills', async () => {
    await page.choose('GET /limited');
    await page.click('Burst of 30');
    await page.until(async () => (await page.count('rejected')) === 28);
    await page.until(async () =>
      / 30 sent, (?=.*\b2\s×\s200)(?=.*\b28\s×\s429)/.test(await page.text('#announcement')),
    );
    expect(await page.text('#result')).toBe(await page.text('#announcement'));
    expect(await page.count('allowed')).toBe(2);
    expect(await page.level(LIMITED)).toBeLessThan(1);
    expect(await page.text('#log li')).toMatch(/^rejected × 28 HelloController.limited/);
    const left = await page.retryAfter();
    expect(left).toBeGreaterThan(1);
    await page.until(async () => (await page.retryAfter()) < left);
    await page.until(async () => (await page.level(LIMITED)) === 2);
    await page.until(async () => (await page.tile(LIMITED).locator('small').textContent()) === 'full');
    await page.until(async () => (await page.retryAfter()) === 0);
    await page.click('One request');
    await page.until(async () => (await page.count('allowed')) === 3);
  });

  it('show the headers of the last response with each status', async () => {
    await page.choose('GET /limited');
    await page.click('Burst of 30');
    await page.until(async () => (await page.tab.locator('#responses dt').count()) === 2);
    expect(await page.tab.locator('#responses .allowed > *').allTextContents()).toEqual([
      '200 OK',
      `RateLimit-Policy: "${LIMITED}";q=2;w=10`,
      expect.stringContaining(`RateLimit: "${LIMITED}";r=`),
    ]);
    expect(await page.tab.locator('#responses .rejected > *').allTextContents()).toEqual([
      '429 Too Many Requests',
      `RateLimit-Policy: "${LIMITED}";q=2;w=10`,
      expect.stringContaining(`RateLimit: "${LIMITED}";r=0;t=`),
      expect.stringMatching(/^Retry-After: \d+$/),
    ]);
  });

  it('show the responses to the last click, while those to an earlier one arrive', async () => {
    await page.choose('GET /queue');
    await page.click('Burst of 5');
    await page.until(async () => (await page.count('queued')) === 4);
    await page.choose('GET /api/ping');
    await page.click('One request');
    await page.logged('admitted');
    expect(await page.text('#result')).toMatch(/^GET \/api\/ping: 1 sent, 1\s×\s200$/);
  });

  it('are chat messages, too, with their rejections', async () => {
    await page.choose('WebSocket /chat');
    await page.click('Burst of 30');
    await page.until(async () => /5\s×\ssaid, 25\s×\srejected$/.test(await page.text('#announcement')));
    await page.until(async () => (await page.count('rejected')) === 25);
    expect(await page.text('#responses .rejected')).toMatch('message: Too many messages');
    expect(await page.retryAfter()).toBeLessThanOrEqual(1);
  });

  it.each([
    ['POST /graphql', 'BooksResolver', 9],
    ['PUT /documents/7', 'DocumentsController', 15],
    ['GET /quotes', 'free', 9],
    ['GET /quotes with a premium key', 'premium', 999],
    ['POST /sms', 'SmsController.send', 19],
  ])('show what remains after %s in the bucket %s', async (route, policy, left) => {
    await page.choose(route);
    await page.click('One request');
    await page.logged(`${left} of`);
    expect(await page.text('#log li')).toMatch(`allowed ${policy} ${left} of`);
    await page.until(async () => (await page.tile(policy).getAttribute('data-state')) !== 'unknown');
  });
});

describe('The events of the page', () => {
  /** Stops the app while the page is open. Returns its port. */
  async function stopApp(): Promise<number> {
    const port = Number(new URL(await app.getUrl()).port);
    const closed = app.close();
    await page.tab.locator('#status', { hasText: 'Disconnected from the app; reconnecting' }).waitFor();
    app.getHttpServer().closeAllConnections(); // Chromium keeps unused ones open
    await closed;
    return port;
  }

  it('contain no client identifiers, and end when the last browser disconnects', async () => {
    const events = await page.tab.evaluate(`new Promise((resolve) => {
      const source = new EventSource('/events');
      source.addEventListener('decisions', ({ data }) => { source.close(); resolve(data); });
      source.addEventListener('store', () => fetch('/mail', { method: 'POST', body: new URLSearchParams({ to: 'ada@example.com' }) }));
    })`);
    const [message] = JSON.parse(String(events)) as object[];
    expect(message).toMatchObject({ policy: 'mail', remaining: 4, limit: 5 });
    expect(String(events)).not.toMatch(/ada|example|key/);
    const decisions = channel('nest-rate-limit:decision');
    expect(decisions.hasSubscribers).toBe(true);
    await page.tab.goto('about:blank');
    await page.until(async () => !decisions.hasSubscribers);
  });

  it('are received again after the app restarts, with all buckets unknown until their next decision', async () => {
    await page.click('Burst of 30');
    await page.until(async () => / 30 sent/.test(await page.text('#announcement')));
    const port = await stopApp();
    expect(await page.tab.getByLabel('Pause Redis').isDisabled()).toBe(true);
    expect(await page.tile('api').getAttribute('data-state')).toBe('unknown');
    expect(await page.text('#chosen p')).toMatch(/^– of 5/);
    await page.screenshot('disconnected');
    app = await startApp(port);
    await page.tab.locator('#status', { hasText: 'Buckets are in memory' }).waitFor();
    await page.click('One request');
    await page.until(async () => (await page.tile('api').getAttribute('data-state')) !== 'unknown');
    expect(await page.level('api')).toBeGreaterThanOrEqual(4);
    expect(await page.tab.getByRole('meter').count()).toBe(14);
  });

  it('are received again after a proxy has answered 502 in place of the app', async () => {
    const port = await stopApp();
    const proxy = createServer((_, response) => response.writeHead(502).end()).listen(port, '127.0.0.1');
    await new Promise((asked) => proxy.once('request', asked));
    proxy.closeAllConnections();
    await new Promise((closed) => proxy.close(closed));
    app = await startApp(port);
    await page.tab.locator('#status', { hasText: 'Buckets are in memory' }).waitFor();
  });

  it('cannot inject HTML: names are text, and the browser parses no strings', async () => {
    const policy = '<img src=x onerror=alert(1)>';
    channel('nest-rate-limit:decision').publish({
      ...{ policy, key: 'a', allowed: true, source: 'store', delay: 0, retryAfter: 0, transport: 'http' },
      ...{ remaining: 1, limit: 2, resetAfter: 1000, dryRun: false },
    });
    await page.logged(policy);
    expect(await page.tile(policy).locator('h3').textContent()).toBe(policy);
    expect(await page.tab.locator('img').count()).toBe(0);
    const parse = page.tab.evaluate('document.body.insertAdjacentHTML("beforeend", "<b>")');
    await expect(parse).rejects.toThrow('TrustedHTML');
    page.errors.length = 0; // the browser has logged the attempt
  });

  it('fill at most 24 tiles, and leave one for each policy of the routes', async () => {
    await page.click('One request');
    await page.logged('api');
    for (let i = 0; i < 40; i++) {
      await fetch(`${await app.getUrl()}/mail`, { method: 'POST', body: new URLSearchParams({ to: `${i}@b.c` }) });
    }
    await page.until(async () => (await page.count('allowed')) === 41);
    expect(await page.tab.getByRole('meter').count()).toBe(24);
    expect(await page.tile('api').count()).toBe(1);
  });
});
