/**
 * Undo and redo of a text.
 */

const MOST = 200;
/** Milliseconds: what is typed in quicker succession is one step. */
const BURST_MS = 1000;

export class History {
  #texts;
  #at = 0;
  #lastTyped = -Infinity;

  constructor(text) {
    this.#texts = [text];
  }

  get canUndo() {
    return this.#at > 0;
  }

  get canRedo() {
    return this.#at < this.#texts.length - 1;
  }

  /** An edit is done. */
  record(text) {
    this.#lastTyped = -Infinity;
    this.#add(text);
  }

  /** Somebody types. */
  typed(text, now = performance.now()) {
    const burst = now - this.#lastTyped < BURST_MS && !this.canRedo;
    this.#lastTyped = now;
    if (burst) this.#texts[this.#at] = text;
    else this.#add(text);
  }

  /** @returns {string} the text before */
  undo() {
    if (this.canUndo) this.#at--;
    return this.#texts[this.#at];
  }

  /** @returns {string} the text after */
  redo() {
    if (this.canRedo) this.#at++;
    return this.#texts[this.#at];
  }

  #add(text) {
    if (text === this.#texts[this.#at]) return;
    this.#texts = [...this.#texts.slice(0, this.#at + 1), text].slice(-MOST);
    this.#at = this.#texts.length - 1;
  }
}
