/**
 * Keys going down and up → latents, one at a time, at a pace.
 *
 * The first latent comes `CHORD_MS` after the first key, so that keys pressed together combine; then one per interval
 * while a key is held. A tapped key gets its latent too.
 */

import { compatible } from "../camera/keys.js";

/** Milliseconds in which keys count as pressed together. */
export const CHORD_MS = 60;

export class Recorder {
  #down = [];
  #tapped = [];
  #timer = null;

  /**
   * @param {object} on
   * @param {() => number} on.interval milliseconds from one latent to the next
   * @param {() => void} on.began
   * @param {(keys: string[]) => void} on.latent the keys held in it
   * @param {() => void} on.ended
   * @param {() => void} on.held `held` has changed
   * @param {{setTimeout: Function, clearTimeout: Function}} clock
   */
  constructor(on, clock = globalThis) {
    this.on = on;
    this.clock = clock;
  }

  /** The keys that are down, oldest first. */
  get held() {
    return [...this.#down];
  }

  get running() {
    return this.#timer !== null;
  }

  press(key) {
    if (this.#down.includes(key)) return;
    this.#down.push(key);
    this.#tapped.push(key);
    this.on.held();
    if (this.running) return;
    this.#timer = this.clock.setTimeout(() => this.#tick(), CHORD_MS);
    this.on.began();
  }

  release(key) {
    if (!this.#down.includes(key)) return;
    this.#down = this.#down.filter((other) => other !== key);
    this.on.held();
    if (!this.#down.length && this.running) this.#finish();
  }

  /** Release all keys without another latent, when the focus is lost. */
  stop() {
    this.#down = [];
    this.#tapped = [];
    this.on.held();
    if (this.running) this.#finish();
  }

  #tick() {
    this.#lay();
    this.#timer = this.clock.setTimeout(() => this.#tick(), this.on.interval());
  }

  #lay() {
    const keys = compatible([...this.#tapped.filter((key) => !this.#down.includes(key)), ...this.#down]);
    this.#tapped = [];
    if (keys.length) this.on.latent(keys);
  }

  #finish() {
    this.clock.clearTimeout(this.#timer);
    this.#timer = null;
    this.#lay();
    this.on.ended();
  }
}
