export const at = (id) => document.getElementById(id);
export const now = () => performance.now();
export const seconds = (ms) => `${(Math.max(0, ms) / 1000).toFixed(1)} s`;

/** Sets the text only if it has changed, so that browsers and screen readers do not repeat it. */
export function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

export function make(html) {
  const template = document.createElement('template');
  template.innerHTML = html;
  return template.content.firstElementChild;
}
