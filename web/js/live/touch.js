/**
 * Two sticks for fingers: the left half of the picture moves, the right half turns. A stick begins where it is touched.
 */

import { html, set } from "../editor/dom.js";

/** Pixels of full deflection. */
const REACH = 56;

export class TouchSticks {
  #fingers = new Map();

  /**
   * @param {HTMLElement} screen
   * @param {(sticks: {move?: number[], turn?: number[]}, at: number) => void} pushed
   */
  constructor(screen, pushed) {
    this.screen = screen;
    this.pushed = pushed;
    const lift = (event) => this.#lift(event);
    set(screen, {
      onpointerdown: (event) => this.#touch(event),
      onpointermove: (event) => this.#push(event),
      onpointerup: lift,
      onpointercancel: lift,
      onlostpointercapture: lift,
    });
  }

  /** Let go of every stick without telling. */
  drop() {
    for (const { ring } of this.#fingers.values()) ring.remove();
    this.#fingers.clear();
  }

  #touch(event) {
    if (event.pointerType === "mouse" || event.target.closest("button")) return;
    const box = this.screen.getBoundingClientRect();
    const [x, y] = [event.clientX - box.left, event.clientY - box.top];
    const stick = x < box.width / 2 ? "move" : "turn";
    if ([...this.#fingers.values()].some((finger) => finger.stick === stick)) return;
    event.preventDefault();
    event.stopPropagation();
    this.screen.setPointerCapture(event.pointerId);
    // The graph may be zoomed: the ring lies in pixels of the layout.
    const zoom = box.width / this.screen.offsetWidth || 1;
    const knob = html("i");
    const ring = html("div", { class: "hyw-stick", style: `left: ${x / zoom}px; top: ${y / zoom}px` }, knob);
    this.screen.append(ring);
    this.#fingers.set(event.pointerId, { stick, from: [event.clientX, event.clientY], to: [0, 0], ring, knob });
  }

  #push(event) {
    const finger = this.#fingers.get(event.pointerId);
    if (!finger) return;
    const [dx, dy] = [event.clientX - finger.from[0], event.clientY - finger.from[1]];
    const scale = 1 / Math.max(REACH, Math.hypot(dx, dy));
    finger.to = [dx * scale, -dy * scale];
    set(finger.knob, { style: `transform: translate(${finger.to[0] * REACH}px, ${-finger.to[1] * REACH}px)` });
    this.#tell(event);
  }

  #lift(event) {
    const finger = this.#fingers.get(event.pointerId);
    if (!finger) return;
    finger.ring.remove();
    this.#fingers.delete(event.pointerId);
    this.#tell(event);
  }

  #tell({ timeStamp }) {
    const sticks = Object.fromEntries([...this.#fingers.values()].map(({ stick, to }) => [stick, to]));
    this.pushed(sticks, timeStamp);
  }
}
