/** An insertion into a source, or a replacement of what is between `start` and `end`. */
export interface Edit {
  readonly start: number;
  readonly end?: number;
  readonly text: string;
}

/** A source, and the same text without comments and the contents of literals. */
export interface Source {
  readonly text: string;
  readonly masked: string;
}

export function applyEdits(text: string, edits: readonly Edit[]): string {
  let edited = text;
  // From the end, so that offsets stay valid; of two at one offset, the first one comes first.
  for (const { start, end = start, text } of edits.toReversed().sort((a, b) => b.start - a.start)) {
    edited = edited.slice(0, start) + text + edited.slice(end);
  }
  return edited;
}

/** Returns the offset of the bracket that closes the one at `open`. */
export function closingOf(masked: string, open: number): number | undefined {
  let depth = 0;
  for (let at = open; at < masked.length; at++) {
    if ('([{'.includes(masked[at])) depth++;
    if (')]}'.includes(masked[at]) && --depth === 0) return at;
  }
  return undefined;
}

/** Adds an element at the end of a list in brackets, in the style of the list. */
export function appendTo({ text, masked }: Source, open: number, close: number, element: string): Edit[] {
  const inside = masked.slice(open + 1, close);
  if (!text.slice(open + 1, close).trim()) return [{ start: open + 1, end: close, text: element }];
  const lastEnd = open + 1 + inside.trimEnd().length;
  const isEmpty = lastEnd === open + 1;
  const hasComma = masked[lastEnd - 1] === ',';
  const commentEnd = lastEnd + text.slice(lastEnd, close).trimEnd().length;
  const first = open + 1 + (inside.length - inside.trimStart().length);
  const comments = text.slice(lastEnd, commentEnd);
  const isMultiline = /\n/.test(text.slice(open, isEmpty ? close : first)) || /\/\/|\n/.test(comments);
  const indent = indentOf(text, isEmpty ? commentEnd : first);
  const separator = isMultiline ? lineEndOf(text) + indent : ' ';
  return [
    ...(isEmpty || hasComma ? [] : [{ start: lastEnd, text: ',' }]),
    { start: commentEnd, text: separator + element + (hasComma ? ',' : '') },
  ];
}

/** Returns the white space at the beginning of the line of an offset. */
export function indentOf(text: string, offset: number): string {
  const lineStart = text.lastIndexOf('\n', offset - 1) + 1;
  return /^[ \t]*/.exec(text.slice(lineStart))?.[0] ?? '';
}

export function lineEndOf(text: string): string {
  return text.includes('\r\n') ? '\r\n' : '\n';
}
