/**
 * Shows what a node said of its last run (`hyworld_notes` of its output) below its widgets, until it runs again.
 */

import { app } from "../../../scripts/app.js";
import { html } from "./editor/dom.js";

const WIDGET = "hyworld_notes";
const LINE_HEIGHT = 18;
const CHARACTERS = 52;

app.registerExtension({
  name: "HYWorld.Notes",

  nodeCreated(node) {
    if (!node.comfyClass?.startsWith("HYWorld")) return;
    const before = node.onExecuted;
    node.onExecuted = function (output) {
      before?.apply(this, arguments);
      show(this, output?.[WIDGET] ?? []);
    };
  },
});

function show(node, notes) {
  const shown = node.widgets?.find(({ name }) => name === WIDGET) ?? (notes.length && added(node));
  if (!shown) return;
  shown.element.replaceChildren(...notes.map((note) => html("div", {}, note)));
  const lines = notes.reduce((sum, note) => sum + Math.ceil(note.length / CHARACTERS), 0);
  shown.options.getMinHeight = shown.options.getMaxHeight = () => lines * LINE_HEIGHT;
  const [width, height] = node.computeSize();
  node.setSize([Math.max(node.size[0], width), Math.max(node.size[1], height)]);
  app.canvas.setDirty(true, true);
}

function added(node) {
  const style = "font-size: 12px; line-height: 18px; color: var(--descrip-text); overflow: hidden; user-select: text";
  const element = html("div", { style, role: "status" });
  const widget = node.addDOMWidget(WIDGET, WIDGET, element, { serialize: false });
  widget.serialize = false;
  return widget;
}
