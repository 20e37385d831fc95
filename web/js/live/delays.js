/**
 * How long it takes from a key to the first frame that shows it.
 */

import { LATENT_FRAMES } from "../camera/counts.js";

const MOST_SENT = 200;
const MOST_DELAYS = 200;
/** Time stamps travel as decimal numbers. */
const SAME_MS = 1;

export class Delays {
  #sent = [];
  #waits = [];
  list = [];

  /**
   * An input was sent.
   * @param {number} at its time stamp
   * @param {boolean} lets nothing is held any more: time may stand still, and no frame ever show it
   */
  sent(at, lets = false) {
    this.#sent.push({ at, lets });
    if (this.#sent.length > MOST_SENT) this.#sent.shift();
  }

  /**
   * A chunk was made. A latent shows the change at `since`, and those before it that no latent has shown yet.
   * @param {number} chunk
   * @param {{since: number | null}[]} inputs per latent
   * @param {number} frames of the chunk
   */
  made(chunk, inputs, frames) {
    for (const [latent, { since }] of inputs.entries()) {
      if (since === null) continue;
      const first = firstFrame(latent, inputs.length, frames);
      for (const { at, lets } of this.#sent) {
        if (at < since + SAME_MS && (!lets || at > since - SAME_MS)) this.#waits.push({ chunk, first, at });
      }
      this.#sent = this.#sent.filter(({ at }) => at >= since + SAME_MS);
    }
  }

  /**
   * A frame was shown.
   * @param {{chunk: number, at: number}} frame
   * @param {number} now on the clock of the time stamps
   */
  shown(frame, now) {
    const isShown = ({ chunk, first }) => chunk === frame.chunk && first <= frame.at;
    for (const { at } of this.#waits.filter(isShown)) this.list.push(now - at);
    this.list.splice(0, this.list.length - MOST_DELAYS);
    // Frames that were left out show nothing any more.
    this.#waits = this.#waits.filter((wait) => !isShown(wait) && wait.chunk >= frame.chunk);
  }

  /** Wait for nothing that was sent: another way was taken, or the socket is lost. */
  forget() {
    this.#sent = [];
    this.#waits = [];
  }
}

/** The frame a latent begins with: four frames each, but the first latent of a video has one. */
export function firstFrame(latent, latents, frames) {
  return Math.max(0, frames - LATENT_FRAMES * (latents - latent));
}

/** The value below which this share of the values lies, 0.5 for the median; undefined of none. */
export function quantile(values, share) {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(Math.floor(share * sorted.length), sorted.length - 1)];
}
