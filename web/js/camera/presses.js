/**
 * Key presses, the notation of Action Sequence: `W*8, W+→*4, idle*2`.
 *
 * The grammar and the sentences of `hyworld/camera/keys.py`.
 */

import { KEY_NAMES, MAX_LATENTS, ReadError, checkKeys, inOrder, spelledOut } from "./keys.js";

const NAMES = { "↑": "up", "↓": "down", "←": "left", "→": "right" };
const IDLE = ["idle", "none"];
const ARROWS = Object.fromEntries(Object.entries(NAMES).map(([arrow, key]) => [key, arrow]));
const EXAMPLE =
  `the keys are ${KEY_NAMES.join(", ")} (up, down, left, right also ${Object.keys(NAMES).join(" ")} or i, k, j, l) ` +
  'and idle, written like "W*8, W+→*4, idle*2"';

/** @type {import("./notation.js").Notation} */
export const presses = Object.freeze({
  name: "presses",
  separator: /[,\n;]/,
  hasIdle: true,
  empty: `There are no key presses: ${EXAMPLE}.`,

  clean: (entry) => entry.trim().toLowerCase(),

  read(entry) {
    const star = entry.indexOf("*");
    const keysText = (star < 0 ? entry : entry.slice(0, star)).trim();
    const countText = star < 0 ? "1" : entry.slice(star + 1).trim();
    if (!/^\d+$/.test(countText)) throw new ReadError(`has the count "${countText}", which is not a whole number`);
    const count = Number(countText);
    if (count < 1 || count > MAX_LATENTS) throw new ReadError(`has a count that is not between 1 and ${MAX_LATENTS}`);
    if (IDLE.includes(keysText)) return { keys: [], count };
    const parts = keysText.split("+").map((part) => NAMES[part.trim()] ?? part.trim());
    if (parts.includes("")) throw new ReadError("lacks a key");
    const keys = spelledOut(parts);
    checkKeys(keys);
    return { keys, count };
  },

  write: (keys, count) => `${keys.length ? inOrder(keys).map(keyCap).join("+") : "idle"}*${count}`,

  problem: (position, entry, reason) => `Entry ${position} of the key presses, "${entry}", ${reason}: ${EXAMPLE}.`,

  tooLong: () => `The key presses last longer than ${MAX_LATENTS} latents: shorten them.`,

  note: () => undefined,
});

/** A key as it is printed on the keyboard: `W`, `→`; an orbit by its name. */
export function keyCap(key) {
  return ARROWS[key] ?? (key.length === 1 ? key.toUpperCase() : key);
}
