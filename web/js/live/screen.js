/**
 * The picture, and the keys, sticks and fingers that walk in it. They count while it has the focus; when the focus goes
 * or the page is hidden, everything is released.
 */

import { html, set } from "../editor/dom.js";
import { KeyCaps } from "../editor/key_caps.js";
import { pathKey } from "../editor/keyboard.js";
import { Pads } from "./pads.js";
import { TouchSticks } from "./touch.js";

const COMMANDS = { Space: "goesOn", Backspace: "back", KeyF: "full" };

export class Screen {
  #enabled = false;
  #hidden = () => {
    if (document.hidden) this.release();
  };

  /**
   * @param {(key: string, values?: object) => string} t
   * @param {ReturnType<import("../editor/texts.js").textsFor>} keyNames
   * @param {object} parts
   * @param {Element[]} parts.pictures
   * @param {import("./input.js").Input} parts.input
   * @param {(command: string) => void} parts.command one of `COMMANDS`
   */
  constructor(t, keyNames, { pictures, input, command }) {
    this.t = t;
    this.input = input;
    this.command = command;
    this.pads = new Pads(input);
    this.caption = html("div", { class: "hyw-said" });
    this.hint = html(
      "div",
      { class: "hyw-hint", "aria-hidden": "true" },
      html("span", { class: "hyw-keyboard-hint" }, t("hint")),
      html("span", { class: "hyw-touch-hint" }, t("hintTouch")),
    );
    const press = (key, at) => {
      this.focus();
      input.press(key, at);
    };
    this.caps = new KeyCaps(keyNames, press, (key, at) => input.release(key, at));
    this.gauges = ["move", "turn"].map((stick) => ({ stick, knob: html("i") }));
    this.sticks = html(
      "div",
      { class: "hyw-gauges", hidden: true, "aria-hidden": "true" },
      ...this.gauges.map(({ knob }) => html("div", {}, knob)),
    );
    this.element = html(
      "div",
      { class: "hyw-screen", role: "application", tabindex: 0, "aria-label": t("screen") },
      ...pictures,
      this.caption,
      this.hint,
      this.sticks,
      this.caps.element,
    );
    this.touch = new TouchSticks(this.element, (sticks, at) => {
      if (this.#enabled) input.stick("touch", sticks, at);
    });
    set(this.element, {
      onkeydown: (event) => this.#keyDown(event),
      onkeyup: (event) => this.keyUp(event),
      onpointerdown: (event) => {
        if (!event.button) this.focus();
      },
      onfocusin: () => {
        if (this.#enabled) this.pads.watch();
        this.hint.hidden = true;
      },
      onfocusout: (event) => {
        if (!this.element.contains(event.relatedTarget)) this.release();
      },
    });
    document.addEventListener("visibilitychange", this.#hidden);
    this.enabled = false;
  }

  focus() {
    this.element.focus({ preventScroll: true });
  }

  /** Whether keys walk: not while one watches, or without a connection. */
  set enabled(enabled) {
    this.#enabled = enabled;
    this.element.classList.toggle("hyw-locked", !enabled);
    this.caps.enabled = enabled;
    if (!enabled) this.release();
    else if (this.element.contains(document.activeElement)) this.pads.watch();
  }

  /** Whether what is held moves anything; else it only lets time go on, and is not shown. */
  set steers(steers) {
    this.element.classList.toggle("hyw-still", !steers);
    set(this.element, { "aria-label": this.t(steers ? "screen" : "screenStill") });
  }

  /** A key was released. @returns {boolean} whether it is one that walks */
  keyUp({ code, timeStamp }) {
    const key = pathKey({ code });
    if (key) this.input.release(key, timeStamp);
    return Boolean(key);
  }

  /** Show what is held now. */
  showHeld() {
    this.caps.mark("hyw-down", this.input.keys);
    const pushed = this.gauges.map(({ stick }) => this.input[stick]);
    this.sticks.hidden = pushed.flat().every((value) => !value);
    this.gauges.forEach(({ knob }, i) => {
      const [x, y] = pushed[i];
      set(knob, { style: `left: ${50 + 50 * x}%; top: ${50 - 50 * y}%` });
    });
  }

  /** Mark the keys of the latent whose frames are shown. */
  showKeys(keys) {
    this.caps.mark("hyw-here", keys);
  }

  release() {
    this.pads.unwatch();
    this.touch.drop();
    this.input.releaseAll();
  }

  destroy() {
    this.release();
    document.removeEventListener("visibilitychange", this.#hidden);
  }

  #keyDown(event) {
    // macOS does not tell when a key is released while Cmd is down.
    if (event.key === "Meta") this.input.releaseAll();
    const key = pathKey(event);
    const command = event.ctrlKey || event.metaKey || event.altKey ? undefined : COMMANDS[event.code];
    if (!key && !command) return;
    event.preventDefault();
    if (event.repeat) return;
    if (command) this.command(command);
    else if (this.#enabled) this.input.press(key, event.timeStamp);
  }
}
