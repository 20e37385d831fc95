/**
 * Everything that is held (keys, key caps, gamepad, touch) as one state, told at each change.
 */

import { gamepadKeys } from "../editor/keyboard.js";

/** Keys are told at once; sticks, which change all the time, so often. */
const STICK_MS = 33;
/** Deflection that is none. */
const DEAD = 0.1;

/**
 * @typedef {object} Held
 * @property {number} at milliseconds since 1970, so that they go on after a reload
 * @property {string[]} keys by their names in pose tokens, oldest first
 * @property {[number, number]} move stick to the right, forward; -1 to 1
 * @property {[number, number]} turn stick to the right, up
 */

export class Input {
  #keys = [];
  #sticks = new Map();
  #told = "";
  #toldAt = -Infinity;
  #timer = 0;

  /**
   * @param {(held: Held) => void} tell
   * @param {() => void} changed the keys, for drawing them
   * @param {{setTimeout: Function, clearTimeout: Function, performance: Performance}} host
   */
  constructor(tell, changed = () => {}, host = globalThis) {
    this.tell = tell;
    this.changed = changed;
    this.host = host;
    /** Since when something has been held without a break, on the page's clock; Infinity while nothing is. */
    this.heldSince = Infinity;
  }

  get keys() {
    return [...this.#keys];
  }

  get move() {
    return this.#sum("move");
  }

  get turn() {
    return this.#sum("turn");
  }

  /** @param {number} at the event's `timeStamp` */
  press(key, at = this.host.performance.now()) {
    if (this.#keys.includes(key)) return;
    this.#keys.push(key);
    this.#update(at);
  }

  release(key, at = this.host.performance.now()) {
    if (!this.#keys.includes(key)) return;
    this.#keys = this.#keys.filter((other) => other !== key);
    this.#update(at);
  }

  /** Sticks of one source: `"gamepad"`, `"touch"`. @param {{move?: number[], turn?: number[]}} sticks */
  stick(source, sticks, at = this.host.performance.now()) {
    this.#sticks.set(source, sticks);
    const wait = this.#toldAt + STICK_MS - at;
    this.host.clearTimeout(this.#timer);
    if (wait <= 0 || isNothing(this.move, this.turn)) this.#update(at);
    else this.#timer = this.host.setTimeout(() => this.#update(this.host.performance.now()), wait);
  }

  releaseAll() {
    this.#keys = [];
    this.#sticks.clear();
    this.#update(this.host.performance.now());
  }

  #sum(stick) {
    const [x, y] = [0, 1].map((axis) =>
      [...this.#sticks.values()].reduce((sum, sticks) => sum + (sticks[stick]?.[axis] ?? 0), 0),
    );
    return [x, y].map((value) => Math.round(100 * Math.min(Math.max(value, -1), 1)) / 100);
  }

  #update(at) {
    this.host.clearTimeout(this.#timer);
    const { keys, move, turn } = this;
    const state = JSON.stringify([keys, move, turn]);
    if (state === (this.#told || '[[],[0,0],[0,0]]')) return;
    this.#told = state;
    this.#toldAt = at;
    const nothing = !keys.length && isNothing(move, turn);
    if (nothing) this.heldSince = Infinity;
    else if (this.heldSince === Infinity) this.heldSince = at;
    this.tell({ at: this.host.performance.timeOrigin + at, keys, move, turn });
    this.changed();
  }
}

/**
 * What a gamepad holds: the sticks by how far they are pushed; the cross and the shoulders are keys.
 * @param {Gamepad} pad with the standard mapping
 */
export function padState({ axes, buttons }) {
  const [x, y, turnX, turnY] = [0, 1, 2, 3].map((i) => (Math.abs(axes[i] ?? 0) < DEAD ? 0 : axes[i]));
  return { keys: gamepadKeys({ axes: [], buttons }), move: [x, 0 - y], turn: [turnX, 0 - turnY] };
}

function isNothing(...sticks) {
  return sticks.flat().every((value) => value === 0);
}
