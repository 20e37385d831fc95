/**
 * The camera's view of an empty world: floor, posts, horizon with degrees, and the path, through the model's lens.
 */

import { added, inCamera, unturned } from "../camera/integrate.js";
import { html, onSize, pathData, set, svg } from "./dom.js";

/** Half the field of view across a 16:9 picture, as a tangent: 960 pixels at a focal length of 969.7. */
const HALF_WIDTH = 960 / 969.6969696969696;
const ASPECT = 16 / 9;

/** Scene units. */
const EYE_HEIGHT = 0.4;
const GRID_STEP = 0.25;
const GRID_REACH = 4;
const POST_STEP = 1;
const POST_HEIGHT = 0.3;
const NEAR = 0.02;

/** Lines of the floor up to these distances from the camera are drawn ever fainter. */
const FADES = [1, 2.25, GRID_REACH];
const BEARING_STEP = 10;
const NAMED_BEARING_STEP = 30;
const MOST_PATH_POINTS = 600;

export class FirstPerson {
  #size = [0, 0];
  #walk = null;
  #at = 0;
  #footprints = [];

  /** @param {ReturnType<import("./texts.js").textsFor>} t */
  constructor(t) {
    this.ground = svg("path", { class: "hyw-ground" });
    this.floor = FADES.map((_, i) => svg("path", { class: `hyw-floor hyw-fade-${i}` }));
    this.trail = svg("path", { class: "hyw-trail" });
    this.posts = svg("path", { class: "hyw-post" });
    this.start = svg("path", { class: "hyw-start-post" });
    this.horizon = svg("path", { class: "hyw-horizon" });
    this.bearings = svg("g", { class: "hyw-bearings" });
    this.frame = svg("rect", { class: "hyw-frame" });
    const parts = [
      this.ground,
      ...this.floor,
      this.trail,
      this.posts,
      this.start,
      this.horizon,
      this.bearings,
      this.frame,
    ];
    this.picture = svg("svg", { role: "img", "aria-label": t("view") }, ...parts);
    this.element = html("div", { class: "hyw-view" }, this.picture);
    this.forget = onSize(this.element, (...size) => {
      this.#size = size;
      this.#resize();
    });
  }

  show(walk, at) {
    this.#walk = walk;
    const every = Math.ceil(walk.poses.length / MOST_PATH_POINTS);
    this.#footprints = walk.poses.filter((_, i) => i % every === 0).map(({ position: [x, , z] }) => [x, EYE_HEIGHT, z]);
    this.moveTo(at);
  }

  /** Look from a latent, also from between two. */
  moveTo(at) {
    this.#at = at;
    if (!this.#walk || !this.#size[0]) return;
    const pose = this.#walk.poseAt(at);
    const see = (...points) => this.#lines(points.map((point) => inCamera(pose, point)));
    set(this.ground, { d: this.#groundData(pose) });
    this.#floorLines(pose).forEach((lines, i) => set(this.floor[i], { d: lines.map((line) => see(...line)).join("") }));
    set(this.trail, { d: see(...this.#footprints) });
    set(this.posts, {
      d: postsAround(pose.position)
        .map((foot) => see(foot, top(foot)))
        .join(""),
    });
    const origin = [0, EYE_HEIGHT, 0];
    set(this.start, { d: see(origin, top(origin)) });
    this.#drawBearings(pose);
  }

  #resize() {
    const [width, height] = this.#size;
    const across = Math.min(width, height * ASPECT);
    this.focal = across / 2 / HALF_WIDTH;
    set(this.picture, { viewBox: `0 0 ${width} ${height}` });
    const box = { x: (width - across) / 2 + 1, y: (height - across / ASPECT) / 2 + 1 };
    set(this.frame, { ...box, width: across - 2, height: across / ASPECT - 2 });
    this.moveTo(this.#at);
  }

  #toPixels([x, y, z]) {
    const [width, height] = this.#size;
    return [width / 2 + (this.focal * x) / z, height / 2 + (this.focal * y) / z];
  }

  /** A chain of points in the camera's frame, as path data; what lies behind the camera is cut off. */
  #lines(chain) {
    let data = "";
    for (let i = 1; i < chain.length; i++) {
      const line = cutNear(chain[i - 1], chain[i]);
      if (line) data += pathData(line.map((point) => this.#toPixels(point)));
    }
    return data;
  }

  #groundData({ rotation }) {
    const [width, height] = this.#size;
    const [dx, dy, dz] = unturned(rotation, [0, 1, 0]);
    const depth = ([x, y]) => dx * (x - width / 2) + dy * (y - height / 2) + dz * this.focal;
    const corners = [
      [0, 0],
      [width, 0],
      [width, height],
      [0, height],
    ];
    const below = cutPolygon(corners, depth);
    return below.length ? `${pathData(below)}Z` : "";
  }

  /** Lines of the floor in the world, in one list per fade. */
  #floorLines({ position: [cx, , cz] }) {
    const fades = FADES.map(() => []);
    const along = (centre, line) => {
      const first = Math.ceil((centre - GRID_REACH) / GRID_STEP);
      const last = Math.floor((centre + GRID_REACH) / GRID_STEP);
      for (let k = first; k <= last; k++) {
        const away = Math.abs(k * GRID_STEP - centre);
        fades[FADES.findIndex((reach) => away <= reach + 1e-9)].push(line(k * GRID_STEP));
      }
    };
    along(cx, (x) => [
      [x, EYE_HEIGHT, cz - GRID_REACH],
      [x, EYE_HEIGHT, cz + GRID_REACH],
    ]);
    along(cz, (z) => [
      [cx - GRID_REACH, EYE_HEIGHT, z],
      [cx + GRID_REACH, EYE_HEIGHT, z],
    ]);
    return fades;
  }

  /** Ticks on the horizon, in degrees from the first view. */
  #drawBearings({ rotation }) {
    let ticks = "";
    const names = [];
    for (let bearing = -180; bearing < 180; bearing += BEARING_STEP) {
      const angle = (bearing * Math.PI) / 180;
      const far = unturned(rotation, [Math.sin(angle), 0, Math.cos(angle)]);
      if (far[2] < 0.2) continue;
      const up = added(far, unturned(rotation, [0, -1, 0]), bearing % NAMED_BEARING_STEP ? 0.04 : 0.08);
      ticks += pathData([this.#toPixels(far), this.#toPixels(up)]);
      if (bearing % NAMED_BEARING_STEP) continue;
      const [x, y] = this.#toPixels(added(up, unturned(rotation, [0, -1, 0]), 0.07));
      names.push(svg("text", { x: x.toFixed(1), y: y.toFixed(1) }, `${bearing}°`.replace("-", "−")));
    }
    set(this.horizon, { d: ticks });
    this.bearings.replaceChildren(...names);
  }
}

/** The part of a line before the camera; undefined if it lies behind. */
function cutNear(a, b) {
  if (a[2] < NEAR && b[2] < NEAR) return undefined;
  const cut = (behind, before) =>
    added(behind, added(before, behind, -1), (NEAR - behind[2]) / (before[2] - behind[2]));
  return [a[2] < NEAR ? cut(a, b) : a, b[2] < NEAR ? cut(b, a) : b];
}

/** The part of a polygon where `depth` is positive. */
function cutPolygon(corners, depth) {
  return corners.flatMap((corner, i) => {
    const next = corners[(i + 1) % corners.length];
    const [here, there] = [depth(corner), depth(next)];
    const kept = here > 0 ? [corner] : [];
    if (here > 0 !== there > 0) kept.push(added(corner, added(next, corner, -1), here / (here - there)));
    return kept;
  });
}

/** Feet of the posts near a place. */
function postsAround([cx, , cz]) {
  const near = (centre) => {
    const first = Math.ceil((centre - GRID_REACH) / POST_STEP - 0.5);
    return Array.from({ length: (2 * GRID_REACH) / POST_STEP }, (_, i) => (first + i + 0.5) * POST_STEP);
  };
  return near(cx).flatMap((x) => near(cz).map((z) => [x, EYE_HEIGHT, z]));
}

function top([x, y, z]) {
  return [x, y - POST_HEIGHT, z];
}
