// Writes the public API into docs/api, one report per entry point of `exports`, so that API changes show in review.
// With --check, changes nothing and exits with 1 if a report is out of date. Every export needs a doc comment.
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { Extractor, ExtractorConfig } from '@microsoft/api-extractor';

const root = fileURLToPath(new URL('..', import.meta.url));
const packageJsonFullPath = `${root}package.json`;
const { exports } = JSON.parse(readFileSync(packageJsonFullPath, 'utf8'));
const localBuild = !process.argv.includes('--check');

for (const [entry, { import: found } = {}] of Object.entries(exports)) {
  if (!found) continue;
  const name = entry === '.' ? 'index' : entry.slice(2);
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
          // Types that the API refers to: the main entry point must export all of them, the other entry points need not.
          'ae-forgotten-export': { logLevel: entry === '.' ? 'warning' : 'none', addToApiReportFile: true },
        },
      },
    },
    configObjectFullPath: undefined,
    packageJsonFullPath,
  });
  const { succeeded } = Extractor.invoke(extractorConfig, { localBuild, messageCallback: quiet });
  if (!succeeded) fail(`docs/api/${name}.api.md is out of date: run \`npm run api\` and review the difference`);
  const report = readFileSync(extractorConfig.reportTempFilePath, 'utf8');
  for (const [, bare] of report.matchAll(/^\/\/ @public \(undocumented\)\n(export .*)$/gm))
    fail(`Missing doc comment: ${bare}`);
}

function fail(message) {
  console.error(message);
  process.exitCode = 1;
}

/** Silences API Extractor except for errors and forgotten exports: outdated reports are reported above. */
function quiet(message) {
  if (message.logLevel !== 'error') message.handled = message.messageId !== 'ae-forgotten-export';
}
