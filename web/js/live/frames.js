/**
 * The frames that wait to be shown: decoded ahead, handed out at the video's rate, and counted. No canvas, no clock.
 */

import { FRAME_RATE, LATENT_FRAMES } from "../camera/counts.js";

/** Frames that are decoded before their time. */
const AHEAD = 16;
/** Frames that may wait, three chunks or more; beyond that (a hidden page, a slow line) the oldest go. */
const MOST_WAITING = 48;
const CHUNKS_WAITING = 3;
/** A frame later than this share of a frame's time is counted as late, or as a stall if it was not there. */
const TOLERANCE = 0.5;
/** A frame that was there but is shown late, by so many frames' time at most, lets the next one come sooner. */
const MADE_GOOD = 4;
/** How many times between frames the rate is taken over. */
const RATE_OVER = 64;

/**
 * @typedef {object} Frame
 * @property {number} chunk
 * @property {number} at its place in the chunk
 * @property {number} of frames of the chunk
 * @property {ImageBitmap | null} [bitmap] null if the picture could not be read
 */

export class Frames {
  #waiting = [];
  #due = 0;
  #shown = 0;
  #began = 0;
  #times = [];
  #most = MOST_WAITING;
  counts = { frames: 0, stalls: 0, late: 0, skipped: 0 };

  /**
   * @param {(picture: Blob) => Promise<ImageBitmap>} decode
   * @param {(began: number) => boolean} expects whether the walk has been wanted to go on since the last chunk began;
   *   a gap counts as a stall only then
   * @param {() => number} now milliseconds
   */
  constructor(decode, expects, now = () => performance.now()) {
    this.decode = decode;
    this.expects = expects;
    this.now = now;
    this.period = 1000 / FRAME_RATE;
  }

  set fps(fps) {
    this.period = 1000 / fps;
  }

  /** Latents of a chunk. */
  set chunkLatents(latents) {
    this.#most = Math.max(MOST_WAITING, CHUNKS_WAITING * LATENT_FRAMES * latents);
  }

  /** Seconds of play that wait. */
  get seconds() {
    return (this.#waiting.length * this.period) / 1000;
  }

  get isEmpty() {
    return !this.#waiting.length;
  }

  /** Frames a second while they played, gaps in a wanted walk included. */
  get rate() {
    const sum = this.#times.reduce((a, b) => a + b, 0);
    return sum ? (1000 * this.#times.length) / sum : 0;
  }

  /** Milliseconds until the next frame is due. */
  get wait() {
    return Math.max(0, this.#due - this.now());
  }

  push(chunk, pictures) {
    const of = pictures.length;
    this.#waiting.push(...pictures.map((picture, at) => ({ chunk, at, of, picture })));
    while (this.#waiting.length > this.#most) {
      discard(this.#waiting.shift());
      this.counts.skipped++;
    }
    this.#decodeAhead();
  }

  /** Drop what waits; the next frame is a new beginning. */
  clear() {
    this.#waiting.forEach(discard);
    this.#waiting = [];
    this.rest();
  }

  /** What comes next is a new beginning: the time until then counts nowhere. */
  rest() {
    this.#due = 0;
  }

  /**
   * The frame that is due, if it is there.
   * @returns {Frame | undefined}
   */
  take() {
    const now = this.now();
    const frame = this.#waiting[0];
    if (now < this.#due || frame?.bitmap === undefined) return undefined;
    this.#waiting.shift();
    this.#count(now, frame.ready > this.#due);
    if (!frame.at || !this.#began) this.#began = now;
    this.#decodeAhead();
    return frame;
  }

  #count(now, wasMissing) {
    this.counts.frames++;
    const behind = now - this.#due;
    const isLate = behind > TOLERANCE * this.period;
    const goesOn = this.#due && (!isLate || !wasMissing || this.expects(this.#began));
    if (goesOn) {
      if (isLate) this.counts[wasMissing ? "stalls" : "late"]++;
      this.#times.push(now - this.#shown);
      if (this.#times.length > RATE_OVER) this.#times.shift();
    }
    this.#shown = now;
    // A gap makes the rest late too: no frame is left out, and the server sees how much play is left.
    const goesOnInTime = goesOn && !(isLate && wasMissing) && behind < MADE_GOOD * this.period;
    this.#due = (goesOnInTime ? this.#due : now) + this.period;
  }

  #decodeAhead() {
    for (const frame of this.#waiting.slice(0, AHEAD)) {
      if (!frame.picture) continue;
      const ready = (bitmap) => {
        if (frame.discarded) return bitmap?.close();
        Object.assign(frame, { bitmap, ready: this.now() });
      };
      const { picture } = frame;
      frame.picture = null;
      this.decode(picture).then(ready, () => ready(null));
    }
  }
}

function discard(frame) {
  frame.discarded = true;
  frame.bitmap?.close();
}
