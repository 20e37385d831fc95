/**
 * The lines of words: how long the path is, where the playhead is, and what the user should know.
 */

import { CHUNK_LATENTS } from "../camera/counts.js";
import { partsOf } from "../camera/labels.js";
import { html } from "./dom.js";

/** Milliseconds without a change before a screen reader is told. */
const QUIET_MS = 800;

export class StatusLines {
  #timer = 0;

  /**
   * @param {ReturnType<import("./texts.js").textsFor>} t
   * @param {(missing: number) => void} fill lengthen the path by so many latents
   */
  constructor(t, fill) {
    this.t = t;
    this.fill = fill;
    this.counts = html("div", { class: "hyw-counts", "aria-hidden": "true" });
    this.message = html("div", { class: "hyw-message" });
    this.live = html("div", { class: "hyw-live", role: "status", "aria-live": "polite" });
  }

  show(walk, situation, editable) {
    const { latents, chunks, frames, seconds } = walk.counts;
    const counts = this.t(chunks === 1 ? "countsOne" : "counts", {
      latents,
      chunks,
      frames,
      seconds: seconds.toFixed(1),
    });
    const { kind, text, action } = this.#message(walk, situation, editable);
    this.counts.textContent = counts;
    this.message.className = `hyw-message hyw-${kind}`;
    this.message.replaceChildren(text, ...(action ? [action] : []));
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => (this.live.textContent = `${counts}. ${text}`), QUIET_MS);
  }

  /** Where a latent is and what is done in it, in words. */
  place({ labels, counts, motions }, at) {
    const chunk = Math.floor(at / CHUNK_LATENTS);
    const key = chunk < counts.chunks ? "positionText" : "positionTextOut";
    return this.t(key, { latent: at, last: motions.length, chunk, action: this.#action(labels[at] ?? 0) });
  }

  destroy() {
    clearTimeout(this.#timer);
  }

  #action(label) {
    const { move, turn } = partsOf(label);
    const words = (name) =>
      name
        .split("+")
        .map((part) => this.t(part))
        .join("+");
    const parts = [];
    if (move !== "none") parts.push(words(move));
    if (turn !== "none") parts.push(this.t("turn", { way: words(turn) }));
    return parts.join(", ") || this.t("idle");
  }

  /** The most important message: not editable, an error, latents left out, or a note. */
  #message({ kind, path, counts }, { linked, relabels, speedLinked }, editable) {
    if (linked) return { kind: "note", text: this.t("linkedText", { input: linked }) };
    if (kind === "json") return { kind: "note", text: this.t("json") };
    if (kind === "broken") return { kind: "error", text: path.error };
    if (kind === "empty") return { kind: "note", text: this.t("empty") };
    if (relabels) return { kind: "note", text: this.t("relabels", { latents: counts.latents }) };
    if (counts.left)
      return { kind: "warning", text: this.#leftOut(counts), action: editable && this.#fillButton(counts.missing) };
    if (path.notes.length) return { kind: "note", text: path.notes.join(" ") };
    return { kind: "note", text: speedLinked ? this.t("linkedSpeed") : "" };
  }

  #leftOut({ chunks, left, missing }) {
    if (!chunks) return this.t("tooShort", { missing });
    return this.t(left === 1 ? "fillsOne" : "fills", { left });
  }

  #fillButton(missing) {
    const fill = () => this.fill(missing);
    return html("button", { type: "button", class: "hyw-button", onclick: fill }, this.t("fill", { missing }));
  }
}
