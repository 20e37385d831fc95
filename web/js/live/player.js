/**
 * The canvas: plays frames as they are due, or holds a still picture.
 */

import { html } from "../editor/dom.js";
import { Frames } from "./frames.js";

/** Milliseconds until a frame that is due but not decoded yet is looked for again. */
const LOOK_AGAIN = 8;

export class Player {
  // By a timer, not with every screen refresh: those would be four times as many, each with work for the browser.
  #timer = 0;
  #still = 0;

  /**
   * @param {string} label of the picture
   * @param {object} on
   * @param {(frame: import("./frames.js").Frame, now: number) => void} on.shown
   * @param {(began: number) => boolean} on.expects see `Frames`
   */
  constructor(label, { shown, expects }) {
    this.shown = shown;
    this.element = html("canvas", { class: "hyw-picture", role: "img", "aria-label": label, width: 16, height: 9 });
    this.frames = new Frames((picture) => createImageBitmap(picture), expects);
    this.onVisible = () => this.frames.rest();
    document.addEventListener("visibilitychange", this.onVisible);
  }

  play(chunk, pictures) {
    this.frames.push(chunk, pictures);
    if (!this.#timer) this.#tick();
  }

  /** Drop what waits and show one picture. */
  async still(picture) {
    this.frames.clear();
    const number = ++this.#still;
    const bitmap = await createImageBitmap(picture);
    if (number === this.#still) this.#draw(bitmap);
    else bitmap.close();
  }

  /** Show nothing. */
  blank() {
    this.#still++;
    this.element.width = this.element.width;
  }

  destroy() {
    clearTimeout(this.#timer);
    document.removeEventListener("visibilitychange", this.onVisible);
    this.#still++;
    this.frames.clear();
  }

  #tick() {
    const frame = this.frames.take();
    if (frame) {
      this.#still++;
      if (frame.bitmap) this.#draw(frame.bitmap);
      this.shown(frame, performance.now());
    }
    this.#timer = this.frames.isEmpty ? 0 : setTimeout(() => this.#tick(), this.frames.wait || LOOK_AGAIN);
  }

  #draw(bitmap) {
    const { width, height } = bitmap;
    if (this.element.width !== width || this.element.height !== height) Object.assign(this.element, { width, height });
    this.element.getContext("2d", { alpha: false }).drawImage(bitmap, 0, 0);
    bitmap.close();
  }
}
