import type { NestExpressApplication } from '@nestjs/platform-express';
import { Test } from '@nestjs/testing';
import type { Browser, Locator, Page } from 'playwright-core';
import { AppModule } from '../../sample-app/app.module.js';
import { setUp } from '../../sample-app/setup.js';
import { accessibilityViolations } from './accessibility.js';

/** Chromium logs each rejected request, and lost connections, to the console. */
const FAILED_REQUEST = /^Failed to load resource: (the server responded with a status of (429|401|502)|net::ERR_)/;

export async function startApp(port = 0): Promise<NestExpressApplication> {
  const module = await Test.createTestingModule({ imports: [AppModule] }).compile();
  const app = module.createNestApplication<NestExpressApplication>({ logger: false });
  setUp(app);
  await app.listen(port, '127.0.0.1');
  return app;
}

/** The live page of a sample app, in a tab. */
export class LivePage {
  readonly errors: string[] = [];

  private constructor(readonly tab: Page) {}

  static async open(browser: Browser, app: NestExpressApplication): Promise<LivePage> {
    const page = new LivePage(await browser.newPage());
    const { tab, errors } = page;
    tab.setDefaultTimeout(15_000);
    tab.on('console', (message) => {
      if (['error', 'warning'].includes(message.type()) && !FAILED_REQUEST.test(message.text()))
        errors.push(message.text());
    });
    tab.on('pageerror', (error) => errors.push(error.message));
    await page.resize(1280, 800);
    await tab.emulateMedia({ colorScheme: 'light' });
    await tab.goto(await app.getUrl());
    await tab.locator('body[data-store]').waitFor();
    return page;
  }

  /** Closes the tab, and fails if the page has logged an error or a warning. */
  async close(): Promise<void> {
    await this.tab.close();
    if (this.errors.length) throw new Error(`The page has logged:\n${this.errors.join('\n')}`);
  }

  resize(width: number, height: number): Promise<void> {
    return this.tab.setViewportSize({ width, height });
  }

  choose(label: string): Promise<unknown> {
    return this.tab.getByLabel('Route').selectOption({ label });
  }

  click(button: string): Promise<void> {
    return this.tab.getByRole('button', { name: button }).click();
  }

  /** The tile of a policy. */
  tile(policy: string): Locator {
    return this.tab.locator('#buckets li', { has: this.tab.getByRole('meter', { name: policy }) });
  }

  async level(policy: string): Promise<number> {
    return Number(await this.tab.getByRole('meter', { name: policy }).getAttribute('aria-valuenow'));
  }

  async text(selector: string): Promise<string> {
    return ((await this.tab.locator(selector).first().textContent()) ?? '').trim();
  }

  async count(kind: string): Promise<number> {
    return Number(await this.text(`#${kind}`));
  }

  /** The seconds of the countdown, 0 if there is none. */
  async retryAfter(): Promise<number> {
    return (await this.tab.locator('#retry').isHidden()) ? 0 : Number.parseInt(await this.text('#retry b'), 10);
  }

  /** Polls `condition` until it holds or the test times out. */
  async until(condition: () => Promise<boolean>): Promise<void> {
    while (!(await condition())) await this.tab.waitForTimeout(20);
  }

  /** Waits for a line of the log. */
  logged(text: string): Promise<void> {
    return this.tab.locator('#log li', { hasText: text }).first().waitFor();
  }

  /** Saves a screenshot when run as `SCREENSHOTS=folder npm run test:browser`. */
  async screenshot(name: string, fullPage = false): Promise<void> {
    const folder = process.env.SCREENSHOTS;
    if (folder) await this.tab.screenshot({ path: `${folder}/${name}.png`, fullPage });
  }

  /** What axe finds in light and in dark mode. */
  violations(): Promise<string[]> {
    return accessibilityViolations(this.tab);
  }
}
