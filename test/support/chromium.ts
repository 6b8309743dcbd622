import { type Browser, chromium } from 'playwright-core';
import { install, onPath } from './redis.js';

const HOW_TO_INSTALL =
  'The browser tests need Chromium: set CHROMIUM_PATH, or install it (for example `apt-get install chromium`).';

/** Flags that keep the browser from sending requests of its own. */
const FLAGS = [
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
];

/** Launches the system's Chromium, headless and with an empty profile. Installs the Debian package if none is found. */
export async function openChromium(): Promise<Browser> {
  if (!findChromium()) install('chromium', HOW_TO_INSTALL);
  return chromium.launch({ executablePath: findChromium(), headless: true, args: FLAGS });
}

function findChromium(): string | undefined {
  return process.env.CHROMIUM_PATH || onPath('chromium') || onPath('chromium-browser') || onPath('google-chrome');
}
