import { readFileSync } from 'node:fs';
import { describe, expect, it } from '@jest/globals';

const GROUPS = ['Breaking changes', 'Added', 'Changed', 'Deprecated', 'Removed', 'Fixed'];

const [, ...sections] = readFileSync('CHANGELOG.md', 'utf8').split(/^## /m);
const entries = sections.flatMap((section) => section.match(/^- .*$/gm) ?? []);

describe('CHANGELOG.md', () => {
  it('begins with the unreleased changes, and lists releases with their dates', () => {
    const [first, ...releases] = sections.map((section) => section.split('\n')[0]);
    expect(first).toBe('Unreleased');
    for (const release of releases) expect(release).toMatch(/^\d+\.\d+\.\d+ \(\d{4}-\d\d-\d\d\)$/);
  });

  it('groups changes, breaking ones first', () => {
    for (const section of sections) {
      const groups = [...section.matchAll(/^### (.*)$/gm)].map(([, group]) => group);
      expect(groups).toEqual(GROUPS.filter((group) => groups.includes(group)));
    }
  });

  it('has each entry once, also if one of them was reworded', () => {
    const beginnings = entries.map((entry) => entry.slice(0, 60));
    expect(beginnings.filter((beginning, i) => beginnings.indexOf(beginning) !== i)).toEqual([]);
  });

  it('links no pages, since it is also a page of the documentation site', () => {
    expect(entries.filter((entry) => /\]\((?!https:)/.test(entry))).toEqual([]);
  });

  it('has a table after each entry that announces one', () => {
    for (const section of sections) expect(section).not.toMatch(/^- .*:\n(?!\n\|)/m);
  });

  it('has no traces of a merge', () => {
    expect(sections.join('\n')).not.toMatch(/^(<{7}|={7}|>{7})/m);
  });

  it('has sentences as entries', () => {
    expect(entries.filter((entry) => !/[.:)]$/.test(entry))).toEqual([]);
  });
});
