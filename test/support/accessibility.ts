import { createRequire } from 'node:module';
import type { Page } from 'playwright-core';

const { source: AXE } = createRequire(import.meta.url)('axe-core') as { source: string };

/** The serious and critical violations that axe finds in the page, or in the part of it that a selector names. */
export async function seriousViolations(page: Page, selector = 'html'): Promise<string[]> {
  await page.evaluate(AXE);
  const violations = await page.evaluate(
    `axe.run(${JSON.stringify(selector)}).then(({ violations }) => violations.map(({ id, impact, nodes }) =>
      [id, impact, ...nodes.map(({ html, failureSummary }) => html + failureSummary)]))`,
  );
  return (violations as string[][])
    .filter(([, impact]) => impact === 'serious' || impact === 'critical')
    .map((violation) => violation.join(' '));
}
