// Writes docs/live-page.png, the picture of the README: the page that `npm start` serves, after a burst of 30 requests.
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { chromium } from 'playwright-core';

const PICTURE = 'docs/live-page.png';
/** Requests before the burst, so that the buckets and the plot have something to show. */
const BEFORE = [
  ['GET /reports?rows=70', 'One request', 2],
  ['WebSocket /chat', 'Burst of 30', 1],
  ['POST /sms', 'One request', 9],
  ['GET /quotes', 'One request', 4],
  ['GET /queue', 'Burst of 5', 1],
  ['GET /api/ping', 'Flood for 5 s', 1],
  ['POST /login', 'One request', 2],
  ['PUT /documents/7', 'One request', 3],
];

const port = await freePort();
const { REDIS_URL: _, ...env } = process.env;
const app = spawn(process.execPath, ['build/sample-app/main.js'], { env: { ...env, PORT: port } });
const executablePath =
  process.env.CHROMIUM_PATH || spawnSync('which', ['chromium'], { encoding: 'utf8' }).stdout.trim();
const browser = await chromium.launch({ executablePath, args: ['--no-sandbox', '--disable-gpu'] });
try {
  await once(app.stdout, 'data');
  const page = await browser.newPage({
    viewport: { width: 1280, height: 800 },
    deviceScaleFactor: 1.5,
    colorScheme: 'light',
  });
  await page.goto(`http://localhost:${port}`);
  const click = async (button) => {
    await page.locator('#announcement').evaluate((element) => element.replaceChildren());
    await page.getByRole('button', { name: button }).click();
    await page.locator('#announcement', { hasText: 'sent' }).waitFor({ state: 'attached' });
  };
  for (const [route, button, times] of BEFORE) {
    await page.getByLabel('Route').selectOption({ label: route });
    for (let i = 0; i < times; i++) await click(button);
  }
  await page.getByLabel('Route').selectOption({ label: 'GET /api/ping' });
  await page.locator('#chosen[data-state="full"]').waitFor();
  await click('Burst of 30');
  await page.mouse.move(0, 0);
  await page.screenshot({ path: PICTURE });
  console.log(`Wrote ${PICTURE}`);
} finally {
  await browser.close();
  app.kill();
}

async function freePort() {
  const server = createServer().listen(0);
  await once(server, 'listening');
  const { port } = server.address();
  server.close();
  return port;
}
