/**
 * Icons as outlines in a 16×16 square; they take the colour of the text.
 */

import { svg } from "./dom.js";

const OUTLINES = {
  walk: "M8 3.2a1.4 1.4 0 1 0 0-.1zM8 5.5v4l-2.2 4.3M8 9.5l2.2 4.3M4.8 8.2 8 5.8l3.2 2.4",
  play: "M5 3.2v9.6l7.5-4.8z",
  pause: "M5.5 3.5v9M10.5 3.5v9",
  undo: "M6.5 3.5 3 7l3.5 3.5M3 7h6.5a3.5 3.5 0 0 1 0 7H7",
  redo: "M9.5 3.5 13 7l-3.5 3.5M13 7H6.5a3.5 3.5 0 0 0 0 7H9",
  mirror: "M8 2.5v11M5.5 5 2.5 8l3 3zM10.5 5l3 3-3 3z",
  home: "M2.5 8 8 3l5.5 5M4.5 6.8V13h7V6.8",
  clear: "M3.5 4.5h9M6.5 4.5v-2h3v2M4.8 4.5l.6 9h5.2l.6-9",
  insert: "M8 3v10M3 8h10",
  remove: "M4 4l8 8M12 4l-8 8",
  shorter: "M3.5 8h9",
  longer: "M8 3.5v9M3.5 8h9",
  full: "M2.5 6v-3.5H6M10 2.5h3.5V6M13.5 10v3.5H10M6 13.5H2.5V10",
  stop: "M4 4h8v8H4z",
  save: "M8 2.5v7.5M4.8 7 8 10.2 11.2 7M3 13.5h10",
  say: "M2.5 8h9.5M8.5 4.5 12 8l-3.5 3.5",
};

/** @param {keyof typeof OUTLINES} name */
export function icon(name) {
  return svg(
    "svg",
    { class: "hyw-icon", viewBox: "0 0 16 16", "aria-hidden": "true" },
    svg("path", { d: OUTLINES[name] }),
  );
}
