/**
 * Walks to start from. Turns are in degrees, so that they look the same at every turn speed.
 */

import { TRAINED } from "./integrate.js";

const turn = (key, degrees) => (speeds) => ({
  keys: [key],
  count: Math.max(1, Math.round(degrees / (speeds.turn || TRAINED.turn))),
});
const walk = (key, count) => () => ({ keys: [key], count });

/** Name → the segments it consists of, each for given speeds. */
const WALKS = {
  forward: [walk("w", 16)],
  glance: [turn("left", 30), turn("right", 30)],
  lookAround: [turn("left", 45), turn("right", 90), turn("left", 45)],
  orbit: [turn("orbit_right", 90)],
  thereAndBack: [walk("w", 12), walk("s", 12)],
};

export const PRESETS = Object.freeze(Object.keys(WALKS));

/**
 * @param {string} name one of `PRESETS`
 * @param {import("./integrate.js").Speeds} speeds
 * @returns {{keys: string[], count: number}[]}
 */
export function preset(name, speeds) {
  return WALKS[name].map((segment) => segment(speeds));
}
