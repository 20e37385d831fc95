/**
 * Undo and redo of a text, with the latent the playhead was at.
 */

const MOST = 200;
/** Milliseconds; faster typing counts as one undo step. */
const BURST_MS = 1000;

export class History {
  #steps;
  #index = 0;
  #lastTyped = -Infinity;

  /** @param {string} text */
  constructor(text, at = 0) {
    this.#steps = [{ text, at }];
  }

  get canUndo() {
    return this.#index > 0;
  }

  get canRedo() {
    return this.#index < this.#steps.length - 1;
  }

  record(text, at = 0) {
    this.#lastTyped = -Infinity;
    this.#add({ text, at });
  }

  /** Record typing; bursts are one step. */
  typed(text, at = 0, now = performance.now()) {
    const burst = now - this.#lastTyped < BURST_MS && !this.canRedo;
    this.#lastTyped = now;
    if (burst) this.#steps[this.#index] = { text, at };
    else this.#add({ text, at });
  }

  /** @returns {{text: string, at: number}} the step before */
  undo() {
    if (this.canUndo) this.#index--;
    return this.#steps[this.#index];
  }

  /** @returns {{text: string, at: number}} the step after */
  redo() {
    if (this.canRedo) this.#index++;
    return this.#steps[this.#index];
  }

  #add(step) {
    if (step.text === this.#steps[this.#index].text) return;
    this.#steps = [...this.#steps.slice(0, this.#index + 1), step].slice(-MOST);
    this.#index = this.#steps.length - 1;
  }
}
