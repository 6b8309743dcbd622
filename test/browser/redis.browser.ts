import { afterAll, beforeAll, describe, expect, it, jest } from '@jest/globals';
import type { NestExpressApplication } from '@nestjs/platform-express';
import type { Browser } from 'playwright-core';
import { openChromium } from '../support/chromium.js';
import { LivePage, startApp } from '../support/live-page.js';
import { startRedis } from '../support/redis.js';

jest.setTimeout(300_000);

const { REDIS_URL } = process.env;
let redis: Awaited<ReturnType<typeof startRedis>>;
let browser: Browser;
let app: NestExpressApplication;
let page: LivePage;
beforeAll(async () => {
  browser = await openChromium();
  redis = await startRedis();
  process.env.REDIS_URL = redis.url;
  app = await startApp();
  page = await LivePage.open(browser, app);
});
afterAll(async () => {
  await page?.close();
  await app?.close();
  if (REDIS_URL === undefined) delete process.env.REDIS_URL;
  else process.env.REDIS_URL = REDIS_URL;
  await redis?.stop();
  await browser?.close();
});

const status = (text: string) => page.tab.locator('#status', { hasText: text }).waitFor();

describe('Live page with the Redis store', () => {
  it('makes every control reachable and usable with the keyboard', async () => {
    const reached: string[] = [];
    for (let i = 0; i < 7; i++) {
      await page.tab.keyboard.press('Tab');
      reached.push(String(await page.tab.evaluate('document.activeElement.id')));
    }
    expect(reached).toEqual(['pause', 'route', 'one', 'burst', 'flood', 'buckets', 'log']);
    await page.tab.locator('#pause').focus();
    await page.tab.keyboard.press('Space');
    await status('Redis is paused: decisions are local');
    await page.tab.keyboard.press('Space');
    await status('Buckets are in Redis');
  });

  it('shows degraded decisions while Redis is paused, and recovers afterwards', async () => {
    await page.choose('GET /limited');
    await page.tab.getByLabel('Pause Redis').check();
    await status('Redis is paused');
    await page.click('Burst of 30');
    await page.until(async () => (await page.count('degraded')) === 2);
    await page.logged('decided locally');
    expect(await page.text('#status')).toBe('Redis is paused: decisions are local');
    await page.screenshot('paused');
    expect(await page.violations()).toEqual([]);
    await page.tab.getByLabel('Pause Redis').uncheck();
    await status('Buckets are in Redis');
    await page.logged('Redis responds');
    await page.click('One request');
    await page.until(async () => (await page.count('allowed')) === 1);
    await page.click('Burst of 30');
    await page.logged('cached');
    // Commands abandoned during the pause took nothing afterwards.
    expect(await page.count('allowed')).toBe(2);
    expect(await page.count('degraded')).toBe(2);
  });

  it('shows a pause to every browser, also to one that connects during it', async () => {
    await page.tab.getByLabel('Pause Redis').check();
    await status('Redis is paused');
    const other = await LivePage.open(browser, app);
    expect(await other.text('#status')).toBe('Redis is paused: decisions are local');
    expect(await other.tab.getByLabel('Pause Redis').isChecked()).toBe(true);
    await other.tab.getByLabel('Pause Redis').uncheck();
    await status('Buckets are in Redis');
    expect(await page.tab.getByLabel('Pause Redis').isChecked()).toBe(false);
    await other.close();
  });

  it('shows that Redis does not respond when it has stopped', async () => {
    await redis.stop();
    await page.choose('GET /api/ping');
    await page.click('Flood for 5 s');
    await status('Redis does not respond: decisions are local');
    expect(await page.tab.getByLabel('Pause Redis').isChecked()).toBe(false);
    const other = await LivePage.open(browser, app);
    expect(await other.text('#status')).toBe('Redis does not respond: decisions are local');
    await other.close();
  });
});
