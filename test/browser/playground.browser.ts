import { existsSync } from 'node:fs';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, jest } from '@jest/globals';
import type { Browser, Page } from 'playwright-core';
import { accessibilityViolations } from '../support/accessibility.js';
import { openChromium } from '../support/chromium.js';
import { type StaticSite, serveSite } from '../support/static-site.js';

const SITE = 'build/docs';
const WIDE = { width: 1280, height: 900 };
// Installing Chromium may take minutes.
jest.setTimeout(300_000);

let browser: Browser;
let site: StaticSite;
beforeAll(async () => {
  if (!existsSync(`${SITE}/playground.html`)) throw new Error(`${SITE} has no playground: run \`npm run docs\` first`);
  browser = await openChromium();
  site = await serveSite(SITE);
});
afterAll(async () => {
  site?.close();
  await browser?.close();
});

let page: Page;
let consoleErrors: string[];
let foreign: string[];
beforeEach(async () => {
  page = await browser.newPage({ viewport: WIDE, colorScheme: 'light' });
  page.setDefaultTimeout(15_000);
  consoleErrors = [];
  foreign = [];
  page.on('console', (message) => {
    if (['error', 'warning'].includes(message.type())) consoleErrors.push(message.text());
  });
  page.on('pageerror', (error) => consoleErrors.push(error.message));
  page.on('request', (request) => {
    if (!request.url().startsWith(site.url)) foreign.push(request.url());
  });
});
afterEach(async () => {
  await page?.close();
  expect({ consoleErrors, foreign }).toEqual({ consoleErrors: [], foreign: [] });
});

const open = async (hash = '') => {
  await page.goto(`${site.url}/playground.html${hash}`);
  await button('Play').waitFor();
};
const button = (name: string) => page.getByRole('button', { name, exact: true });
const policy = (name: string) => page.getByLabel(`Policy ${name}`, { exact: true }).and(page.locator('textarea'));
const part = (name: string) => page.getByRole('region', { name: `Policy ${name}`, exact: true });
const select = (name: string) => page.getByRole('combobox', { name, exact: true });
const choose = (label: string) => select('Requests').selectOption({ label });
const countOf = async (name: string, kind: string) => Number(await part(name).locator(`.${kind} dd`).textContent());
const countsOf = (name: string) => Promise.all(['admitted', 'queued', 'rejected'].map((kind) => countOf(name, kind)));
const levelOf = async (name: string) => Number(await part(name).getByRole('meter').getAttribute('aria-valuenow'));
const status = () => page.getByRole('status').textContent();
/** Saves a screenshot when run as `SCREENSHOTS=folder npm run test:browser`. */
const screenshot = async (name: string) => {
  const folder = process.env.SCREENSHOTS;
  if (folder) await page.screenshot({ path: `${folder}/playground-${name}.png`, fullPage: true });
};

describe('Playground', () => {
  it('answers clicks by the policy that was typed, with 429 and Retry-After', async () => {
    await open();
    await choose('only what I click');
    await policy('A').fill('{\n  maxRequest: 2,\n  unit: TimeUnit.MINUTES, // as in code\n}');
    await button('Send one').click();
    await part('A').getByText('HTTP/1.1 200 OK').waitFor();
    expect(await part('A').locator('.response').textContent()).toBe(
      [
        'HTTP/1.1 200 OK',
        'ratelimit-policy: "OrdersController.list";q=2;w=60',
        'ratelimit: "OrdersController.list";r=1;t=60',
      ].join('\n'),
    );
    await button('Send 10').click();
    await part('A').getByText('429 Too Many Requests').waitFor();
    expect(await part('A').locator('.response').textContent()).toContain('retry-after: 60');
    expect(await countsOf('A')).toEqual([2, 0, 9]);
    expect(await levelOf('A')).toBe(0);
    expect(await part('A').locator('li.empty').count()).toBe(1);
    expect(await status()).toContain('policy A: 2 admitted, 0 queued, 9 rejected');
    await screenshot('clicks');
    await button('Skip a minute').click();
    await part('A').locator('li:not(.empty)').waitFor();
    expect(await levelOf('A')).toBe(2);
  });

  it('shows the error of the library for an invalid policy, and recovers', async () => {
    await open();
    await policy('A').fill('{ maxRequst: 5 }');
    const error = part('A').locator('.error');
    await error.waitFor();
    expect(await error.textContent()).toBe(
      'Invalid @RateLimit on OrdersController.list: unknown option `maxRequst`. Did you mean `maxRequest`?',
    );
    expect(await policy('A').getAttribute('aria-invalid')).toBe('true');
    await policy('A').fill("{ maxRequest: 5, unit: 'secs' }");
    await error.getByText("got 'secs'").waitFor();
    await policy('A').fill('{ key: (c) => c.user, maxRequest: 5 }');
    await error.getByText('Line 1, column 8: expected a constant').waitFor();
    await policy('A').fill('{ maxRequest: 5, settle: "failures" }');
    await part('A').getByText('No effect here: settle').waitFor();
    expect(await error.count()).toBe(0);
  });

  it('plays, pauses and steps through a load, and compares policies', async () => {
    await open();
    await button('Play').click();
    await page.locator('.candidate .rejected .result').first().waitFor();
    await button('Pause').click();
    expect(await status()).toMatch(/policy A: 5 admitted, 0 queued, \d+ rejected; policy B: \d+ admitted/);
    await button('Reset').click();
    await button('Step').click();
    expect(await countsOf('A')).toEqual([1, 0, 0]);
    await button('Reset').click();
    await button('Skip a minute').click();
    expect(await countsOf('A')).toEqual([30, 0, 98]);
    expect(await countsOf('B')).toEqual([35, 0, 93]);
    await button('Compare another policy').click();
    await policy('C').fill('{ capacity: 5, refill: 5, duration: 10, maxWait: "4s" }');
    await part('C').locator('.queued .result').first().waitFor();
    const [admitted, queued, rejected] = await countsOf('C');
    expect([admitted + queued + rejected, queued > 0]).toEqual([128, true]);
    expect(await page.getByRole('img', { name: /^Plot of policy C over 1 min: / }).count()).toBe(1);
    await screenshot('compared');
    await button('Remove policy A').click();
    expect(await policy('A').inputValue()).toContain('capacity');
    expect(await countsOf('A')).toEqual([35, 0, 93]);
  });

  it('replays a pasted log', async () => {
    await open();
    await choose('an access log');
    const line = (second: number, client: string) =>
      `${client} - - [10/Oct/2026:13:55:${String(second).padStart(2, '0')} +0000] "GET / HTTP/1.1" 200 5`;
    const lines = Array.from({ length: 12 }, (_, i) => line(i, i % 4 === 0 ? '192.0.2.9' : '192.0.2.7'));
    await page.getByLabel(/^Log: /).fill([...lines, 'oops'].join('\n'));
    await button('Read the log').click();
    await page.getByText('Requests: 12. Clients: 2.').waitFor();
    await page.getByText('Lines that could not be read: 1 (line 13 has no [time])').waitFor();
    await button('To the end').click();
    // 9 requests of one client in 12 s, 3 of the other.
    expect(await countsOf('A')).toEqual([9, 0, 3]);
    expect(await part('A').locator('.most').textContent()).toContain('192.0.2.7 (3)');
    expect(await select('Client').inputValue()).toBe('192.0.2.7');
    await screenshot('log');
    expect(page.url()).not.toContain('192.0.2');
  });

  it('restores a shared link, also in an open page', async () => {
    await open();
    await policy('A').fill("{ capacity: 7, refill: 1, unit: 'minutes' } // shared & 100 %");
    await button('Remove policy B').click();
    await choose('random');
    await page.getByLabel('Requests per second').fill('2.5');
    await page.getByRole('spinbutton', { name: 'Clients' }).fill('3');
    await button('Skip a minute').click();
    const counts = await countsOf('A');
    await page.waitForURL(/policy=.*load=random.*rate=2\.5.*clients=3$/);
    const { hash } = new URL(page.url());
    const other = await browser.newPage();
    [page] = [other, await page.close()];
    page.setDefaultTimeout(15_000);
    await open(hash);
    expect(await policy('A').inputValue()).toBe("{ capacity: 7, refill: 1, unit: 'minutes' } // shared & 100 %");
    expect(await policy('B').count()).toBe(0);
    expect(await page.getByLabel('Requests per second').inputValue()).toBe('2.5');
    await button('Skip a minute').click();
    expect(await countsOf('A')).toEqual(counts);
    await page.evaluate(`location.hash = 'policy=%7B+maxRequest%3A+9+%7D&load=none'`);
    await page.getByLabel('Requests per second').waitFor({ state: 'detached' });
    expect(await policy('A').inputValue()).toBe('{ maxRequest: 9 }');
    await page.evaluate(`location.hash = 'logs'`);
    await button('Send one').click();
    expect(await policy('A').inputValue()).toBe('{ maxRequest: 9 }');
  });

  it('reads a log from a file', async () => {
    await open();
    await choose('an access log');
    const text = Array.from({ length: 3000 }, (_, i) =>
      JSON.stringify({ time: 1_700_000_000_000 + i * 1000, user: i % 7 }),
    );
    const file = { name: 'log.jsonl', mimeType: 'application/x-ndjson', buffer: Buffer.from(text.join('\n')) };
    await page.getByLabel('or a file').setInputFiles(file);
    await page.getByText('Requests: 3000. Clients: 7.').waitFor();
    await button('To the end').click();
    // One request of each client in 7 s: at most 5 in 10 s.
    expect(await countsOf('A')).toEqual([3000, 0, 0]);
  });

  it('is usable with the keyboard', async () => {
    await open();
    await select('Requests').focus();
    const reached: string[] = [];
    for (let i = 0; i < 12; i++) {
      await page.keyboard.press('Tab');
      reached.push(
        String(await page.evaluate('document.activeElement.textContent.trim() || document.activeElement.type')),
      );
    }
    expect(reached).toEqual([
      'number',
      'number',
      'number',
      'client 1',
      'Send one',
      'Send 10',
      'number',
      'Play',
      'Step',
      'Skip a minute',
      'Reset',
      expect.stringMatching(/^1 ×/),
    ]);
    await button('Step').focus();
    await page.keyboard.press('Enter');
    expect(await countsOf('A')).toEqual([1, 0, 0]);
  });

  it('fits narrow screens', async () => {
    await page.setViewportSize({ width: 390, height: 800 });
    await open();
    await button('Skip a minute').click();
    expect(await page.evaluate('document.documentElement.scrollWidth')).toBeLessThanOrEqual(390);
    await screenshot('narrow');
  });

  it('has no accessibility violations in light or dark mode', async () => {
    await open();
    await button('Skip a minute').click();
    await policy('B').fill('{ maxRequst: 5 }');
    await part('B').locator('.error').waitFor();
    await screenshot('invalid');
    expect(await accessibilityViolations(page, '.playground')).toEqual([]);
  });
});

describe('Search of the site', () => {
  it('needs no eval, and ranks other pages above the benchmarks', async () => {
    await open();
    await page.getByRole('button', { name: 'Search' }).click();
    await page.getByRole('searchbox').fill('Redis 7'); // most frequent in the benchmarks
    await page.locator('.result').first().waitFor();
    const found = await page.locator('.result').evaluateAll((links) => links.map((link) => String(link)));
    expect(found.length).toBeGreaterThan(5);
    expect(found.slice(0, 5).filter((url) => /benchmarks/.test(url))).toEqual([]);
  });
});
