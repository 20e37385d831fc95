/**
 * Where a path is walked: the map, the view, and the keys. While it has the focus, keys record; when the focus goes,
 * they are released.
 */

import { html, set } from "./dom.js";
import { GamepadKeys } from "./gamepad.js";
import { KeyCaps } from "./key_caps.js";
import { pathKey } from "./keyboard.js";

const SPARE_KEYS = { Space: "play", Backspace: "takeBack", Delete: "remove", Home: "toStart", End: "toEnd" };

export class Stage {
  #enabled = true;

  /**
   * @param {ReturnType<import("./texts.js").textsFor>} t
   * @param {object} parts
   * @param {Element[]} parts.pictures
   * @param {import("./recorder.js").Recorder} parts.recorder
   * @param {(command: string) => void} parts.command one of `SPARE_KEYS` was pressed
   * @param {(focused: boolean) => void} parts.focused the stage has or has lost the focus
   */
  constructor(t, { pictures, recorder, command, focused }) {
    this.recorder = recorder;
    this.command = command;
    this.gamepad = new GamepadKeys(
      (key) => this.#press(key),
      (key) => recorder.release(key),
    );
    this.caption = html("div", { class: "hyw-caption" });
    this.hint = html("div", { class: "hyw-hint", "aria-hidden": "true" }, t("stageHint"));
    const press = (key) => {
      this.focus();
      this.#press(key);
    };
    this.caps = new KeyCaps(t, press, (key) => recorder.release(key));
    this.element = html(
      "div",
      { class: "hyw-stage", role: "application", tabindex: 0, "aria-label": t("stage") },
      ...pictures,
      this.caption,
      this.hint,
      this.caps.element,
    );
    set(this.element, {
      onkeydown: (event) => this.#keyDown(event),
      onkeyup: (event) => this.#keyUp(event),
      onpointerdown: (event) => {
        if (!event.button) this.focus();
      },
      onfocusin: () => {
        this.gamepad.watch();
        focused(true);
      },
      onfocusout: (event) => {
        if (this.element.contains(event.relatedTarget)) return;
        this.#release();
        focused(false);
      },
    });
  }

  focus() {
    this.element.focus({ preventScroll: true });
  }

  showHeld(held) {
    this.caps.mark("hyw-down", held);
  }

  /** Mark the keys that the path holds at the playhead. */
  showKeys(keys) {
    this.caps.mark("hyw-here", keys);
  }

  set enabled(enabled) {
    this.#enabled = enabled;
    this.element.classList.toggle("hyw-locked", !enabled);
    this.caps.enabled = enabled;
    if (!enabled) this.recorder.stop();
  }

  destroy() {
    this.#release();
  }

  #press(key) {
    if (this.#enabled) this.recorder.press(key);
  }

  #release() {
    this.gamepad.unwatch();
    this.recorder.stop();
  }

  #keyDown(event) {
    // macOS does not tell when a key is released while Cmd is down.
    if (event.key === "Meta") this.recorder.stop();
    const key = pathKey(event);
    const command = SPARE_KEYS[event.code];
    if (!key && !command) return;
    event.preventDefault();
    // Only Backspace repeats: a held Space would play and stop in turns.
    if (event.repeat && command !== "takeBack") return;
    if (key) this.#press(key);
    else if (!event.ctrlKey && !event.metaKey) this.command(command);
  }

  #keyUp(event) {
    const key = pathKey({ code: event.code });
    if (key) this.recorder.release(key);
  }
}
