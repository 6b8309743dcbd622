import { Node, type SourceFile } from 'ts-morph';

interface Edit {
  readonly start: number;
  readonly end: number;
  readonly text: string;
}

/** Replacements in the text of files. Text outside of them stays byte-identical. */
export class Edits {
  private readonly files = new Map<SourceFile, Edit[]>();

  /** Files with at least one edit. */
  get changed(): SourceFile[] {
    return [...this.files.keys()];
  }

  replace(node: Node, text: string): void {
    this.replaceRange(node.getSourceFile(), node.getStart(), node.getEnd(), text);
  }

  replaceRange(file: SourceFile, start: number, end: number, text: string): void {
    this.files.set(file, [...(this.files.get(file) ?? []), { start, end, text }]);
  }

  insert(file: SourceFile, position: number, text: string): void {
    this.replaceRange(file, position, position, text);
  }

  /** Removes a decorator or a class member, with its comments and its line. */
  removeLine(node: Node): void {
    const file = node.getSourceFile();
    const text = file.getFullText();
    let [start, end] = [node.getStart(true), node.getEnd()];
    while (start > 0 && /[ \t]/.test(text[start - 1])) start--;
    const ownsLine = start === 0 || text[start - 1] === '\n';
    if (!ownsLine) start = node.getStart();
    while (end < text.length && /[ \t]/.test(text[end])) end++;
    if (ownsLine && text[end] === '\r') end++;
    if (ownsLine && text[end] === '\n') end++;
    if (start === 0) end += /^\s*/.exec(text.slice(end))?.[0].length ?? 0;
    // The blank line between members goes with the member.
    const blank = /\n[ \t]*\r?\n[ \t]*$/.exec(text.slice(0, start));
    if (ownsLine && (Node.isMethodDeclaration(node) || Node.isPropertyDeclaration(node)) && blank)
      start = blank.index + 1;
    this.replaceRange(file, start, end, '');
  }

  /** Removes an element of a list. */
  removeElement(node: Node): void {
    const list = node.getParent();
    const elements: Node[] = Node.isArrayLiteralExpression(list) ? list.getElements() : [];
    const index = elements.indexOf(node);
    const file = node.getSourceFile();
    if (index >= 0 && index < elements.length - 1) {
      this.replaceRange(file, node.getStart(), elements[index + 1].getStart(), '');
    } else if (index > 0) {
      this.replaceRange(file, elements[index - 1].getEnd(), node.getEnd(), '');
    } else {
      const [comma = ''] = /^\s*,?/.exec(file.getFullText().slice(node.getEnd())) ?? [];
      this.replaceRange(file, node.getStart(), node.getEnd() + comma.length, '');
    }
  }

  /** Whether an edit replaces the text of a node. */
  covers(node: Node): boolean {
    const [start, end] = [node.getStart(), node.getEnd()];
    return (this.files.get(node.getSourceFile()) ?? []).some((edit) => edit.start <= start && edit.end >= end);
  }

  /** Adds a comment in a line of its own above the code that contains `node`; at most once. */
  comment(node: Node, comment: string): void {
    const file = node.getSourceFile();
    const text = file.getFullText();
    const { position, indent } = commentPlace(node);
    const above = text.slice(0, position).split('\n').slice(0, -1);
    for (let line = above.pop()?.trim(); line?.startsWith('//'); line = above.pop()?.trim()) {
      if (line === comment) return;
    }
    const line = { start: position, end: position, text: `${comment}\n${indent}` };
    const known = this.files.get(file) ?? [];
    if (known.some((edit) => edit.start === line.start && edit.text === line.text)) return;
    this.files.set(file, [...known, line]);
  }

  /** Returns the text of a file with all edits applied. */
  apply(file: SourceFile): string {
    const text = file.getFullText();
    const lineEnd = text.includes('\r\n') ? '\r\n' : '\n';
    let result = '';
    let position = 0;
    for (const edit of sorted(this.files.get(file) ?? [])) {
      const isRemoval = edit.text === '';
      if (edit.start < position && !isRemoval) {
        throw new Error(`Overlapping edits in ${file.getFilePath()} at ${edit.start}: ${edit.text}`);
      }
      result += text.slice(position, Math.max(position, edit.start)) + edit.text.replace(/\r?\n/g, lineEnd);
      position = Math.max(position, edit.end);
    }
    return result + text.slice(position);
  }
}

/** Insertions come before replacements at the same position. */
function sorted(edits: readonly Edit[]): Edit[] {
  return [...edits].sort((a, b) => a.start - b.start || Number(a.end > a.start) - Number(b.end > b.start));
}

/** The indentation of the line at `position`. */
export function indentAt(file: SourceFile, position: number): string {
  const lineStart = file.getFullText().lastIndexOf('\n', position - 1) + 1;
  return /^[ \t]*/.exec(file.getFullText().slice(lineStart))?.[0] ?? '';
}

/** The first position of a line above or at `node` where a line comment may be inserted. */
function commentPlace(node: Node): { position: number; indent: string } {
  const file = node.getSourceFile();
  for (let at: Node | undefined = node; at; at = at.getParent()) {
    const start = at.getStart();
    const lineStart = file.getFullText().lastIndexOf('\n', start - 1) + 1;
    const before = file.getFullText().slice(lineStart, start);
    if (/^[ \t]*$/.test(before) && !Node.isSourceFile(at)) return { position: start, indent: before };
  }
  return { position: node.getStart(), indent: '' };
}
