/**
 * Everything the editor shows of a path, worked out from its text.
 */

import { countsOf } from "../camera/counts.js";
import { integrate, motionOf, poseAt } from "../camera/integrate.js";
import { labelOfKeys, labels } from "../camera/labels.js";
import { heldKeys, read } from "../camera/notation.js";

/**
 * @typedef {object} Walk
 * @property {string} text
 * @property {import("../camera/notation.js").PathText} path
 * @property {"path" | "empty" | "json" | "broken"} kind what the text is
 * @property {string[][]} held the keys of each latent of motion
 * @property {import("../camera/integrate.js").Motion[]} motions
 * @property {import("../camera/integrate.js").Pose[]} poses one more than motions
 * @property {number[]} labels the action label of each latent
 * @property {ReturnType<typeof countsOf>} counts
 * @property {ReturnType<typeof countsOf>} otherwise counts where the walk is not new, if `counts` are of a new one
 * @property {(at: number) => import("../camera/integrate.js").Pose} poseAt
 */

/**
 * @param {string} text
 * @param {object} settings
 * @param {import("../camera/notation.js").Notation} settings.notation
 * @param {import("../camera/integrate.js").Speeds} settings.speeds
 * @param {boolean} [settings.thirdPerson]
 * @param {boolean} [settings.relabels] the keys label a path from elsewhere
 * @param {import("../graph/wiring.js").Wiring} [settings.wiring]
 * @returns {Walk}
 */
export function walkOf(text, { notation, speeds, thirdPerson = false, relabels = false, wiring }) {
  const kind = kindOf(text, notation);
  const path = read(kind === "json" ? "" : text, notation);
  const held = heldKeys(path);
  const motions = held.map((keys) => motionOf(keys, speeds));
  const { steps, chunkLatents } = speeds;
  const continued = wiring?.walk === "continued";
  const poses = integrate(motions, steps, continued);
  const orbits = path.segments.some(({ keys }) => keys.some((key) => key.startsWith("orbit")));
  return {
    text,
    path,
    kind: kind === "path" && path.error ? "broken" : kind,
    held,
    motions,
    poses,
    labels: relabels ? [0, ...held.map(labelOfKeys)] : labels(poses, thirdPerson || orbits),
    counts: countsOf(motions.length, continued, chunkLatents),
    otherwise: countsOf(motions.length, true, chunkLatents),
    poseAt: (at) => poseAt(poses, motions, at, steps, continued),
  };
}

function kindOf(text, notation) {
  const source = text.trim();
  if (!source) return "empty";
  return notation.name === "tokens" && (/^[{[]/.test(source) || /(\.json|\.npz|images\.txt)$/i.test(source)) ? "json" : "path";
}
