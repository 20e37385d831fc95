/**
 * The lines of words: how long the path is, where the playhead is, and what the user should know.
 */

import { placeOf } from "../camera/counts.js";
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
    const counts = situation.awaits ? "" : this.#counts(walk.counts);
    const { kind, text, note = "", action } = this.#message(walk, situation, editable);
    // A line ends between the counts, not within one.
    const parts = counts.split(" · ").map((part) => html("span", {}, part));
    this.counts.replaceChildren(...parts.flatMap((part, i) => (i ? [" · ", part] : [part])));
    this.message.className = `hyw-message hyw-${kind}`;
    const words = html("div", {}, text, html("span", { class: "hyw-note" }, text && note && " ", note));
    this.message.replaceChildren(words, ...(action ? [action] : []));
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => (this.live.textContent = `${counts}. ${sentences(text, note)}`), QUIET_MS);
  }

  /** Where a latent is and what is done in it, in words. */
  place({ labels, counts }, at) {
    const { latent, chunk, whole } = placeOf(at, counts);
    if (!latent) return this.t("positionBefore");
    const key = whole ? "positionText" : "positionTextOut";
    const action = this.#action(labels[at] ?? 0);
    return this.t(key, { latent, last: counts.latents, chunk, chunks: counts.chunks, action });
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

  #counts({ latents, chunks, frames, seconds }) {
    return this.t(chunks === 1 ? "countsOne" : "counts", { latents, chunks, frames, seconds: seconds.toFixed(1) });
  }

  /** The most important message: not editable, an error, latents left out, or a note. */
  #message(walk, { linked, awaits, relabels, speedsFrom, wiring }, editable) {
    const { kind, path, counts, poses } = walk;
    if (awaits) return { kind: "note", text: this.t("linkedText", { input: linked }) };
    if (kind === "json") return { kind: "note", text: this.t("json") };
    if (kind === "broken") return { kind: "error", text: path.error };
    if (kind === "empty") return { kind: "note", text: this.t("empty") };
    const from = linked && this.t("linkedRan", { input: linked });
    if (relabels) return { kind: "note", text: sentences(from, this.t("relabels", { latents: poses.length })) };
    const left = counts.missing ? this.#leftOut(counts, wiring) : "";
    const drawnAt = speedsFrom && this.t(speedsFrom === "run" ? "ranSpeed" : "linkedSpeed");
    const note = sentences(from, ...path.notes, ...this.#destination(walk, wiring), drawnAt);
    const action = left && editable && this.#fillButton(counts.missing);
    return { kind: left && !wiring.part ? "warning" : "note", text: left, note, action };
  }

  #leftOut({ chunks, left, missing }, { part }) {
    if (part) return left ? this.t("partLeft", { left }) : "";
    if (!chunks) return this.t("tooShort", { missing });
    return this.t(left === 1 ? "fillsOne" : "fills", { left });
  }

  /** What is to say about where the path goes; nothing for a new walk. */
  #destination({ otherwise }, { walk, part }) {
    if (walk === "both" || walk === "unknown")
      return [part && this.t("part"), this.t(walk, { counts: this.#counts(otherwise) })];
    if (part) return [this.t("part")];
    return [walk === "continued" && this.t("continued")];
  }

  #fillButton(missing) {
    const fill = () => this.fill(missing);
    return html("button", { type: "button", class: "hyw-button", onclick: fill }, this.t("fill", { missing }));
  }
}

function sentences(...parts) {
  return parts.filter(Boolean).join(" ");
}
