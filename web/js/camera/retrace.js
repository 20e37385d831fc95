/**
 * The way back: keys that lead along the same path, in the other direction, to exactly where it began.
 */

import { inOrder, opposed, opposite } from "./keys.js";
import { segmentsOf } from "./notation.js";

/** Within a latent the camera yaws, pitches, moves, then orbits. */
const ORDER = [
  ["left", "right"],
  ["up", "down"],
  ["w", "s", "a", "d"],
  ["orbit_left", "orbit_right"],
];

/**
 * Undo latents one motion after another, the last first. A latent can undo several motions if they come in the order
 * in which a latent makes them: after `w+right-4` (turn, step, …, turn, step) the way back is `s-1, s+left-3, left-1`.
 * @param {string[][]} held the keys of each latent
 * @returns {{keys: string[], count: number}[]}
 */
export function retrace(held) {
  const back = [];
  let last = ORDER.length;
  for (const keys of [...held].reverse()) {
    for (let stage = ORDER.length - 1; stage >= 0; stage--) {
      const undo = keys.filter((key) => ORDER[stage].includes(key)).map(opposite);
      if (!undo.length) continue;
      const fits = back.length > 0 && stage > last && !back.at(-1).some((key) => undo.some((other) => opposed(key, other)));
      if (fits) back.at(-1).push(...undo);
      else back.push(undo);
      last = stage;
    }
  }
  return segmentsOf(back.map(inOrder));
}
