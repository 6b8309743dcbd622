import { posix } from 'node:path';
import HostedGitInfo from 'hosted-git-info';

export const HOW_TO_SET = 'Set it once: npm pkg set repository=https://github.com/OWNER/NAME';

/**
 * Returns the host of the repository that `repository` in package.json names. It is the only setting: `homepage`, `bugs`
 * and all absolute links are derived from it.
 */
export function hostOf({ repository }) {
  const url = repository?.url ?? repository;
  const host = typeof url === 'string' ? HostedGitInfo.fromUrl(url) : undefined;
  if (host) return host;
  const got = url === undefined ? 'nothing' : JSON.stringify(url);
  throw new Error(
    `\`repository\` in package.json must be an address on GitHub, GitLab or Bitbucket, got ${got}. ${HOW_TO_SET}`,
  );
}

/** Returns the fields of package.json that name the repository, for the package in a folder of it. */
export function metadataOf(host, directory) {
  return {
    repository: { type: 'git', url: host.https(), ...(directory !== '.' && { directory }) },
    homepage: host.docs(),
    bugs: { url: host.bugs() },
  };
}

const FENCE = /^(```|~~~).*?^\1/gms;
const TARGETS = [
  /(?<=\]\()[^\s()<>]+/g, // [text](target), ![text](target)
  /(?<=^\[[^\]]+\]: +)\S+/gm, // [text]: target
  /(?<=\b(?:href|src)=")[^"]+/g,
];
const PICTURE = /\.(?:avif|gif|jpe?g|png|svg|webp)$/i;

/**
 * Makes the relative links of a page in a folder absolute, to the files of a tag: npm shows pages without the repository around
 * them. Pictures are linked as files, so that they can be shown.
 */
export function absoluteLinks(markdown, host, tag, directory = '.') {
  const absolute = (target) => {
    if (/^(?:[a-z][a-z+.-]*:|#|\/)/i.test(target)) return target;
    const [relative, ...anchor] = target.split(/(?=#)/);
    const path = posix.join(directory, relative);
    const options = { committish: tag };
    return (PICTURE.test(path) ? host.file(path, options) : host.browseFile(path, options)) + anchor.join('');
  };
  const outside = (text) => TARGETS.reduce((all, pattern) => all.replace(pattern, absolute), text);
  let result = '';
  let end = 0;
  for (const { index, 0: fence } of markdown.matchAll(FENCE)) {
    result += outside(markdown.slice(end, index)) + fence;
    end = index + fence.length;
  }
  return result + outside(markdown.slice(end));
}
