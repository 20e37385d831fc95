/**
 * The keys of a camera path, with the table and messages of `hyworld/camera/tokens.py`; tests compare them.
 */

import { closest } from "./closest.js";

/** What each key moves: a field of `Motion` (see integrate.js) and its sign. Orbits are named by how the camera turns. */
export const KEYS = Object.freeze({
  w: ["forward", 1],
  s: ["forward", -1],
  a: ["right", -1],
  d: ["right", 1],
  up: ["pitch", 1],
  down: ["pitch", -1],
  left: ["yaw", -1],
  right: ["yaw", 1],
  orbit_left: ["orbit", -1],
  orbit_right: ["orbit", 1],
});

export const KEY_NAMES = Object.freeze(Object.keys(KEYS));

/** DreamX-World's keys, which are written together as one word (`wl`), and ours. */
const LETTERS = { w: "w", s: "s", a: "a", d: "d", i: "up", k: "down", j: "left", l: "right" };

export const MAX_LATENTS = 100_000;

/** Words people try that are too far from the key's name for `closest`. */
const MEANT = { forward: "w", forwards: "w", backward: "s", backwards: "s", back: "s" };

const isKey = (word) => Object.hasOwn(KEYS, word);

/** What a key turns or moves; an orbit turns the camera, so it counts as a turn. */
const axisOf = (key) => (KEYS[key][0] === "orbit" ? "yaw" : KEYS[key][0]);

/** Whether two keys have opposite directions. */
export function opposed(a, b) {
  return axisOf(a) === axisOf(b) && KEYS[a][1] !== KEYS[b][1];
}

/** The key that undoes this one: w → s, orbit_left → orbit_right. */
export function opposite(key) {
  return KEY_NAMES.find((other) => KEYS[other][0] === KEYS[key][0] && other !== key);
}

/** The key after left and right are exchanged. */
export function mirrored(key) {
  return axisOf(key) === "yaw" || axisOf(key) === "right" ? opposite(key) : key;
}

/** Keys in the order of `KEYS`. */
export function inOrder(keys) {
  return KEY_NAMES.filter((key) => keys.includes(key));
}

/** Whether the same keys are held, in any order. */
export function sameKeys(a, b) {
  return a.length === b.length && a.every((key) => b.includes(key));
}

/**
 * Keys as they may be held together: of two opposed ones the later in the list stays.
 * @param {string[]} keys oldest first
 */
export function compatible(keys) {
  const kept = [];
  for (const key of [...keys].reverse()) if (!kept.includes(key) && !kept.some((k) => opposed(k, key))) kept.push(key);
  return inOrder(kept);
}

/** Words of `LETTERS` as the keys that they stand for; others stay as they are. */
export function spelledOut(parts) {
  const isWord = (part) => !isKey(part) && [...part].every((letter) => Object.hasOwn(LETTERS, letter));
  return parts.flatMap((part) => (isWord(part) ? [...part].map((letter) => LETTERS[letter]) : [part]));
}

/** Throws a `ReadError` with the end of a sentence unless the keys are known, different and not opposed. */
export function checkKeys(keys) {
  const held = new Map();
  keys.forEach((key, i) => {
    if (!isKey(key)) {
      const meant = Object.hasOwn(MEANT, key) ? MEANT[key] : closest(key, KEY_NAMES);
      throw new ReadError(`has the unknown key "${shortened(key)}"${meant ? ` (did you mean "${meant}"?)` : ""}`);
    }
    if (keys.indexOf(key) < i) throw new ReadError(`has the key "${key}" twice`);
    const axis = axisOf(key);
    if (!held.has(axis)) held.set(axis, key);
    const other = held.get(axis);
    if (opposed(other, key)) throw new ReadError(`has the opposite keys "${other}" and "${key}"`);
  });
}

/** Text that is not a path; the message says why. */
export class ReadError extends Error {}

/** The user's text for a message. */
export function shortened(text) {
  const letters = [...text];
  return letters.length <= 40 ? text : `${letters.slice(0, 39).join("")}…`;
}
