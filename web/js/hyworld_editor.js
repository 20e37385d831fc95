/**
 * Puts the path editor into Camera Trajectory and Action Sequence; the only file that uses ComfyUI's front end.
 */

import { app } from "../../../scripts/app.js";
import { presses } from "./camera/presses.js";
import { TRAINED } from "./camera/integrate.js";
import { tokens } from "./camera/tokens.js";
import { PathEditor } from "./editor/editor.js";

/** Which nodes have an editor, for which of their texts. */
const NODES = {
  HYWorldCameraTrajectory: { input: "path", notation: tokens },
  HYWorldActionSequence: { input: "keys", notation: presses },
};

const WIDGET = "hyworld_editor";

/** Pixels of the graph, at zoom 1. */
const EDITOR_HEIGHT = 380;
const TEXT_HEIGHT = 64;
const NODE_WIDTH = 440;

app.registerExtension({
  name: "HYWorld.PathEditor",

  setup() {
    const href = new URL("./editor/editor.css", import.meta.url).href;
    document.head.append(Object.assign(document.createElement("link"), { rel: "stylesheet", href }));
  },

  nodeCreated(node) {
    const kind = NODES[node.comfyClass];
    if (kind) addEditor(node, kind);
  },
});

function addEditor(node, { input, notation }) {
  const text = node.widgets.find((widget) => widget.name === input);
  const editor = new PathEditor(
    {
      notation,
      read: () => String(text.value ?? ""),
      write: (value) => (text.value = value),
      edited: noteEdit,
      situation: () => situationOf(node, input),
    },
    app.extensionManager.setting.get("Comfy.Locale") ?? "en",
  );
  // The text keeps its height: what the node has to spare goes to the editor.
  text.options.getMinHeight = text.options.getMaxHeight = () => TEXT_HEIGHT;
  const widget = node.addDOMWidget(WIDGET, WIDGET, editor.element, {
    serialize: false,
    getMinHeight: () => EDITOR_HEIGHT,
  });
  // Of the two, this one keeps it out of the saved workflow, the option out of the prompt.
  widget.serialize = false;

  for (const changed of node.widgets) if (changed !== widget) after(changed, "callback", () => editor.refresh());
  after(node, "onConnectionsChange", () => editor.refresh());
  after(node, "onConfigure", () => editor.reset());
  after(node, "onRemoved", () => {
    editor.destroy();
    handOver(node.id, editor.element);
  });
  passToGraph(editor.element);
  const [width, height] = node.computeSize();
  node.setSize([Math.max(node.size[0], width, NODE_WIDTH), Math.max(node.size[1], height)]);
}

/**
 * When the graph's undo replaces a node by one with the same number, the Vue renderer goes on showing the old editor:
 * put the new one there.
 */
function handOver(id, element) {
  requestAnimationFrame(() => {
    const node = element.isConnected && app.canvas.graph?.getNodeById(id);
    const editor = node?.widgets?.find(({ name }) => name === WIDGET);
    if (editor && editor.element !== element) element.replaceWith(editor.element);
  });
}

/** Tell the graph's own undo that an edit (a recording, a drag) is complete. */
function noteEdit() {
  app.canvas.emitBeforeChange();
  app.canvas.emitAfterChange();
}

/** @returns {import("./editor/editor.js").Situation} */
function situationOf(node, input) {
  const isLinked = (name) => node.inputs?.find((slot) => slot.name === name)?.link != null;
  const valueOf = (name) => node.widgets.find((widget) => widget.name === name)?.value;
  const speed = (name, trained) => (isLinked(name) ? trained : Number(valueOf(name) ?? trained));
  return {
    speeds: { move: speed("move_speed", TRAINED.move), turn: speed("turn_speed", TRAINED.turn) },
    thirdPerson: Boolean(valueOf("third_person")),
    relabels: isLinked("trajectory"),
    linked: isLinked(input) ? input : undefined,
    speedLinked: isLinked("move_speed") || isLinked("turn_speed"),
  };
}

/** Run `then` after a method, which the object may lack. */
function after(object, method, then) {
  const before = object[method];
  object[method] = function (...args) {
    const result = before?.apply(this, args);
    then();
    return result;
  };
}

/** Let the wheel zoom the graph and the middle button move it; the Vue renderer does both itself. */
function passToGraph(element) {
  const pass = (type, handler, isMeant) =>
    element.addEventListener(type, (event) => {
      if (globalThis.LiteGraph?.vueNodesMode || !isMeant(event)) return;
      event.preventDefault();
      app.canvas[handler](event);
    });
  pass("wheel", "processMouseWheel", () => true);
  pass("pointerdown", "processMouseDown", ({ button }) => button === 1);
  pass("pointermove", "processMouseMove", ({ buttons }) => buttons & 4);
  pass("pointerup", "processMouseUp", ({ button }) => button === 1);
}
