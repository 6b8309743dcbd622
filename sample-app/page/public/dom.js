export const at = (id) => document.getElementById(id);
export const now = () => performance.now();
export const seconds = (ms) => `${(Math.max(0, ms) / 1000).toFixed(1)} s`;
/** At most one decimal, rounded down: 0.98 tokens are not yet one. */
export const tokens = (count) => `${Math.floor(count * 10) / 10}`;

/** Sets the text only if it has changed, so that browsers and screen readers do not repeat it. */
export function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Copies the content of a template of the page. */
export const copyOf = (template) => at(template).content.cloneNode(true);

/** Creates an element. Its text is never parsed as HTML. */
export function make(tag, { text = '', ...properties } = {}) {
  return Object.assign(document.createElement(tag), properties, { textContent: text });
}
