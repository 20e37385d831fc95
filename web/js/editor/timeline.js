/**
 * The segments in a row, as long as they last, under a ruler of chunks. The playhead stands after the latent it is at:
 * what is inserted goes in there.
 */

import { chunkStart } from "../camera/counts.js";
import { capsOf } from "./caps.js";
import { html, onSize, pathData, set, svg } from "./dom.js";

/** Smallest width of a latent in pixels; longer paths scroll. */
const LEAST_CELL = 3;
/** Smallest number of latents that fill the row. */
const LEAST_CELLS = 16;
const MOST_SEGMENTS = 300;
const RULER_HEIGHT = 16;

export class Timeline {
  #walk = null;
  #at = 0;
  #current = -1;
  #width = 0;
  #drag = null;
  #editable = true;

  /**
   * @param {ReturnType<import("./texts.js").textsFor>} t
   * @param {object} on
   * @param {(latent: number) => void} on.scrub
   * @param {(index: number) => void} on.select
   * @param {(index: number, count: number, done: boolean) => void} on.resize while and after dragging
   * @param {(index: number) => void} on.remove
   */
  constructor(t, on) {
    this.t = t;
    this.on = on;
    this.ticks = svg("svg", { class: "hyw-ticks", height: RULER_HEIGHT, "aria-hidden": "true" });
    const slider = { role: "slider", tabindex: 0, "aria-label": t("position"), "aria-valuemin": 0 };
    this.ruler = html("div", { class: "hyw-ruler", ...slider }, this.ticks);
    this.row = html("ol", { class: "hyw-segments", "aria-label": t("timeline") });
    this.line = html("div", { class: "hyw-playhead", "aria-hidden": "true" });
    this.strip = html("div", { class: "hyw-strip" }, this.ruler, this.row, this.line);
    this.element = html("div", { class: "hyw-timeline" }, this.strip);
    this.#listen();
    this.forget = onSize(this.element, (width) => {
      this.#width = width;
      if (this.#walk) this.show(this.#walk, this.#current, this.#editable);
    });
  }

  /** Draw the segments of a path; `current` is the one at the playhead, -1 for none. */
  show(walk, current, editable) {
    this.#walk = walk;
    this.#current = current;
    this.#editable = editable;
    if (!this.#width) return;
    const cells = walk.poses.length;
    // While dragging, a segment must not shrink under the pointer.
    this.cell = this.#drag?.cell ?? Math.max(LEAST_CELL, this.#width / Math.max(cells + 2, LEAST_CELLS));
    set(this.strip, { style: `--cell: ${this.cell}px; width: ${Math.max(this.#width, (cells + 1) * this.cell)}px` });
    this.#drawTicks(cells, walk.counts);
    this.#drawSegments(walk.path.segments);
    set(this.ruler, { "aria-valuemax": walk.motions.length });
    this.markCurrent(current);
    this.moveTo(this.#at);
  }

  markCurrent(current) {
    this.#current = current;
    for (const button of this.row.querySelectorAll("button")) {
      const index = Number(button.dataset.index);
      set(button, { "aria-pressed": String(index === current), tabindex: index === Math.max(current, 0) ? 0 : -1 });
    }
  }

  /** Put the playhead after a latent, also between two. */
  moveTo(at) {
    this.#at = at;
    if (!this.#width) return;
    const x = (at + 1) * this.cell;
    set(this.line, { style: `transform: translateX(${x}px)` });
    const { scrollLeft } = this.element;
    if (x > scrollLeft + this.#width - 8) this.element.scrollLeft = x - this.#width + 40;
    else if (x < scrollLeft + 8) this.element.scrollLeft = x - 40;
  }

  /** Say in words where the playhead is. */
  describe(at, words) {
    set(this.ruler, { "aria-valuenow": at, "aria-valuetext": words });
  }

  #drawTicks(cells, counts) {
    const { chunks, left, chunkLatents } = counts;
    const width = (cells + 1) * this.cell;
    set(this.ticks, { width: Math.max(width, this.#width) });
    const every = Math.ceil(numberRoom(chunks) / (chunkLatents * this.cell));
    const marks = [];
    let lines = "";
    for (let chunk = 0; chunk <= chunks; chunk++) {
      const x = chunkStart(chunk, counts) * this.cell;
      const numbered = chunk < chunks && chunk % every === 0;
      lines += pathData([
        [x + 0.5, numbered ? 2 : 9],
        [x + 0.5, RULER_HEIGHT],
      ]);
      if (numbered) marks.push(svg("text", { x: x + 4, y: 10 }, String(chunk + 1)));
    }
    const leftOut = { x: chunkStart(chunks, counts) * this.cell, width: left * this.cell, height: RULER_HEIGHT };
    this.ticks.replaceChildren(svg("rect", { class: "hyw-left-out", ...leftOut }), svg("path", { d: lines }), ...marks);
  }

  #drawSegments(segments) {
    const shown = segments.slice(0, MOST_SEGMENTS);
    const focused = this.row.contains(document.activeElement);
    const items = shown.map((segment, index) => this.#segment(segment, index, segments.length));
    const start = html("li", { class: "hyw-still", "aria-hidden": "true" });
    const rest = segments.length - shown.length;
    const more = rest ? [html("li", { class: "hyw-more" }, this.t("more", { count: rest }))] : [];
    this.row.replaceChildren(start, ...items, ...more);
    // The focused element was redrawn.
    const current = Math.min(Math.max(this.#current, 0), shown.length - 1);
    if (focused) (items[current]?.firstChild ?? this.ruler).focus({ preventScroll: true });
  }

  #segment({ keys, count }, index, all) {
    const name = keys.join(" + ") || this.t("idle");
    const button = html(
      "button",
      {
        type: "button",
        class: "hyw-segment",
        style: `--hue: ${hueOf(keys)}`,
        "data-index": index,
        disabled: !this.#editable,
        title: `${name}, ${count}`,
        "aria-label": this.t("segment", { number: index + 1, all, keys: name, count }),
      },
      html("b", {}, capsOf(keys) || "·"),
      html("span", {}, String(count)),
    );
    const grip = html("span", { class: "hyw-grip", "data-index": index, "aria-hidden": "true" });
    return html("li", { style: `width: ${count * this.cell}px` }, button, ...(this.#editable ? [grip] : []));
  }

  #listen() {
    set(this.ruler, {
      onpointerdown: (event) => {
        if (event.button) return;
        this.ruler.setPointerCapture(event.pointerId);
        this.on.scrub(this.#latentAt(event));
      },
      onpointermove: (event) => {
        if (this.ruler.hasPointerCapture(event.pointerId)) this.on.scrub(this.#latentAt(event));
      },
      onkeydown: (event) => this.#rulerKey(event),
    });
    set(this.element, {
      onwheel: (event) => {
        const sideways = event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY);
        if (sideways && this.element.scrollWidth > this.#width) event.stopPropagation();
      },
    });
    set(this.row, {
      onclick: (event) => {
        const button = event.target.closest("button");
        if (button) this.on.select(Number(button.dataset.index));
      },
      onkeydown: (event) => this.#segmentKey(event),
      onpointerdown: (event) => this.#beginDrag(event),
      onpointermove: (event) => this.#dragTo(event, false),
      onpointerup: (event) => this.#dragTo(event, true),
      onpointercancel: (event) => this.#dragTo(event, true),
    });
  }

  #rulerKey(event) {
    const last = this.#walk.motions.length;
    const { chunkLatents } = this.#walk.counts;
    const at = Math.round(this.#at);
    const to = {
      ArrowLeft: at - 1,
      ArrowDown: at - 1,
      ArrowRight: at + 1,
      ArrowUp: at + 1,
      PageUp: at + chunkLatents,
      PageDown: at - chunkLatents,
      Home: 0,
      End: last,
    }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    this.on.scrub(Math.min(Math.max(to, 0), last));
  }

  #segmentKey(event) {
    const index = Number(event.target.dataset?.index);
    const segment = this.#walk.path.segments[index];
    if (!segment) return;
    const step = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1 }[event.key];
    if (event.key === "Delete" || event.key === "Backspace") this.on.remove(index);
    else if (!step) return;
    else if (event.shiftKey) this.on.resize(index, Math.max(1, segment.count + step), true);
    else this.on.select(Math.min(Math.max(index + step, 0), this.#walk.path.segments.length - 1));
    event.preventDefault();
  }

  #beginDrag(event) {
    if (event.button || !event.target.classList.contains("hyw-grip")) return;
    event.preventDefault();
    const index = Number(event.target.dataset.index);
    this.#drag = { index, cell: this.cell, from: event.clientX, count: this.#walk.path.segments[index].count };
    this.row.setPointerCapture(event.pointerId);
  }

  #dragTo(event, done) {
    const drag = this.#drag;
    if (!drag) return;
    const count = Math.max(1, drag.count + Math.round((event.clientX - drag.from) / this.#zoom() / drag.cell));
    if (done) this.#drag = null;
    this.on.resize(drag.index, count, done);
  }

  #latentAt(event) {
    const x = (event.clientX - this.strip.getBoundingClientRect().left) / this.#zoom();
    return Math.min(Math.max(Math.round(x / this.cell) - 1, 0), this.#walk.motions.length);
  }

  /** Screen pixels to a pixel of the layout: the graph may be zoomed. */
  #zoom() {
    return this.element.getBoundingClientRect().width / this.element.offsetWidth || 1;
  }
}

/** Pixels a chunk's number takes: a tick, and its digits. */
function numberRoom(chunk) {
  return 10 + 6 * String(chunk).length;
}

/** Moves are blue, turns amber, both together green, orbits violet, rest grey. */
function hueOf(keys) {
  const moves = keys.some((key) => "wasd".includes(key));
  if (keys.some((key) => key.startsWith("orbit"))) return "var(--hyw-orbit)";
  if (!keys.length) return "var(--hyw-idle)";
  if (!moves) return "var(--hyw-turn)";
  return keys.every((key) => "wasd".includes(key)) ? "var(--hyw-move)" : "var(--hyw-both)";
}
