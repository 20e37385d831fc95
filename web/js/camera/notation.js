/**
 * A path as text and as segments. Every edit is a pure function from one `PathText` to the next.
 *
 * Segments keep their text and separators, so that `write` returns unedited parts letter for letter.
 *
 * @typedef {object} Segment keys held together for some latents
 * @property {string[]} keys   by their names in pose tokens; empty is idle
 * @property {number} count    whole latents, 0 or more
 * @property {string} before   what parts it from the segment before, as written
 * @property {string} text     the segment itself, as written
 *
 * @typedef {object} PathText
 * @property {Notation} notation
 * @property {Segment[]} segments
 * @property {string} after    what follows the last segment
 * @property {string} [error]  the sentence that says why the text is not a path; the segments are those before
 * @property {string[]} notes  what the user should know about how the text was read
 *
 * @typedef {object} Notation how segments are written; `read` throws a `ReadError` with the end of a sentence
 * @property {string} name
 * @property {RegExp} separator between entries
 * @property {boolean} hasIdle whether latents without keys can be written
 * @property {string} empty the sentence for a text without any entry
 * @property {(entry: string) => string} clean the entry as it is read and shown in messages
 * @property {(entry: string) => {keys: string[], count: number}} read
 * @property {(keys: string[], count: number) => string} write
 * @property {(position: number, entry: string, reason: string) => string} problem
 * @property {(position: number, entry: string) => string} tooLong
 * @property {(position: number, entry: string, count: number) => string | undefined} note
 */

import { MAX_LATENTS, ReadError, mirrored, sameKeys } from "./keys.js";

/**
 * Read a text. Never throws: what cannot be read is said in `error`.
 * @param {string} text
 * @param {Notation} notation
 * @returns {PathText}
 */
export function read(text, notation) {
  const path = { notation, segments: [], after: "", notes: [] };
  let before = "";
  let latents = 0;
  for (const piece of text.split(new RegExp(`(${notation.separator.source})`))) {
    const entry = notation.clean(piece);
    if (!entry || (piece.length === 1 && notation.separator.test(piece))) {
      before += piece;
      continue;
    }
    const position = path.segments.length + 1;
    try {
      const { keys, count } = notation.read(entry);
      const whole = Math.max(0, Math.floor(count));
      latents += whole;
      if (latents > MAX_LATENTS) return { ...path, error: notation.tooLong(position, entry) };
      const note = notation.note(position, entry, count);
      if (note) path.notes.push(note);
      const lead = piece.length - piece.trimStart().length;
      const end = piece.trimEnd().length;
      path.segments.push({ keys, count: whole, before: before + piece.slice(0, lead), text: piece.slice(lead, end) });
      before = piece.slice(end);
    } catch (reason) {
      if (!(reason instanceof ReadError)) throw reason;
      return { ...path, error: notation.problem(position, entry, reason.message) };
    }
  }
  if (!path.segments.length) path.error = notation.empty;
  return { ...path, after: before };
}

export function write(path) {
  return path.segments.map((segment) => segment.before + segment.text).join("") + path.after;
}

/** Latents of motion: those after the first one, which stands still. */
export function motionLatents(path) {
  return path.segments.reduce((sum, segment) => sum + segment.count, 0);
}

/**
 * Which segment latent `at` belongs to (latent 0 to none, -1), and how many of its latents come up to it.
 * @returns {{index: number, within: number}}
 */
export function locate(path, at) {
  let start = 0;
  for (const [index, { count }] of path.segments.entries()) {
    if (at > start && at <= start + count) return { index, within: at - start };
    start += count;
  }
  return { index: -1, within: 0 };
}

/** The latent a segment ends with; 0 for the index -1. */
export function endOf(path, index) {
  return path.segments.slice(0, index + 1).reduce((sum, segment) => sum + segment.count, 0);
}

/**
 * Put latents in after latent `at`: a neighbour with the same keys grows, a segment that `at` lies in is split.
 * @param {PathText} path
 * @param {number} at
 * @param {string[]} keys
 * @param {number} count
 * @returns {PathText}
 */
export function insert(path, at, keys, count = 1) {
  const { index, within } = locate(path, at);
  const here = path.segments[index];
  const next = path.segments[index + 1];
  if (here && sameKeys(here.keys, keys)) return resize(path, index, here.count + count);
  if (here && within < here.count) {
    const rest = here.count - within;
    return splice(resize(path, index, within), index + 1, 0, [fresh(path, keys, count), fresh(path, here.keys, rest)]);
  }
  if (next && sameKeys(next.keys, keys)) return resize(path, index + 1, next.count + count);
  return splice(path, index + 1, 0, [fresh(path, keys, count)]);
}

/**
 * Put whole segments in after latent `at`.
 * @param {{keys: string[], count: number}[]} segments
 */
export function insertAll(path, at, segments) {
  let [result, place] = [path, at];
  for (const { keys, count } of segments) {
    result = insert(result, place, keys, count);
    place += count;
  }
  return result;
}

/** Give a segment another length; 0 removes it. */
export function resize(path, index, count) {
  return count > 0 ? rewrite(path, index, path.segments[index].keys, count) : remove(path, index);
}

export function rekey(path, index, keys) {
  return rewrite(path, index, keys, path.segments[index].count);
}

export function remove(path, index) {
  return splice(path, index, 1, []);
}

/** Exchange left and right. */
export function mirror(path) {
  return path.segments.reduce((result, { keys }, i) => {
    const other = keys.map(mirrored);
    return sameKeys(keys, other) ? result : rekey(result, i, other);
  }, path);
}

/** The keys of each latent of motion, in order. */
export function heldKeys(path) {
  return path.segments.flatMap(({ keys, count }) => Array(count).fill(keys));
}

/** Latents gathered into segments. */
export function segmentsOf(held) {
  const segments = [];
  for (const keys of held) {
    const last = segments.at(-1);
    if (last && sameKeys(last.keys, keys)) last.count++;
    else segments.push({ keys, count: 1 });
  }
  return segments;
}

function fresh({ notation }, keys, count) {
  return { keys, count, before: ", ", text: notation.write(keys, count) };
}

function rewrite(path, index, keys, count) {
  const segment = { ...path.segments[index], keys, count, text: path.notation.write(keys, count) };
  return { ...path, segments: path.segments.map((other, i) => (i === index ? segment : other)) };
}

/** Replace segments; keeps one separator between any two, none before the first. */
function splice(path, index, removed, added) {
  const segments = [...path.segments];
  const first = segments[0]?.before ?? "";
  const gone = segments.splice(index, removed, ...added);
  let { after } = path;
  if (index === 0 && segments.length) {
    segments[0] = { ...segments[0], before: first };
    const second = added.length;
    if (second && segments[second] && !gone.length) segments[second] = { ...segments[second], before: ", " };
  } else if (added.length && index + added.length === segments.length && path.notation.separator.test(after)) {
    segments[index] = { ...segments[index], before: `${after.trimEnd()} ` };
    after = "";
  }
  if (!segments.length) after = "";
  return { ...path, segments, after };
}
