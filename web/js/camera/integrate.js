/**
 * Motions → camera poses (x right, y down, z forward), with the numbers of `hyworld/camera/poses.py`.
 *
 * @typedef {object} Motion what the camera does in one latent, in its own frame: units along, radians around
 * @property {number} forward
 * @property {number} right
 * @property {number} yaw    to the right
 * @property {number} pitch  up
 * @property {number} orbit  yaws to the right about a point ahead
 *
 * @typedef {object} Pose camera to world
 * @property {number[]} rotation  3×3, row by row
 * @property {number[]} position  [x, y, z] in scene units
 *
 * @typedef {object} Speeds how far one latent goes
 * @property {number} move  scene units
 * @property {number} turn  degrees, for turns and orbits
 * @property {number} [steps]  in how many equal steps a latent's motion is made, 1 if not said; the first motion of a path
 *   from a world's beginning has one of them
 * @property {number} [chunkLatents]  latents of a chunk of the model with these speeds
 */

import { KEYS } from "./keys.js";

/** What the model was trained on. */
export const TRAINED = Object.freeze({ move: 0.08, turn: 3 });

/** Scene units between the camera and the point it orbits. */
export const ORBIT_RADIUS = 1;

/** @type {Pose} */
export const START = Object.freeze({ rotation: [1, 0, 0, 0, 1, 0, 0, 0, 1], position: [0, 0, 0] });

const STILL = Object.freeze({ forward: 0, right: 0, yaw: 0, pitch: 0, orbit: 0 });

/**
 * One latent with these keys held down.
 * @param {string[]} keys
 * @param {Speeds} speeds
 * @returns {Motion}
 */
export function motionOf(keys, speeds = TRAINED) {
  const turn = (speeds.turn * Math.PI) / 180;
  const step = { forward: speeds.move, right: speeds.move, yaw: turn, pitch: turn, orbit: turn };
  const motion = { ...STILL };
  for (const key of keys) {
    const [axis, sign] = KEYS[key];
    motion[axis] = sign * step[axis];
  }
  return motion;
}

/**
 * The pose after a motion: yaw, pitch, move along the new axes, then orbit.
 * @param {Pose} pose
 * @param {Motion} motion
 * @returns {Pose}
 */
export function advance({ rotation, position }, motion) {
  let R = product(product(rotation, aboutY(motion.yaw)), aboutX(motion.pitch));
  let place = added(position, turned(R, [motion.right, 0, motion.forward]));
  if (motion.orbit) {
    const orbited = product(R, aboutY(motion.orbit));
    const pivot = [0, 0, ORBIT_RADIUS];
    place = added(place, added(turned(R, pivot), turned(orbited, pivot), -1));
    R = orbited;
  }
  return { rotation: R, position: place };
}

/**
 * The pose of every latent: one more than there are motions, the first at the origin.
 * @param {Motion[]} motions
 * @param {number} [steps] see `Speeds`
 * @param {boolean} [continued] the path goes on from latents there are, so that its first motion has all steps, too
 * @returns {Pose[]}
 */
export function integrate(motions, steps = 1, continued = false) {
  const poses = [START];
  motions.forEach((motion, i) => {
    const count = i || continued ? steps : 1;
    poses.push(stepped(poses.at(-1), shareOf(motion, 1 / steps), count));
  });
  return poses;
}

function stepped(pose, step, count) {
  for (let i = 0; i < count; i++) pose = advance(pose, step);
  return pose;
}

function shareOf(motion, share) {
  return Object.fromEntries(Object.entries(motion).map(([axis, step]) => [axis, step * share]));
}

/**
 * The pose between latents, `at` counted from 0.
 * @param {Pose[]} poses
 * @param {Motion[]} motions
 * @param {number} at
 * @param {number} [steps] as of `integrate`
 * @param {boolean} [continued]
 */
export function poseAt(poses, motions, at, steps = 1, continued = false) {
  const i = Math.min(Math.max(Math.floor(at), 0), motions.length);
  const share = at - i;
  if (share <= 0 || i === motions.length) return poses[i];
  const made = share * (i || continued ? steps : 1);
  const step = shareOf(motions[i], 1 / steps);
  return advance(stepped(poses[i], step, Math.floor(made)), shareOf(step, made % 1));
}

/** A point of the world in the camera's frame. */
export function inCamera({ rotation, position }, point) {
  return unturned(rotation, added(point, position, -1));
}

/** R · v of a 3×3 matrix and a vector. */
export function turned(R, [x, y, z]) {
  return [0, 3, 6].map((row) => R[row] * x + R[row + 1] * y + R[row + 2] * z);
}

/** Rᵀ · v. */
export function unturned(R, [x, y, z]) {
  return [0, 1, 2].map((column) => R[column] * x + R[column + 3] * y + R[column + 6] * z);
}

/** A · B of 3×3 matrices. */
export function product(A, B) {
  return [0, 3, 6].flatMap((row) =>
    [0, 1, 2].map((column) => A[row] * B[column] + A[row + 1] * B[column + 3] + A[row + 2] * B[column + 6]),
  );
}

/** Aᵀ · B of 3×3 matrices. */
export function productOfTransposed([a, b, c, d, e, f, g, h, i], B) {
  return product([a, d, g, b, e, h, c, f, i], B);
}

/** v + share · w. */
export function added(v, w, share = 1) {
  return v.map((value, i) => value + share * w[i]);
}

/** Turns +z towards +x: a yaw to the right. */
function aboutY(angle) {
  const [c, s] = [Math.cos(angle), Math.sin(angle)];
  return [c, 0, s, 0, 1, 0, -s, 0, c];
}

/** Turns +z towards -y: a pitch up. */
function aboutX(angle) {
  const [c, s] = [Math.cos(angle), Math.sin(angle)];
  return [1, 0, 0, 0, c, -s, 0, s, c];
}
