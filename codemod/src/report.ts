import { relative } from 'node:path';
import { commentOf } from './findings.js';
import type { Migration } from './migrate.js';

/** The report of a migration, for people. */
export function reportOf(migration: Migration, root: string, isDryRun: boolean): string {
  const { files, constructs, todos, isBlocked, usages } = migration;
  const lines: string[] = [];
  const total = [...constructs.values()].reduce((sum, count) => sum + count, 0);
  lines.push(
    `Converted: ${total} constructs in ${isBlocked ? 0 : files.size} files${isDryRun ? ' (dry run, nothing was written)' : ''}`,
  );
  for (const [construct, count] of [...constructs].sort(([a], [b]) => a.localeCompare(b))) {
    lines.push(`  ${String(count).padStart(3)} ${construct}`);
  }
  lines.push(`TODO: ${todos.length}`);
  for (const todo of todos) {
    const { node } = todo;
    lines.push(`  ${relative(root, node.getSourceFile().getFilePath())}:${node.getStartLineNumber()}`);
    lines.push(`    ${commentOf(todo).replace(/^\/\/ \S+ /, '')}`);
  }
  if (isBlocked) {
    lines.push(
      `Untouched: ${usages} uses of @nestjs/throttler. They are converted together, because a part of them would change limits:`,
    );
    lines.push('  change the places above, and run this again.');
  }
  return lines.join('\n');
}
