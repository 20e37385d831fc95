/**
 * The 81 action labels that the network is told besides the poses, by the rule of `hyworld/camera/actions.py`:
 * 9 · move + turn, read from each pose relative to the one before.
 */

import { KEYS } from "./keys.js";
import { added, productOfTransposed, unturned } from "./integrate.js";

export const MOVES = Object.freeze([
  "none",
  "forward",
  "backward",
  "right",
  "left",
  "forward+right",
  "forward+left",
  "backward+right",
  "backward+left",
]);

export const TURNS = Object.freeze([
  "none",
  "right",
  "left",
  "up",
  "down",
  "right+up",
  "right+down",
  "left+up",
  "left+down",
]);

/**
 * [first axis][second axis] → number, of moves (forward, right) and of turns (right, up). An axis is 0 for none, 1 for
 * its positive side, 2 for its negative side.
 */
const COMBINED = [
  [0, 3, 4],
  [1, 5, 6],
  [2, 7, 8],
];

/** Scene units per latent up to which a move counts as none. */
const LEAST_MOVE = 1e-4;
/** Largest angle between a move and an axis it counts for. */
const AXIS_DEG = 60;
/** Degrees per latent up to which a turn counts as none. */
const LEAST_TURN_DEG = 0.05;

const degrees = (radians) => (radians * 180) / Math.PI;

/**
 * Labels of poses; the first pose has none before it and is 0.
 * @param {import("./integrate.js").Pose[]} poses
 * @param {boolean} thirdPerson drop the move of a latent that also turns: it comes from orbiting
 * @returns {number[]}
 */
export function labels(poses, thirdPerson = false) {
  return poses.map((pose, i) => (i ? labelBetween(poses[i - 1], pose, thirdPerson) : 0));
}

/** Label of keys held down together; an orbit counts as its turn. */
export function labelOfKeys(keys) {
  const side = {};
  for (const key of keys) side[KEYS[key][0]] = KEYS[key][1] > 0 ? 1 : 2;
  const move = COMBINED[side.forward ?? 0][side.right ?? 0];
  return TURNS.length * move + COMBINED[side.yaw ?? side.orbit ?? 0][side.pitch ?? 0];
}

/** The names of a label's move and turn, from `MOVES` and `TURNS`. */
export function partsOf(label) {
  return { move: MOVES[Math.floor(label / TURNS.length)], turn: TURNS[label % TURNS.length] };
}

function labelBetween(before, after, thirdPerson) {
  const relative = productOfTransposed(before.rotation, after.rotation);
  const step = unturned(before.rotation, added(after.position, before.position, -1));
  const { yaw, pitch } = yawPitch(relative);
  const length = Math.hypot(...step);
  const turns = Math.abs(yaw) >= LEAST_TURN_DEG || Math.abs(pitch) >= LEAST_TURN_DEG;
  const moves = length > LEAST_MOVE && !(thirdPerson && turns);
  const [right, , forward] = step.map((part) => (moves ? moveSide(part / length) : 0));
  return TURNS.length * COMBINED[forward][right] + COMBINED[turnSide(yaw)][turnSide(pitch)];
}

function moveSide(cosine) {
  const angle = degrees(Math.acos(Math.min(1, Math.max(-1, cosine))));
  if (angle < AXIS_DEG) return 1;
  return angle > 180 - AXIS_DEG ? 2 : 0;
}

function turnSide(angle) {
  if (angle > LEAST_TURN_DEG) return 1;
  return angle < -LEAST_TURN_DEG ? 2 : 0;
}

/** The angles about y and x, in degrees, of R = Rz · Ry · Rx. */
function yawPitch(R) {
  const cosYaw = Math.hypot(R[7], R[8]);
  // At a quarter turn x and z turn about the same axis; by convention all of it is x's.
  const pitch = cosYaw < 1e-7 ? Math.atan2(-R[5], R[4]) : Math.atan2(R[7], R[8]);
  return { yaw: degrees(Math.atan2(-R[6], cosYaw)), pitch: degrees(pitch) };
}
