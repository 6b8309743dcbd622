const UNRELEASED = '## Unreleased';

/** Gives the unreleased section its version and date, and begins a new one. */
export function cutChangelog(changelog, version, date) {
  const entries = sectionOf(changelog, UNRELEASED);
  if (entries === undefined) throw new Error(`CHANGELOG.md must have a section "${UNRELEASED}"`);
  if (!/^- /m.test(entries)) throw new Error(`"${UNRELEASED}" in CHANGELOG.md must list what changed, got no entries`);
  return changelog.replace(`${UNRELEASED}\n`, () => `${UNRELEASED}\n\n## ${version} (${date})\n`);
}

/** Returns the entries of a version, or `undefined` if it is not in the changelog. */
export function notesOf(changelog, version) {
  return sectionOf(changelog, `## ${version} (`);
}

function sectionOf(changelog, heading) {
  const [, ...sections] = changelog.split(/^(?=## )/m);
  const section = sections.find((text) => text.startsWith(heading));
  return section?.slice(section.indexOf('\n')).trim();
}
