/**
 * The segment at the playhead: its keys, its length, and taking it out or putting one in.
 */

import { compatible } from "../camera/keys.js";
import { button } from "./button.js";
import { capsOf } from "./caps.js";
import { enable, html, set } from "./dom.js";

const MOST_LATENTS = 9999;
const ORDER = ["w", "a", "s", "d", "left", "right", "up", "down", "orbit_left", "orbit_right"];

export class SegmentBar {
  #segment = null;
  #keys = new Map();

  /**
   * @param {ReturnType<import("./texts.js").textsFor>} t
   * @param {object} on
   * @param {(keys: string[]) => void} on.rekey
   * @param {(count: number) => void} on.resize
   * @param {() => void} on.insert
   * @param {() => void} on.remove
   */
  constructor(t, on) {
    this.on = on;
    this.count = html("input", { type: "number", min: 1, max: MOST_LATENTS, class: "hyw-count", "aria-label": t("length") });
    this.shorter = button("shorter", t("shorter"), () => on.resize(this.#segment.count - 1));
    this.longer = button("longer", t("longer"), () => on.resize(this.#segment.count + 1));
    this.insert = button("insert", t("insert"), on.insert);
    this.remove = button("remove", t("remove"), on.remove);
    const group = { class: "hyw-keys", role: "group", "aria-label": t("segmentKeys") };
    this.keys = html("div", group, ...ORDER.map((key) => this.#key(key, t)));
    this.element = html(
      "div",
      { class: "hyw-bar" },
      this.keys,
      html("div", { class: "hyw-group" }, this.shorter, this.count, this.longer),
      html("div", { class: "hyw-group" }, this.insert, this.remove),
    );
    set(this.count, {
      onchange: () => on.resize(Math.min(Math.max(1, Math.round(Number(this.count.value))), MOST_LATENTS)),
    });
  }

  /** @param {import("../camera/notation.js").Segment | undefined} segment */
  show(segment, { editable, hasIdle }) {
    this.#segment = segment;
    const usable = Boolean(segment) && editable;
    for (const [key, toggle] of this.#keys) {
      const held = segment?.keys.includes(key) ?? false;
      set(toggle, { "aria-pressed": String(held) });
      enable(toggle, usable && (hasIdle || !held || segment.keys.length > 1));
    }
    this.count.value = segment?.count ?? "";
    for (const control of [this.count, this.longer, this.remove]) enable(control, usable);
    enable(this.shorter, usable && segment.count > 1);
    enable(this.insert, editable);
  }

  #key(key, t) {
    const onclick = () => {
      const { keys } = this.#segment;
      this.on.rekey(keys.includes(key) ? keys.filter((other) => other !== key) : compatible([...keys, key]));
    };
    const name = t(`key.${key}`);
    const toggle = html(
      "button",
      { type: "button", class: "hyw-key", title: name, "aria-label": name, onclick },
      capsOf([key]),
    );
    this.#keys.set(key, toggle);
    return toggle;
  }
}
