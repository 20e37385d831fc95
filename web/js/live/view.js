/**
 * The view of a live walk: what a person sees who walks or watches, in the node and on the page.
 *
 * Load editor/editor.css and live/live.css beside it; colours are ComfyUI's variables, with fall-backs.
 */

/**
 * @typedef {object} Options
 * @property {() => string | URL | null} connect the address of the walk's WebSocket, asked for at every attempt; null
 *   while there is none
 * @property {string} [locale] as in ComfyUI's settings
 * @property {() => void} [onStop] gives the view a stop button; called after the server was told
 * @property {(state: object) => void} [onState] the server's newest `state` message
 * @property {(text: string) => void} [onEnded] the walk has ended; the view does not connect again until `open`
 * @property {Element[]} [tools] further controls beside the switch, such as the page's save buttons
 *
 * @typedef {object} Stats
 * @property {number} frames shown
 * @property {number} stalls how often the next frame was due and not there, in a walk that went on for a second or more
 * @property {number} late frames that were there, and shown more than a frame's time after they were due
 * @property {number} skipped frames left out because more than two chunks waited
 * @property {number} rate frames a second while they played, over the last ones
 * @property {number[]} delays milliseconds from a key event to the first frame that shows it, the last 200
 */

export class LiveView {
  /** @param {Options} options */
  constructor(options) {
    this.options = options;
    this.element = document.createElement("div");
  }

  /** Connect, and again whenever the socket is lost, until `close` or the end of the walk. */
  open() {}

  /** Disconnect; the last picture stays. `words` are shown in its place of notes. */
  close(words = "") {}

  /** Whether it is connected, or trying to be. */
  get isOpen() {
    return false;
  }

  /** Give the picture the focus, so that keys walk. */
  focus() {}

  /** @returns {Stats} */
  get stats() {
    return { frames: 0, stalls: 0, late: 0, skipped: 0, rate: 0, delays: [] };
  }

  destroy() {}
}
