/**
 * Keys that lead back along the same path to exactly where it began.
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
 * Undo latents one motion after another, the last first. A latent can undo two motions of combined latents if they come
 * in the order in which a latent makes them: after `w+right-4` (turn, step, …, turn, step) the way back is
 * `s-1, s+left-3, left-1`, and after `w-4, right-4` simply `left-4, s-4`.
 * @param {string[][]} held the keys of each latent
 * @returns {{keys: string[], count: number}[]}
 */
export function retrace(held) {
  const back = [];
  let open = ORDER.length;
  for (const keys of [...held].reverse()) {
    const stages = ORDER.map((stage) => keys.filter((key) => stage.includes(key)).map(opposite));
    const combined = stages.filter((undo) => undo.length).length > 1;
    for (let stage = ORDER.length - 1; stage >= 0; stage--) {
      const undo = stages[stage];
      if (!undo.length) continue;
      const clash = back.at(-1)?.some((key) => undo.some((other) => opposed(key, other)));
      if (combined && stage > open && !clash) back.at(-1).push(...undo);
      else back.push(undo);
      open = combined ? stage : ORDER.length;
    }
  }
  return segmentsOf(back.map(inOrder));
}
