/**
 * The path from above: x to the right, z (forward at the start) up, drawn to fit.
 */

import { chunkStart } from "../camera/counts.js";
import { html, onSize, pathData, set, svg } from "./dom.js";

const MARGIN = 32;
/** Smallest extent of the map in scene units. */
const LEAST_SPAN = 0.5;
const MOST_CONES = 24;
const MOST_PIECES = 60;
const MOST_NUMBERS = 12;
const CONE_PX = 20;
const CONE_DEG = 60;
/** Largest distance in pixels between pointer and path. */
const REACH_PX = 40;

export class PathMap {
  #size = [0, 0];
  #walk = null;
  #at = 0;
  #points = [];

  /**
   * @param {ReturnType<import("./texts.js").textsFor>} t
   * @param {(latent: number) => void} scrub the user points at a latent
   * @param {number} margin pixels around the path
   */
  constructor(t, scrub, margin = MARGIN) {
    this.scrub = scrub;
    this.margin = margin;
    this.drawing = svg("g");
    this.now = svg("g", { class: "hyw-now" }, svg("path", { d: cone(CONE_PX * 1.5) }), svg("circle", { r: 4.5 }));
    this.picture = svg("svg", { role: "img", "aria-label": t("map") }, this.drawing, this.now);
    this.element = html("div", { class: "hyw-map" }, this.picture);
    this.#listen();
    this.forget = onSize(this.element, (...size) => {
      this.#size = size;
      if (this.#walk) this.show(this.#walk, this.#at);
    });
  }

  show(walk, at) {
    this.#walk = walk;
    const [width, height] = this.#size;
    if (!width) return;
    set(this.picture, { viewBox: `0 0 ${width} ${height}` });
    this.#fit(walk.poses);
    this.#points = walk.poses.map(({ position: [x, , z] }) => this.toPixels(x, z));
    this.drawing.replaceChildren(
      svg("path", { class: "hyw-grid", d: this.#grid() }),
      ...this.#cones(),
      ...this.#pieces(),
      ...this.#chunkMarks(),
      ...this.#ends(),
      ...this.#scaleBar(),
    );
    this.moveTo(at);
  }

  /** Put the camera at a latent, also between two. */
  moveTo(at) {
    this.#at = at;
    if (!this.#walk || !this.#size[0]) return;
    const pose = this.#walk.poseAt(at);
    const [x, y] = this.toPixels(pose.position[0], pose.position[2]);
    set(this.now, { transform: `translate(${x} ${y}) ${heading(pose)}` });
  }

  toPixels(x, z) {
    const [width, height] = this.#size;
    return [width / 2 + (x - this.middle[0]) * this.scale, height / 2 - (z - this.middle[1]) * this.scale];
  }

  #fit(poses) {
    const span = [0, 2].map((axis) => {
      const places = poses.map(({ position }) => position[axis]);
      const [low, high] = [places.reduce((a, b) => Math.min(a, b)), places.reduce((a, b) => Math.max(a, b))];
      return { middle: (low + high) / 2, length: Math.max(high - low, LEAST_SPAN) };
    });
    this.middle = span.map(({ middle }) => middle);
    this.scale = Math.min(...this.#size.map((side, i) => Math.max(side - 2 * this.margin, 20) / span[i].length));
  }

  #grid() {
    const [width, height] = this.#size;
    const step = roundLength(width / this.scale / 6);
    const lines = (middle, pixels) => {
      const first = Math.ceil((middle - pixels / 2 / this.scale) / step);
      const last = Math.floor((middle + pixels / 2 / this.scale) / step);
      return Array.from({ length: last - first + 1 }, (_, i) => (first + i) * step);
    };
    const upright = lines(this.middle[0], width).map((x) => `M${this.toPixels(x, 0)[0].toFixed(1)} 0V${height}`);
    const level = lines(this.middle[1], height).map((z) => `M0 ${this.toPixels(0, z)[1].toFixed(1)}H${width}`);
    return [...upright, ...level].join("");
  }

  /** Where the camera looked, at the beginning of chunks. */
  #cones() {
    const starts = this.#chunkStarts();
    const every = Math.ceil(starts.length / MOST_CONES);
    return starts
      .filter((_, i) => i % every === 0)
      .map((i) => {
        const [x, y] = this.#points[i];
        const transform = `translate(${x} ${y}) ${heading(this.#walk.poses[i])}`;
        return svg("path", { class: "hyw-cone", style: this.#colour(i), d: cone(CONE_PX), transform });
      });
  }

  /** The path, in pieces of whole chunks that change colour from first to last; what fills no chunk is dashed. */
  #pieces() {
    const { chunks, left, start, chunkLatents } = this.#walk.counts;
    const length = chunkLatents * Math.max(1, Math.ceil(chunks / MOST_PIECES));
    const whole = chunkStart(chunks, this.#walk.counts);
    const pieces = [];
    for (let i = start; i < whole; i += length) {
      const d = pathData(this.#points.slice(Math.max(0, i - 1), Math.min(i + length, whole)));
      pieces.push(svg("path", { class: "hyw-path", style: this.#colour(i), d }));
    }
    if (left) {
      pieces.push(
        svg("path", { class: "hyw-path hyw-left-out", d: pathData(this.#points.slice(Math.max(0, whole - 1))) }),
      );
    }
    return pieces;
  }

  /** Chunks are numbered where there is room; where the second and later ones begin, a tick crosses the path. */
  #chunkMarks() {
    const starts = this.#chunkStarts();
    const { chunks } = this.#walk.counts;
    const every = Math.ceil(chunks / MOST_NUMBERS);
    const taken = [this.#points[0]];
    const numbers = [];
    let ticks = "";
    for (const [chunk, i] of starts.entries()) {
      const [x, y] = this.#points[i];
      const across = this.#across(i);
      if (!across) continue;
      const [dx, dy] = across.map((part) => 5 * part);
      if (chunk) {
        ticks += pathData([
          [x - dx, y - dy],
          [x + dx, y + dy],
        ]);
      }
      const place = [x + 2.4 * dx, y + 2.4 * dy];
      if (chunk >= chunks || chunk % every) continue;
      if (chunk && taken.some(([tx, ty]) => Math.hypot(tx - place[0], ty - place[1]) < 13)) continue;
      taken.push(place);
      numbers.push(svg("text", { class: "hyw-number", x: place[0], y: place[1] }, String(chunk + 1)));
    }
    return [svg("path", { class: "hyw-tick", d: ticks }), ...numbers];
  }

  #ends() {
    const [first, last] = [this.#points[0], this.#points.at(-1)];
    return [
      svg("circle", { class: "hyw-end", cx: last[0], cy: last[1], r: 3.5 }),
      svg("circle", { class: "hyw-start", cx: first[0], cy: first[1], r: 5 }),
    ];
  }

  #scaleBar() {
    const [width, height] = this.#size;
    const length = roundLength(width / this.scale / 4);
    const [x, y] = [8, height - 8];
    return [
      svg("path", { class: "hyw-scale", d: `M${x} ${y - 3}v6m0-3h${length * this.scale}m0-3v6` }),
      svg("text", { class: "hyw-number hyw-scale-text", x, y: y - 9 }, String(Number(length.toPrecision(3)))),
    ];
  }

  #chunkStarts() {
    const { counts } = this.#walk;
    const length = Math.ceil(counts.latents / counts.chunkLatents);
    return Array.from({ length }, (_, chunk) => chunkStart(chunk, counts));
  }

  /** Unit vector across the path at a latent; undefined where it stands. */
  #across(i) {
    const [before, after] = [this.#points[Math.max(i - 1, 0)], this.#points[Math.min(i + 1, this.#points.length - 1)]];
    const [dx, dy] = [after[0] - before[0], after[1] - before[1]];
    const length = Math.hypot(dx, dy);
    return length < 1 ? undefined : [-dy / length, dx / length];
  }

  #colour(i) {
    return `--share: ${Math.round((100 * i) / Math.max(1, this.#points.length - 1))}%`;
  }

  /** Pointing at the path and dragging along it moves the camera there. */
  #listen() {
    const point = (event) => {
      const box = this.picture.getBoundingClientRect();
      const zoom = box.width / this.#size[0] || 1;
      const [x, y] = [(event.clientX - box.left) / zoom, (event.clientY - box.top) / zoom];
      const nearest = this.#nearest(x, y);
      if (nearest !== undefined) this.scrub(nearest);
    };
    set(this.element, {
      onpointerdown: (event) => {
        if (event.button) return;
        this.element.setPointerCapture(event.pointerId);
        point(event);
      },
      onpointermove: (event) => {
        if (this.element.hasPointerCapture(event.pointerId)) point(event);
      },
    });
  }

  /** The latent at a place; of those that lie on one spot the one closest in time. */
  #nearest(x, y) {
    const away = this.#points.map(([px, py]) => Math.hypot(px - x, py - y));
    const least = away.reduce((a, b) => Math.min(a, b), Infinity);
    if (least > REACH_PX) return undefined;
    const close = away.flatMap((distance, i) => (distance < least + 0.5 ? [i] : []));
    return close.reduce((a, b) => (Math.abs(b - this.#at) < Math.abs(a - this.#at) ? b : a));
  }
}

/** A view cone that looks up the page. */
function cone(length) {
  const [x, y] = [length * Math.sin((CONE_DEG * Math.PI) / 360), -length * Math.cos((CONE_DEG * Math.PI) / 360)];
  return `M0 0L${-x} ${y}A${length} ${length} 0 0 1 ${x} ${y}Z`;
}

/** Turns a cone to where the camera looks; the more it looks up or down the shorter it is. */
function heading({ rotation }) {
  const [x, z] = [rotation[2], rotation[8]];
  return `rotate(${(Math.atan2(x, z) * 180) / Math.PI}) scale(1 ${Math.max(Math.hypot(x, z), 0.15)})`;
}

/** The largest of 1, 2, 5 times a power of ten that is at most `length`. */
function roundLength(length) {
  const power = 10 ** Math.floor(Math.log10(length));
  return [5, 2, 1].map((factor) => factor * power).find((round) => round <= length * (1 + 1e-9));
}
