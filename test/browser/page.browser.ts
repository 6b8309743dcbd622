import { channel } from 'node:diagnostics_channel';
import { createRequire } from 'node:module';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, jest } from '@jest/globals';
import type { NestExpressApplication } from '@nestjs/platform-express';
import { Test } from '@nestjs/testing';
import type { Browser, Locator, Page } from 'playwright-core';
import { AppModule } from '../../sample-app/app.module.js';
import { setUp } from '../../sample-app/setup.js';
import { openChromium } from '../support/chromium.js';
import { startRedis } from '../support/redis.js';

const { source: AXE } = createRequire(import.meta.url)('axe-core') as { source: string };
/** Chromium logs each rejected request to the console. */
const REJECTED_REQUEST = /^Failed to load resource: the server responded with a status of (429|401)/;
const LIMITED = 'HelloController.limited';
const WIDE = { width: 1200, height: 900 };
// Installing Chromium may take minutes.
jest.setTimeout(300_000);

let browser: Browser;
beforeAll(async () => {
  browser = await openChromium();
});
afterAll(() => browser?.close());

let app: NestExpressApplication;
let page: Page;
let consoleErrors: string[];

async function open(): Promise<void> {
  const module = await Test.createTestingModule({ imports: [AppModule] }).compile();
  app = module.createNestApplication<NestExpressApplication>({ logger: false });
  setUp(app);
  await app.listen(0, '127.0.0.1');
  page = await browser.newPage();
  page.setDefaultTimeout(15_000);
  consoleErrors = [];
  page.on('console', (message) => {
    if (['error', 'warning'].includes(message.type()) && !REJECTED_REQUEST.test(message.text()))
      consoleErrors.push(message.text());
  });
  page.on('pageerror', (error) => consoleErrors.push(error.message));
  await page.setViewportSize(WIDE);
  await page.emulateMedia({ colorScheme: 'light' });
  await page.goto(await app.getUrl());
  await page.locator('#status', { hasText: 'Live' }).waitFor();
}

async function close(): Promise<void> {
  await page?.close();
  await app?.close();
}

const button = (name: string) => page.getByRole('button', { name });
const choose = (label: string) => page.getByLabel('Route').selectOption({ label });
const levelOf = async (name: string) => Number(await page.getByRole('meter', { name }).getAttribute('aria-valuenow'));
const textOf = async (locator: Locator) => ((await locator.textContent()) ?? '').trim();
const countOf = async (kind: string) => Number(await textOf(page.locator(`#${kind}`)));
const retryAfter = async () => Number.parseInt(await textOf(page.locator('#retry b')), 10);
/** Polls `condition` until it holds or the test times out. */
const until = async (condition: () => Promise<boolean>) => {
  while (!(await condition())) await page.waitForTimeout(20);
};
/** Saves a screenshot when run as `SCREENSHOTS=folder npm run test:browser`. */
const screenshot = async (name: string, fullPage = true) => {
  const folder = process.env.SCREENSHOTS;
  if (folder) await page.screenshot({ path: `${folder}/${name}.png`, fullPage });
};

async function seriousViolations(): Promise<string[]> {
  await page.evaluate(AXE);
  const violations = await page.evaluate(
    `axe.run().then(({ violations }) => violations.map(({ id, impact, nodes }) =>
      [id, impact, ...nodes.map(({ html, failureSummary }) => html + failureSummary)]))`,
  );
  return (violations as string[][])
    .filter(([, impact]) => impact === 'serious' || impact === 'critical')
    .map((violation) => violation.join(' '));
}

describe('Live page with the memory store', () => {
  beforeEach(open);
  afterEach(close);

  it('shows a burst: the gauge empties, rejections are counted, Retry-After counts down, and the gauge refills', async () => {
    await choose('GET /limited');
    await button('Burst of 30').click();
    await page.locator('#result', { hasText: '30 sent' }).waitFor();
    await until(async () => (await countOf('refused')) === 28);
    expect(await textOf(page.locator('#result'))).toMatch(/^GET \/limited: 30 sent, 2\s×\s200, 28\s×\s429$/);
    expect(await countOf('allowed')).toBe(2);
    expect(await levelOf(LIMITED)).toBeLessThan(1);
    expect(await page.locator('#log li').first().textContent()).toMatch(/^refused × 28HelloController.limited/);
    await screenshot('burst');
    const left = await retryAfter();
    expect(left).toBeGreaterThan(1);
    await until(async () => (await retryAfter()) < left);
    await until(async () => (await levelOf(LIMITED)) === 2);
    await until(async () => /2 of 2\s*full/.test(await textOf(page.locator('#buckets li', { hasText: LIMITED }))));
    await until(async () => (await retryAfter()) === 0);
    await screenshot('after');
    await button('One request').click();
    await until(async () => (await countOf('allowed')) === 3);
    expect(consoleErrors).toEqual([]);
  });

  it('shows queued requests, and their turns during a flood', async () => {
    await choose('GET /queue');
    await button('Burst of 5').click();
    await until(async () => (await countOf('waited')) === 4);
    await choose('GET /api/ping');
    await button('Flood for 5 s').click();
    await page.locator('#log li', { hasText: 'its turn' }).first().waitFor();
    expect(consoleErrors).toEqual([]);
  });

  it('sends chat messages, and shows rejections', async () => {
    await choose('WebSocket /chat');
    await button('Burst of 30').click();
    await page.locator('#result', { hasText: '30 sent' }).waitFor();
    await until(async () => /5\s×\ssaid, 25\s×\srefused$/.test(await textOf(page.locator('#result'))));
    await until(async () => (await countOf('refused')) === 25);
    expect(await retryAfter()).toBeLessThanOrEqual(1);
    expect(consoleErrors).toEqual([]);
  });

  it.each([
    ['POST /graphql', 'BooksResolver', 9],
    ['PUT /documents/7', 'DocumentsController', 15],
    ['GET /quotes', 'free', 9],
    ['GET /quotes with a premium key', 'premium', 999],
    ['POST /sms', 'SmsController.send', 19],
  ])('shows what remains after %s in the bucket %s', async (route, policy, left) => {
    await choose(route);
    await button('One request').click();
    await page.locator('#log li', { hasText: `${left} of` }).waitFor();
    expect(await textOf(page.locator('#log li').first())).toMatch(`allowed${policy}${left} of`);
    const unknown = page.locator('#buckets li.unknown', { has: page.getByRole('meter', { name: policy }) });
    await until(async () => (await unknown.count()) === 0);
    expect(consoleErrors).toEqual([]);
  });

  it('fits narrow screens', async () => {
    for (const width of [320, 390]) {
      await page.setViewportSize({ width, height: 800 });
      await button('Burst of 30').click();
      await page.locator('#log li.refused').first().waitFor();
      expect(await page.evaluate('document.documentElement.scrollWidth')).toBeLessThanOrEqual(width);
    }
    await screenshot('narrow');
  });

  it('has no serious accessibility violations in light or dark mode', async () => {
    await button('Burst of 30').click();
    await page.locator('#log li.refused').first().waitFor();
    expect(await seriousViolations()).toEqual([]);
    await page.emulateMedia({ colorScheme: 'dark' });
    expect(await seriousViolations()).toEqual([]);
    await screenshot('dark');
  });

  it('explains why Redis cannot be paused', async () => {
    expect(await page.getByLabel('Pause Redis').isDisabled()).toBe(true);
    expect(await textOf(page.locator('#why'))).toMatch(/^Not possible: the buckets are in memory/);
  });

  it('publishes no client identifiers, and unsubscribes when the last browser disconnects', async () => {
    const events = await page.evaluate(`new Promise((resolve) => {
      const source = new EventSource('/events');
      source.addEventListener('decisions', ({ data }) => { source.close(); resolve(data); });
      source.addEventListener('redis', () => fetch('/mail', { method: 'POST', body: new URLSearchParams({ to: 'ada@example.com' }) }));
    })`);
    const [message] = JSON.parse(String(events)) as object[];
    expect(message).toMatchObject({ policy: 'mail', remaining: 4, limit: 5 });
    expect(String(events)).not.toMatch(/ada|example|key/);
    const decisions = channel('nest-rate-limit:decision');
    expect(decisions.hasSubscribers).toBe(true);
    await page.goto('about:blank');
    await until(async () => !decisions.hasSubscribers);
  });
});

describe('Live page with the Redis store', () => {
  let redis: Awaited<ReturnType<typeof startRedis>>;
  const { REDIS_URL } = process.env;
  beforeAll(async () => {
    redis = await startRedis();
    process.env.REDIS_URL = redis.url;
    await open();
  });
  afterAll(async () => {
    await close();
    if (REDIS_URL === undefined) delete process.env.REDIS_URL;
    else process.env.REDIS_URL = REDIS_URL;
    await redis?.stop();
  });

  it('makes every control reachable and usable with the keyboard', async () => {
    const reached: string[] = [];
    for (let i = 0; i < 5; i++) {
      await page.keyboard.press('Tab');
      reached.push(String(await page.evaluate('document.activeElement.id')));
    }
    expect(reached).toEqual(['route', 'one', 'burst', 'flood', 'pause']);
    await page.keyboard.press('Space');
    await page.locator('#status', { hasText: 'Redis is paused' }).waitFor();
    await page.keyboard.press('Space');
    await page.locator('#status', { hasText: 'in Redis' }).waitFor();
  });

  it('shows degraded decisions while Redis is paused, and recovers afterwards', async () => {
    await choose('GET /limited');
    await page.getByLabel('Pause Redis').check();
    await page.locator('#status.paused').waitFor();
    await button('Burst of 30').click();
    await until(async () => (await countOf('degraded')) === 2);
    await page.locator('#log li', { hasText: 'decided in this process' }).first().waitFor();
    await page.locator('#log li', { hasText: 'does not answer' }).waitFor();
    await screenshot('paused');
    await page.getByLabel('Pause Redis').uncheck();
    await page.locator('#log li', { hasText: 'answers again' }).waitFor();
    await button('One request').click();
    await until(async () => (await countOf('allowed')) === 1);
    await button('Burst of 30').click();
    await page.locator('#log li', { hasText: 'from the cache of refusals' }).first().waitFor();
    // Commands abandoned during the pause took nothing afterwards.
    expect(await countOf('allowed')).toBe(2);
    expect(await countOf('degraded')).toBe(2);
    expect(consoleErrors).toEqual([]);
  });
});
