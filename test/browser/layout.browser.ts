import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, jest } from '@jest/globals';
import type { NestExpressApplication } from '@nestjs/platform-express';
import type { Browser } from 'playwright-core';
import { openChromium } from '../support/chromium.js';
import { LivePage, startApp } from '../support/live-page.js';

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

/** Whether all of the element is in the viewport, without scrolling. */
const isVisible = (selector: string) =>
  page.tab.evaluate(`(() => {
    const { top, left, bottom, right } = document.querySelector('${selector}').getBoundingClientRect();
    return right > left && top >= 0 && left >= 0 && bottom <= innerHeight && right <= innerWidth;
  })()`);
const styleOf = (selector: string, property: string) =>
  page.tab.evaluate(`getComputedStyle(document.querySelector('${selector}')).getPropertyValue('${property}')`);
/** By how much the page is larger than the viewport. */
const overflow = () =>
  page.tab.evaluate(
    '(({ scrollWidth, scrollHeight }) => [scrollWidth - innerWidth, scrollHeight - innerHeight])(document.documentElement)',
  );
const stateOf = (policy: string) => page.tile(policy).getAttribute('data-state');

describe('Layout', () => {
  it('has everything on one screen of 1280 x 800: controls, buckets, plot, responses and decisions', async () => {
    await page.click('Burst of 30');
    await page.until(async () => (await page.tab.locator('#responses dt').count()) === 2);
    expect(await overflow()).toEqual([0, 0]);
    for (const part of [
      '#one',
      '#flood',
      '#chosen',
      '#buckets li:last-child',
      '#plot',
      '#x-axis',
      '#retry',
      '#log',
      '#pause',
    ])
      expect([part, await isVisible(part)]).toEqual([part, true]);
    await page.screenshot('light');
    await page.tab.emulateMedia({ colorScheme: 'dark' });
    await page.screenshot('dark');
  });

  it('has the button, the bucket it drains and the response on one screen of a phone', async () => {
    await page.resize(390, 844);
    for (const route of ['GET /api/ping', 'WebSocket /chat', 'GET /quotes with a premium key']) {
      await page.choose(route);
      await page.click('Burst of 30');
      await page.until(async () => / 30 sent/.test(await page.text('#announcement')));
      for (const part of ['#route', '#chosen', '#one', '#burst', '#flood', '#responses'])
        expect([route, part, await isVisible(part)]).toEqual([route, part, true]);
    }
    await page.screenshot('phone', true);
  });

  it.each([320, 390, 700, 800, 1100, 1119, 1920])('does not scroll sideways at a width of %i', async (width) => {
    await page.resize(width, 720);
    await page.click('Burst of 30');
    await page.logged('rejected');
    expect(await page.tab.evaluate('document.documentElement.scrollWidth')).toBe(width);
  });
});

describe('Buckets', () => {
  it('that are empty differ from full ones by a word, a mark and the outline, not only by color', async () => {
    const empty = '#buckets [data-policy="HelloController.limited"]';
    await page.choose('GET /limited');
    await page.click('One request');
    await page.until(async () => (await page.level('HelloController.limited')) === 1);
    const seen = async () => ({
      word: await styleOf(`${empty} em`, 'display'),
      mark: await styleOf(`${empty} .mark`, 'display'),
      outline: await styleOf(`${empty} .outline`, 'stroke-width'),
    });
    const before = await seen();
    expect(before).toMatchObject({ word: 'none', mark: 'none' });
    await page.click('One request');
    await page.until(async () => (await page.level('HelloController.limited')) === 0);
    const after = await seen();
    expect(after).toMatchObject({ word: 'inline', mark: 'inline' });
    expect(after.outline).not.toBe(before.outline);
    expect(await page.text(`${empty} em`)).toBe('empty');
    await page.screenshot('empty');
  });

  it('are calmer when full than when partially filled', async () => {
    await page.choose('GET /reports?rows=70');
    await page.click('One request');
    await page.until(async () => (await stateOf('ReportsController.report')) === 'partial');
    const fill = () => styleOf('#buckets [data-policy="ReportsController.report"] .water', 'fill');
    const partial = await fill();
    await page.until(async () => (await stateOf('ReportsController.report')) === 'full');
    expect(await fill()).not.toBe(partial);
  });

  it('of the chosen route are marked, and choose a route when clicked', async () => {
    const marked = () => page.tab.locator('#buckets [data-chosen] h3').allTextContents();
    expect(await marked()).toEqual(['api']);
    await page.choose('POST /sms');
    await page.until(async () => (await marked()).join() === 'SmsController.send');
    expect(await page.text('#chosen h3')).toBe('SmsController.send');
    await page.tile('mail').click();
    await page.until(async () => (await marked()).join() === 'mail');
    expect(await page.tab.locator('#route option:checked').textContent()).toBe('POST /mail');
    await page.choose('GET /free');
    await page.until(async () => (await marked()).length === 0);
    expect(await page.tab.locator('#chosen').isVisible()).toBe(false);
  });
});

it('labels the axes of the plot: decisions per second, and seconds ago', async () => {
  const yAxis = () => page.tab.locator('#y-axis span').allTextContents();
  expect(await yAxis()).toEqual(['4', '2', '0']);
  expect(await page.tab.locator('#x-axis span').allTextContents()).toEqual(['60 s ago', '45', '30', '15', 'now']);
  await page.click('Flood for 5 s');
  await page.until(async () => Number((await yAxis())[0]) >= 10);
  const [top, half, zero] = (await yAxis()).map(Number);
  expect([half * 2, zero]).toEqual([top, 0]);
});

it('shows that the switch for Redis is disabled without Redis, and why', async () => {
  const input = page.tab.getByLabel('Pause Redis');
  expect(await input.isDisabled()).toBe(true);
  expect(await input.getAttribute('aria-describedby')).toBe('hint');
  expect(await page.text('#hint')).toBe('Only with REDIS_URL');
  expect(await page.text('#status')).toBe('Buckets are in memory');
  expect(await styleOf('#pause', 'border-style')).toBe('dashed');
  expect(await styleOf('.switch', 'cursor')).toBe('not-allowed');
});

it('has no accessibility violations in light or dark mode, before and after a burst, on a screen and on a phone', async () => {
  expect(await page.violations()).toEqual([]);
  await page.click('Burst of 30');
  await page.logged('rejected');
  expect(await page.violations()).toEqual([]);
  await page.resize(390, 844);
  expect(await page.violations()).toEqual([]);
});
