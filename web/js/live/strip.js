/**
 * The chunks in a row, with a thumbnail each: where one stands, what lies ahead, and the one in work.
 *
 * Cell 0 is the start; cell n stands where the world has n chunks.
 */

import { html, set } from "../editor/dom.js";

/** Pixels beside the last cell. */
const GAP = 6;

export class Strip {
  #cells = [];
  #current = 0;
  #enabled = false;

  /**
   * @param {(key: string, values?: object) => string} t
   * @param {(chunks: number) => void} back stand where the world has so many chunks
   */
  constructor(t, back) {
    this.t = t;
    this.progress = html("i");
    this.work = html("li", { class: "hyw-chunk-work", "aria-hidden": "true" }, this.progress);
    this.row = html("ol", { "aria-label": t("strip") }, this.work);
    this.element = html("div", { class: "hyw-chunks" }, this.row);
    set(this.row, {
      onclick: (event) => {
        const button = event.target.closest("button");
        if (button) back(Number(button.dataset.chunks));
      },
      onkeydown: (event) => this.#key(event),
    });
    set(this.element, {
      onwheel: (event) => {
        const sideways = event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY);
        if (sideways && this.element.scrollWidth > this.element.clientWidth) event.stopPropagation();
      },
    });
    this.#fillTo(0);
  }

  /** What the world looks like before its first chunk, if that is known. @param {Blob} [picture] */
  start(picture) {
    this.#picture(0, picture);
  }

  /** A chunk was made: what came after it is gone. */
  made(chunk, thumbnail, caps) {
    this.limit(chunk);
    this.#picture(chunk + 1, thumbnail);
    this.#cells[chunk + 1].caps.textContent = caps;
  }

  /** Thumbnails of chunks made before. @param {number} first */
  thumbnails(first, pictures) {
    pictures.forEach((picture, i) => this.#picture(first + i + 1, picture));
  }

  /** There are so many chunks. */
  limit(chunks) {
    this.#fillTo(chunks);
    for (const { item, image } of this.#cells.splice(chunks + 1)) {
      URL.revokeObjectURL(image.src);
      item.remove();
    }
    this.current(Math.min(this.#current, chunks));
  }

  /** One stands, or the picture is, where the world has so many chunks; brings that into view. */
  current(chunks) {
    this.#fillTo(chunks);
    // Only what changes: after an hour there are thousands of them.
    const before = Math.min(this.#current, this.#cells.length - 1);
    set(this.#cells[before].button, { "aria-current": undefined, tabindex: -1 });
    set(this.#cells[chunks].button, { "aria-current": "step", tabindex: 0 });
    for (let i = Math.min(before, chunks); i <= Math.max(before, chunks); i++) {
      this.#cells[i].item.classList.toggle("hyw-ahead", i > chunks);
    }
    this.#current = chunks;
    const { offsetLeft, offsetWidth } = this.#cells[chunks].item;
    const { scrollLeft, clientWidth } = this.element;
    const right = offsetLeft + offsetWidth + this.work.offsetWidth + GAP;
    if (right > scrollLeft + clientWidth) this.element.scrollLeft = right - clientWidth;
    else if (offsetLeft < scrollLeft) this.element.scrollLeft = offsetLeft - offsetWidth;
  }

  /** A chunk is in work, with this share of it done; undefined: none is. */
  working(chunk, share) {
    // Its room is kept, so that nothing moves.
    this.work.classList.toggle("hyw-working", chunk !== undefined);
    if (chunk === undefined) return;
    this.progress.style.height = `${100 * share}%`;
    const next = this.#cells[chunk + 1]?.item ?? null;
    if (this.work.nextSibling !== next) this.row.insertBefore(this.work, next);
  }

  set enabled(enabled) {
    if (enabled === this.#enabled) return;
    this.#enabled = enabled;
    for (const { button } of this.#cells) button.disabled = !enabled;
  }

  destroy() {
    for (const { image } of this.#cells) URL.revokeObjectURL(image.src);
  }

  #fillTo(chunks) {
    while (this.#cells.length <= chunks) this.#cells.push(this.#cell(this.#cells.length));
  }

  #cell(chunks) {
    const name = chunks ? this.t("backTo", { chunk: chunks }) : this.t("backToStart");
    const image = html("img", { alt: "", hidden: true, draggable: "false" });
    const caps = html("b");
    const number = html("span", {}, chunks ? String(chunks) : this.t("start"));
    const attributes = { type: "button", "data-chunks": chunks, title: name, "aria-label": name, tabindex: -1 };
    const button = html("button", { ...attributes, disabled: !this.#enabled }, image, caps, number);
    const item = html("li", { class: chunks > this.#current ? "hyw-ahead" : "" }, button);
    const last = this.#cells.at(-1);
    if (last) last.item.after(item);
    else this.row.prepend(item);
    return { item, button, image, caps };
  }

  #picture(chunks, picture) {
    this.#fillTo(chunks);
    const { image } = this.#cells[chunks];
    URL.revokeObjectURL(image.src);
    image.hidden = !picture?.size;
    if (picture?.size) image.src = URL.createObjectURL(picture);
  }

  #key(event) {
    const at = this.#cells.findIndex(({ button }) => button === event.target);
    const to = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: this.#cells.length - 1 }[event.key];
    if (at < 0 || to === undefined) return;
    event.preventDefault();
    this.#cells[to]?.button.focus({ preventScroll: true });
  }
}
