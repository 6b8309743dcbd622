import { createRequire } from 'node:module';
import type { Page } from 'playwright-core';

const { source: AXE } = createRequire(import.meta.url)('axe-core') as { source: string };

/** What axe finds in the page, or in the part of it that a selector names, in dark and then in light mode. */
export async function accessibilityViolations(page: Page, selector = 'html'): Promise<string[]> {
  const found: string[] = [];
  for (const colorScheme of ['dark', 'light'] as const) {
    await page.emulateMedia({ colorScheme });
    await page.evaluate(AXE);
    const violations = await page.evaluate(
      `axe.run(${JSON.stringify(selector)}).then(({ violations }) => violations.map(({ id, impact, nodes }) =>
        [id, impact, ...nodes.map(({ html, failureSummary }) => html + failureSummary)].join(' ')))`,
    );
    found.push(...(violations as string[]).map((violation) => `${colorScheme}: ${violation}`));
  }
  return found;
}
