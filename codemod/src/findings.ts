import type { Node } from 'ts-morph';
import { Edits } from './edits.js';

/** Sections of docs/migration/throttler.md. */
export type Section =
  | 'guards'
  | 'a-module-without-a-guard'
  | 'guards-of-your-own'
  | 'decorators'
  | 'units'
  | 'limits-from-a-configuration'
  | 'storage'
  | 'tests'
  | 'option-by-option';

export interface Todo {
  readonly node: Node;
  readonly reason: string;
  readonly section: Section;
  /** Whether a conversion without this part would change limits, so that nothing is converted. */
  readonly blocking: boolean;
}

export const MARK = 'TODO(nest-rate-limit):';
const PAGE = 'docs/migration/throttler.md';

/** What the analysis found: the edits to make, the constructs that they convert, and what the user has to do. */
export class Findings {
  readonly edits = new Edits();
  readonly todos: Todo[] = [];
  private readonly changes: { readonly construct: string; readonly node: Node }[] = [];

  get isBlocked(): boolean {
    return this.todos.some(({ blocking }) => blocking);
  }

  /** The number of constructs by kind. */
  get constructs(): Map<string, number> {
    const counts = new Map<string, number>();
    for (const { construct } of this.changes) counts.set(construct, (counts.get(construct) ?? 0) + 1);
    return counts;
  }

  /** Notes a construct that the edits convert. */
  converted(construct: string, node: Node): void {
    this.changes.push({ construct, node });
  }

  /** Notes a part that decides about limits and cannot be converted. */
  block(node: Node, section: Section, reason: string): void {
    this.todos.push({ node, reason, section, blocking: true });
  }

  /** Notes what to check after the conversion. */
  check(node: Node, section: Section, reason: string): void {
    this.todos.push({ node, reason, section, blocking: false });
  }

  /** The edits to make: if a part cannot be converted, only comments. */
  finish(): { edits: Edits; todos: readonly Todo[] } {
    const todos = this.isBlocked ? this.todos.filter(({ blocking }) => blocking) : this.todos;
    const edits = this.isBlocked ? new Edits() : this.edits;
    for (const todo of todos) edits.comment(todo.node, commentOf(todo));
    return { edits, todos };
  }
}

export function commentOf({ reason, section }: Pick<Todo, 'reason' | 'section'>): string {
  return `// ${MARK} ${reason} See ${PAGE}#${section}`;
}
