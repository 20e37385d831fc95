/**
 * A gamepad as keys: looked at once a frame while it is `watching` and one is connected.
 */

import { gamepadKeys } from "./keyboard.js";

export class GamepadKeys {
  #frame = 0;
  #held = [];
  #watching = false;
  #look = () => {
    const pads = [...navigator.getGamepads()].filter((pad) => pad?.connected);
    this.#change([...new Set(pads.flatMap(gamepadKeys))]);
    this.#frame = this.#watching && pads.length ? requestAnimationFrame(this.#look) : 0;
  };

  /**
   * @param {(key: string) => void} press
   * @param {(key: string) => void} release
   */
  constructor(press, release) {
    this.press = press;
    this.release = release;
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
    this.#change([]);
  }

  #change(now) {
    const before = this.#held;
    this.#held = now;
    for (const key of before) if (!now.includes(key)) this.release(key);
    for (const key of now) if (!before.includes(key)) this.press(key);
  }
}
