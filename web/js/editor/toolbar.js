/**
 * Playing, undo, and what changes the whole path. The pace stands beside the counts, above (see editor.js).
 */

import { LATENT_RATE } from "../camera/counts.js";
import { PRESETS } from "../camera/presets.js";
import { button } from "./button.js";
import { enable, html, set } from "./dom.js";
import { icon } from "./icons.js";

const PACES = [0.5, 1, 2, 4];

export class Toolbar {
  /**
   * @param {ReturnType<import("./texts.js").textsFor>} t
   * @param {Record<"walk" | "play" | "undo" | "redo" | "mirror" | "home" | "clear", () => void>} on
   * @param {(name: string) => void} addPreset
   */
  constructor(t, on, addPreset) {
    this.t = t;
    this.walk = button("walk", t("walkTip"), on.walk, t("walk"));
    this.play = button("play", t("play"), on.play);
    this.undo = button("undo", t("undo"), on.undo);
    this.redo = button("redo", t("redo"), on.redo);
    this.mirror = button("mirror", t("mirror"), on.mirror);
    this.home = button("home", t("homeTip"), on.home, t("home"));
    this.clear = button("clear", t("clear"), on.clear);
    this.preset = html(
      "select",
      { class: "hyw-select", title: t("preset"), "aria-label": t("preset") },
      html("option", { value: "" }, t("presetShort")),
      ...PRESETS.map((name) => html("option", { value: name }, t(`preset.${name}`))),
    );
    set(this.preset, {
      onchange: () => {
        const name = this.preset.value;
        this.preset.value = "";
        if (name) addPreset(name);
      },
    });
    this.pace = html(
      "select",
      { class: "hyw-select", title: t("pace"), "aria-label": t("pace") },
      ...PACES.map((factor) => html("option", { value: factor, selected: factor === 1 }, t("paceOption", { factor }))),
    );
    this.element = html(
      "div",
      { class: "hyw-bar" },
      html("div", { class: "hyw-group" }, this.walk, this.play),
      html("div", { class: "hyw-group" }, this.undo, this.redo),
      html("div", { class: "hyw-group" }, this.preset, this.mirror, this.home, this.clear),
    );
  }

  /** Latents per second of recording and playing. */
  get rate() {
    return Number(this.pace.value) * LATENT_RATE;
  }

  /** What can be done; `closed` is a path that ends where it began. */
  show({ moves, canUndo, canRedo, editable, closed }) {
    for (const control of [this.walk, this.preset]) enable(control, editable);
    enable(this.play, moves);
    enable(this.undo, canUndo);
    enable(this.redo, canRedo);
    enable(this.mirror, editable && moves);
    enable(this.home, editable && !closed);
    enable(this.clear, editable && moves);
  }

  set playing(playing) {
    const name = playing ? "pause" : "play";
    this.play.replaceChildren(icon(name));
    set(this.play, { title: this.t(name), "aria-label": this.t(name) });
  }
}
