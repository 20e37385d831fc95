/**
 * The playhead in latents from 0: `at` is the whole latent, `shown` glides there unless motion is reduced.
 */

const GLIDE_MS = 160;

export class Playhead {
  #frame = 0;
  at = 0;
  shown = 0;

  /** @param {(shown: number) => void} moved */
  constructor(moved) {
    this.moved = moved;
  }

  get moving() {
    return this.#frame !== 0;
  }

  /** Jump to a latent. */
  set(at) {
    this.#halt();
    this.at = this.shown = at;
    this.moved(at);
  }

  /** Limit the playhead to the path's new end. */
  keepWithin(last) {
    this.at = Math.min(this.at, last);
    this.shown = Math.min(this.shown, last);
  }

  /** Glide to a latent. */
  goTo(at, ms = GLIDE_MS) {
    this.at = at;
    this.#glide(at, Math.abs(at - this.shown) / ms);
  }

  /** Walk to a latent at a pace of latents per second; `at` follows. */
  play(to, pace, ended) {
    this.#glide(to, pace / 1000, true, ended);
  }

  /** Stop on the nearest latent. */
  stop() {
    if (this.moving) this.set(Math.round(this.shown));
  }

  #halt() {
    cancelAnimationFrame(this.#frame);
    this.#frame = 0;
  }

  /** @param {number} speed latents per millisecond */
  #glide(to, speed, carries = false, ended = () => {}) {
    this.#halt();
    const wantsMotion = carries || !matchMedia("(prefers-reduced-motion: reduce)").matches;
    let before = performance.now();
    const step = (now) => {
      const way = to - this.shown;
      const reach = Math.max(0, now - before) * speed;
      before = now;
      const arrived = !wantsMotion || reach >= Math.abs(way);
      this.shown = arrived ? to : this.shown + Math.sign(way) * reach;
      if (carries) this.at = Math.floor(this.shown);
      this.#frame = arrived ? 0 : requestAnimationFrame(step);
      this.moved(this.shown);
      if (arrived) ended();
    };
    this.#frame = requestAnimationFrame(step);
  }
}
