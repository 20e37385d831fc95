/**
 * Keys on the screen, as they lie on a keyboard: for pointers, and to show what is held.
 */

import { KEY_NAMES } from "../camera/keys.js";
import { capsOf } from "./caps.js";
import { html } from "./dom.js";

/** A dot is a gap. */
const LAYOUT = [
  ["orbit_left", "w", "orbit_right", ".", ".", "up", "."],
  ["a", "s", "d", ".", "left", "down", "right"],
];

export class KeyCaps {
  #caps = new Map();

  /**
   * @param {ReturnType<import("./texts.js").textsFor>} t
   * @param {(key: string, at: number) => void} press
   * @param {(key: string, at: number) => void} release
   */
  constructor(t, press, release) {
    this.press = press;
    this.release = release;
    const rows = LAYOUT.map((row) => html("div", {}, ...row.map((key) => this.#cap(key, t))));
    this.element = html("div", { class: "hyw-caps" }, ...rows);
  }

  /** Give a class to the caps of these keys alone. */
  mark(name, keys) {
    for (const key of KEY_NAMES) this.#caps.get(key).classList.toggle(name, keys.includes(key));
  }

  set enabled(enabled) {
    for (const cap of this.#caps.values()) cap.disabled = !enabled;
  }

  /** The keyboard has its own keys: a cap is not in the order of the Tab key. */
  #cap(key, t) {
    if (key === ".") return html("i");
    const release = ({ timeStamp }) => this.release(key, timeStamp);
    const cap = html(
      "button",
      {
        type: "button",
        class: "hyw-cap",
        tabindex: -1,
        title: t(`key.${key}`),
        "aria-label": t(`key.${key}`),
        onpointerdown: (event) => {
          if (event.button) return;
          event.preventDefault();
          cap.setPointerCapture(event.pointerId);
          this.press(key, event.timeStamp);
        },
        onpointerup: release,
        onpointercancel: release,
        onlostpointercapture: release,
      },
      capsOf([key]),
    );
    this.#caps.set(key, cap);
    return cap;
  }
}
