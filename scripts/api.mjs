// Writes what the package makes public into docs/api, one page per door of `exports`, so that a change of it shows in
// review. With --check it changes nothing, and ends with 1 if a page is not what it would write. Each name needs a
// comment that says what it is.
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { Extractor, ExtractorConfig } from '@microsoft/api-extractor';

const root = fileURLToPath(new URL('..', import.meta.url));
const packageJsonFullPath = `${root}package.json`;
const { exports } = JSON.parse(readFileSync(packageJsonFullPath, 'utf8'));
const localBuild = !process.argv.includes('--check');

for (const [door, { import: found } = {}] of Object.entries(exports)) {
  if (!found) continue;
  const name = door === '.' ? 'index' : door.slice(2);
  const extractorConfig = ExtractorConfig.prepare({
    configObject: {
      projectFolder: root,
      mainEntryPointFilePath: `${root}${found.types}`,
      newlineKind: 'lf',
      compiler: { tsconfigFilePath: `${root}tsconfig.build.json` },
      apiReport: {
        enabled: true,
        reportFileName: name,
        reportFolder: `${root}docs/api`,
        reportTempFolder: `${root}build/api`,
      },
      messages: {
        extractorMessageReporting: {
          default: { logLevel: 'none' },
          // Types that others lead to. All go through the main door; whoever comes by another one finds them there.
          'ae-forgotten-export': { logLevel: door === '.' ? 'warning' : 'none', addToApiReportFile: true },
        },
      },
    },
    configObjectFullPath: undefined,
    packageJsonFullPath,
  });
  const { succeeded } = Extractor.invoke(extractorConfig, { localBuild, messageCallback: quiet });
  if (!succeeded) fail(`docs/api/${name}.api.md is not what it was: run \`npm run api\`, and look at the difference`);
  const report = readFileSync(extractorConfig.reportTempFilePath, 'utf8');
  for (const [, bare] of report.matchAll(/^\/\/ @public \(undocumented\)\n(export .*)$/gm)) fail(`No comment: ${bare}`);
}

function fail(message) {
  console.error(message);
  process.exitCode = 1;
}

/** That a page differs is said above, and the page itself tells the rest. */
function quiet(message) {
  if (message.logLevel !== 'error') message.handled = message.messageId !== 'ae-forgotten-export';
}
