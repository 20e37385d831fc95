/**
 * Keys as they are drawn: `W→`, with a turning arrow for an orbit.
 */

import { keyCap } from "../camera/presses.js";

const ORBITS = { orbit_left: "⟲", orbit_right: "⟳" };

/** @param {string[]} keys by their names in pose tokens */
export function capsOf(keys) {
  return keys.map((key) => ORBITS[key] ?? keyCap(key)).join("");
}
