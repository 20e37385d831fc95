/**
 * Pose tokens, the notation of Camera Trajectory: `w-3, w+right-4, orbit_left-2`.
 *
 * The grammar and the sentences of `hyworld/camera/tokens.py`.
 */

import { KEY_NAMES, MAX_LATENTS, ReadError, checkKeys, inOrder, shortened, spelledOut } from "./keys.js";

const EXAMPLE =
  `the keys are ${KEY_NAMES.join(", ")} (i, k, j, l are up, down, left, right), and a token is written like ` +
  '"w-4", "w+right-4" or "wl-4"';
const DASHES = /[‐‑‒–—−]/g;
const NUMBER = /^[+-]?(?:\d+(?:_\d+)*\.?(?:\d+(?:_\d+)*)?|\.\d+(?:_\d+)*)(?:e[+-]?\d+(?:_\d+)*)?$/;
const NOT_FINITE = /^[+-]?(?:inf(?:inity)?|nan)$/;

/** @type {import("./notation.js").Notation} */
export const tokens = Object.freeze({
  name: "tokens",
  separator: /,/,
  hasIdle: false,
  empty: `The camera path is empty: ${EXAMPLE}.`,

  clean: (entry) => entry.replace(DASHES, "-").toLowerCase().trim().replace(/\s+/g, " "),

  read(token) {
    const dash = token.lastIndexOf("-");
    const keysText = token.slice(0, Math.max(dash, 0)).trim();
    const countText = token.slice(dash + 1).trim();
    if (dash < 0 || !countText) throw new ReadError("lacks a count");
    if (!keysText) throw new ReadError("lacks a key");
    if (keysText.endsWith("-")) throw new ReadError(`has the negative count -${shortened(countText)}`);
    const parts = keysText.split("+").map((part) => part.trim());
    if (parts.includes("")) throw new ReadError('has a "+" with no key beside it');
    const keys = spelledOut(parts);
    checkKeys(keys);
    return { keys, count: readCount(countText) };
  },

  write: (keys, count) => `${inOrder(keys).join("+")}-${count}`,

  problem: (position, token, reason) =>
    `Token ${position} of the camera path, "${shortened(token)}", ${reason}: ${EXAMPLE}.`,

  tooLong: (position, token) =>
    `Token ${position} of the camera path, "${shortened(token)}", makes the path longer than ${MAX_LATENTS} latents: ` +
    "shorten it.",

  note(position, token, count) {
    const latents = Math.floor(count);
    if (latents < 1) return `Token ${position}, "${shortened(token)}", adds nothing: its count is below 1 latent.`;
    if (latents === count) return undefined;
    return `Token ${position}, "${shortened(token)}", lasts ${latents} latents: counts are rounded down.`;
  },
});

function readCount(text) {
  if (NOT_FINITE.test(text)) throw new ReadError(`has the count "${shortened(text)}", which is not a finite number`);
  if (!NUMBER.test(text)) throw new ReadError(`has the count "${shortened(text)}", which is not a number`);
  const count = Number(text.replaceAll("_", ""));
  if (!Number.isFinite(count)) throw new ReadError(`has the count "${shortened(text)}", which is not a finite number`);
  if (count > MAX_LATENTS) throw new ReadError(`has a count above ${MAX_LATENTS}`);
  return count;
}
