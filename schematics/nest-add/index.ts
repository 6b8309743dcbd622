import type { Rule, SchematicContext, Tree } from '@angular-devkit/schematics';
import { addToImports, registersModule } from './module-source.js';
import { findRootModule, type RootModule, readText } from './root-module.js';

/** Options of `nest add nest-rate-limit`. */
export interface NestAddOptions {
  readonly sourceRoot?: string;
  readonly module?: string;
}

const BY_HAND = `Add it by hand:

  import { RateLimitModule } from 'nest-rate-limit';

  @Module({ imports: [RateLimitModule.forRoot()] })
`;

const NEXT = `No handler is limited yet. Limit one with a decorator:

  @RateLimit({ maxRequest: 2, duration: 10, unit: 'seconds' })

or all of them with a default:

  RateLimitModule.forRoot({ default: { maxRequest: 300, unit: 'minutes' } })

Behind a proxy, set \`trust proxy\` to its address. With several processes, keep limits in Redis: set \`store\`.
`;

/** Adds `RateLimitModule.forRoot()`, without a limit, to the imports of the root module. */
export function nestAdd({ sourceRoot = 'src', module }: NestAddOptions): Rule {
  return (tree, { logger }) => {
    const registered = registeringFile(tree, sourceRoot);
    if (registered) return logger.info(`${registered} has RateLimitModule.forRoot() already: nothing changed.`);
    const root = module ? { path: module } : findRootModule(tree, sourceRoot);
    if (root) editModule(tree, root, logger);
    else logger.warn(`No root module was found in ${sourceRoot}: pass --module=path/to/app.module.ts. ${BY_HAND}`);
  };
}

function editModule(tree: Tree, { path, className }: RootModule, logger: SchematicContext['logger']): void {
  const edited = addToImports(readText(tree, path), className);
  if (edited === undefined) return logger.warn(`The imports of the module in ${path} could not be edited. ${BY_HAND}`);
  tree.overwrite(path, edited);
  logger.info(`Added RateLimitModule.forRoot() to the imports in ${path}.\n${NEXT}`);
}

/** Returns the file that registers the module already; a second time would fail startup. */
function registeringFile(tree: Tree, sourceRoot: string): string | undefined {
  let found: string | undefined;
  tree.getDir(sourceRoot).visit((path) => {
    const isSource = /\.[cm]?ts$/.test(path) && !/[.-](?:spec|test|d)\.[cm]?ts$|\/node_modules\//.test(path);
    if (isSource && registersModule(readText(tree, path))) found ??= path.replace(/^\//, '');
  });
  return found;
}
