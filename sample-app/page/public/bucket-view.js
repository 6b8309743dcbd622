import { copyOf, make, tokens, write } from './dom.js';

/** Draws a bucket into an element, which has its state as the attribute `data-state`. */
export class BucketView {
  constructor(element) {
    element.replaceChildren(copyOf('bucket'));
    this.element = element;
    this.picture = element.querySelector('svg');
    this.water = element.querySelector('.water');
    [this.heading, this.left, this.of, this.note] = element.querySelectorAll('h3, b, span, small');
  }

  draw(bucket, time) {
    if (this.title !== bucket.title) this.setTitle(bucket.title);
    const level = bucket.level(time);
    const left = bucket.known ? tokens(level) : '–';
    const text = bucket.known ? `${left} of ${bucket.limit}` : 'unknown';
    write(this.left, left);
    write(this.of, `of ${bucket.limit}`);
    write(this.note, bucket.note(time));
    this.element.dataset.state = bucket.state(time);
    this.water.style.transform = `translateY(${(1 - Math.max(0, level) / bucket.limit) * 82}px)`;
    if (this.picture.getAttribute('aria-valuetext') === text) return;
    this.picture.setAttribute('aria-valuemax', bucket.limit);
    this.picture.setAttribute('aria-valuenow', tokens(level));
    this.picture.setAttribute('aria-valuetext', text);
  }

  setTitle(title) {
    this.title = title;
    // A long name breaks after its dot or before a word.
    const parts = title.split(/(?<=\.)|(?<=[a-z])(?=[A-Z])/);
    this.heading.replaceChildren(...parts.flatMap((part) => [part, make('wbr')]));
    this.picture.setAttribute('aria-label', title);
  }
}
