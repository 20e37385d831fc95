/**
 * Shows in a node what its last run had to say (`ui.PreviewText`), in the place of the front end's own line of progress,
 * so that the node does not grow over what lies below it.
 */

import { api } from "../../../scripts/api.js";
import { app } from "../../../scripts/app.js";

const WIDGET = "hyworld_notes";
const PROGRESS = "$$node-text-preview";

/** Pixels of the graph, at zoom 1. */
const LINE_HEIGHT = 16;
const LETTER_WIDTH = 7;
const MARGINS = 40;

app.registerExtension({
  name: "HYWorld.Notes",

  setup() {
    api.addEventListener("executing", ({ detail }) => {
      const notes = detail && notesOf(app.graph.getNodeById(detail));
      if (notes) notes.element.textContent = ""; // of the last run; now there is progress
    });
  },

  nodeCreated(node) {
    if (!node.comfyClass?.startsWith("HYWorld")) return;
    const before = node.onExecuted;
    node.onExecuted = function (output) {
      before?.apply(this, arguments);
      show(node, output?.text?.join("\n") ?? "");
    };
  },
});

function notesOf(node) {
  return node?.widgets?.find(({ name }) => name === WIDGET);
}

function show(node, text) {
  const widget = notesOf(node) ?? (text && addNotes(node));
  if (!widget) return;
  if (text) removeProgress(node);
  widget.element.textContent = text;
  const [width, height] = node.computeSize();
  node.setSize([Math.max(node.size[0], width), Math.max(node.size[1], height)]);
}

function removeProgress(node) {
  const at = node.widgets.findIndex(({ name }) => name === PROGRESS);
  if (at < 0) return;
  node.widgets[at].onRemove?.();
  node.widgets.splice(at, 1);
}

function addNotes(node) {
  const element = document.createElement("div");
  element.style.cssText = `overflow: auto; padding: 0 8px; font: 12px/${LINE_HEIGHT}px sans-serif; white-space: pre-wrap;
    user-select: text; color: var(--input-text);`;
  const lines = () =>
    element.textContent.split("\n").map((line) => Math.ceil((line.length * LETTER_WIDTH) / (node.size[0] - MARGINS)));
  const getMinHeight = () => (element.textContent ? LINE_HEIGHT * (1 + lines().reduce((a, b) => a + b)) : 0);
  const widget = node.addDOMWidget(WIDGET, WIDGET, element, { serialize: false, getMinHeight });
  // Of the two, this one keeps it out of the saved workflow, the option out of the prompt.
  widget.serialize = false;
  return widget;
}
