import type { Tree } from '@angular-devkit/schematics';

/** The methods of a `Tree` that the schematics use, over files in memory: Jest cannot load `@angular-devkit/schematics`. */
export class FileTree {
  constructor(readonly files: Record<string, string>) {}

  read(path: string): Buffer | null {
    const text = this.files[path.replace(/^\//, '')];
    return text === undefined ? null : Buffer.from(text);
  }

  overwrite(path: string, text: string): void {
    this.files[path] = text;
  }

  getDir(folder: string): { visit(visitor: (path: string) => void): void } {
    const paths = Object.keys(this.files).filter((path) => path.startsWith(`${folder}/`));
    return { visit: (visitor) => paths.forEach((path) => void visitor(`/${path}`)) };
  }

  get asTree(): Tree {
    return this as unknown as Tree;
  }
}
