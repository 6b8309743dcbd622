import { relative } from 'node:path';
import { commentOf, type Todo } from './findings.js';
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
  const lineOf = lineFinder(migration);
  for (const todo of todos) {
    lines.push(`  ${relative(root, todo.node.getSourceFile().getFilePath())}:${lineOf(todo)}`);
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

/** Finds the lines of comments in the new sources, of equal ones one after the other. */
function lineFinder({ files }: Migration): (todo: Todo) => number {
  const last = new Map<string, number>();
  return (todo) => {
    const file = todo.node.getSourceFile();
    const comment = commentOf(todo);
    const id = file.getFilePath() + comment;
    const lines = (files.get(file) ?? file.getFullText()).split('\n').map((line) => line.trim());
    const found = lines.indexOf(comment, last.get(id) ?? 0);
    last.set(id, found + 1);
    return found + 1 || todo.node.getStartLineNumber();
  };
}
