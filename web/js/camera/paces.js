/**
 * The models that follow a camera, and the speeds they were trained at, with the numbers of `hyworld/camera/tokens.py`.
 */

import { CHUNK_LATENTS, LATENT_FRAMES } from "./counts.js";
import { TRAINED } from "./integrate.js";

/** @type {Record<string, import("./integrate.js").Speeds>} */
const PACES = Object.freeze({
  WorldPlay: { ...TRAINED, steps: 1, chunkLatents: CHUNK_LATENTS },
  "DreamX-World": { move: 0.3, turn: 6, steps: LATENT_FRAMES, chunkLatents: 3 },
});

/**
 * Speeds as shares of WorldPlay's → the same shares of those a model was trained at.
 * @param {string | undefined} name of `PACES`; another one is WorldPlay's
 * @param {{move: number, turn: number}} speeds
 * @returns {import("./integrate.js").Speeds}
 */
export function paced(name, { move, turn }) {
  const own = Object.hasOwn(PACES, name ?? "") ? PACES[name] : PACES.WorldPlay;
  const share = (asked, trained, of) => (trained === of ? asked : (of * asked) / trained);
  return { ...own, move: share(move, TRAINED.move, own.move), turn: share(turn, TRAINED.turn, own.turn) };
}
