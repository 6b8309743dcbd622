// Writes what the package makes public into docs/api, one page per door of `exports`, so that a change of it shows in
// review. With --check it changes nothing, and ends with 1 if a page is not what it would write.
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
  if (succeeded) continue;
  console.error(`docs/api/${name}.api.md is not what it was: run \`npm run api\`, and look at the difference`);
  process.exitCode = 1;
}

/** That a page differs is said above, and the page itself tells the rest. */
function quiet(message) {
  if (message.logLevel !== 'error') message.handled = message.messageId !== 'ae-forgotten-export';
}
