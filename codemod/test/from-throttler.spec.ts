import { describe, expect, it } from '@jest/globals';
import { fixtureFiles, fixturesIn, migrated, updateFixtures } from './support/fixtures.js';

// After a change, review what `UPDATE_FIXTURES=1 npm test -- from-throttler` writes.
if (process.env.UPDATE_FIXTURES) for (const file of fixtureFiles) updateFixtures(file);

describe.each(fixtureFiles)('Migration of %s', (file) => {
  it.each(fixturesIn(file))('$title', ({ before, after, major }) => {
    const first = migrated(before, major);
    expect(first.texts).toEqual({ ...before, ...after });
    const second = migrated(first.texts, major);
    expect(second.texts).toEqual(first.texts);
  });
});
