/**
 * Gamepads: looked at once a frame while they are watched and one is connected.
 */

import { padState } from "./input.js";

export class Pads {
  #frame = 0;
  #watching = false;
  #keys = [];
  #look = () => {
    const pads = [...navigator.getGamepads()].filter((pad) => pad?.connected);
    const states = this.#watching ? pads.map(padState) : [];
    this.#change(states);
    this.#frame = this.#watching && pads.length ? requestAnimationFrame(this.#look) : 0;
  };

  /** @param {import("./input.js").Input} input */
  constructor(input) {
    this.input = input;
  }

  watch() {
    this.#watching = true;
    addEventListener("gamepadconnected", this.#look);
    if (!this.#frame) this.#look();
  }

  unwatch() {
    this.#watching = false;
    removeEventListener("gamepadconnected", this.#look);
    cancelAnimationFrame(this.#frame);
    this.#frame = 0;
    this.#keys = [];
  }

  #change(states) {
    const keys = [...new Set(states.flatMap((state) => state.keys))];
    for (const key of this.#keys) if (!keys.includes(key)) this.input.release(key);
    for (const key of keys) if (!this.#keys.includes(key)) this.input.press(key);
    this.#keys = keys;
    const sum = (stick) => [0, 1].map((axis) => states.reduce((all, state) => all + state[stick][axis], 0));
    this.input.stick("gamepad", { move: sum("move"), turn: sum("turn") });
  }
}
