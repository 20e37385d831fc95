/**
 * Puts the path editor into Camera Trajectory and Action Sequence; the only file that uses ComfyUI's front end.
 */

import { app } from "../../../scripts/app.js";
import { presses } from "./camera/presses.js";
import { TRAINED } from "./camera/integrate.js";
import { paced } from "./camera/paces.js";
import { tokens } from "./camera/tokens.js";
import { PathEditor } from "./editor/editor.js";
import { after, handOver, passToGraph } from "./graph/dom_widget.js";
import { wiringOf } from "./graph/wiring.js";

/** Which nodes have an editor, for which of their texts. */
const NODES = {
  HYWorldCameraTrajectory: { input: "path", notation: tokens },
  HYWorldActionSequence: { input: "keys", notation: presses },
};

const WIDGET = "hyworld_editor";

/** Pixels of the graph, at zoom 1. Narrow nodes stack what else lies side by side (see editor.css). */
const EDITOR_HEIGHT = 380;
const NARROW_EDITOR_HEIGHT = 600;
const NARROW_NODE = 360;
const TEXT_HEIGHT = 64;
const NODE_WIDTH = 440;

/** The front end tells a node of its own links; those further on are looked at so often, in milliseconds. */
const LOOK_MS = 400;

const editors = new Set();

app.registerExtension({
  name: "HYWorld.PathEditor",

  setup() {
    const href = new URL("./editor/editor.css", import.meta.url).href;
    document.head.append(Object.assign(document.createElement("link"), { rel: "stylesheet", href }));
    setInterval(() => {
      for (const editor of editors) if (editor.element.isConnected) editor.refresh();
    }, LOOK_MS);
  },

  nodeCreated(node) {
    const kind = NODES[node.comfyClass];
    if (kind) addEditor(node, kind);
  },
});

function addEditor(node, { input, notation }) {
  const text = node.widgets.find((widget) => widget.name === input);
  const isLinked = (name) => node.inputs?.find((slot) => slot.name === name)?.link != null;
  /** What the node last ran with, if that was while a link gave it. */
  const ran = {};
  const editor = new PathEditor(
    {
      notation,
      read: () => String((isLinked(input) ? ran[input] : text.value) ?? ""),
      write: (value) => (text.value = value),
      edited: noteEdit,
      situation: () => situationOf(node, input, isLinked, ran),
    },
    app.extensionManager.setting.get("Comfy.Locale") ?? "en",
  );
  // The text keeps its height: what the node has to spare goes to the editor.
  text.options.getMinHeight = text.options.getMaxHeight = () => TEXT_HEIGHT;
  const widget = node.addDOMWidget(WIDGET, WIDGET, editor.element, {
    serialize: false,
    getMinHeight: () => (node.size[0] < NARROW_NODE ? NARROW_EDITOR_HEIGHT : EDITOR_HEIGHT),
  });
  // Of the two, this one keeps it out of the saved workflow, the option out of the prompt.
  widget.serialize = false;

  for (const changed of node.widgets) if (changed !== widget) after(changed, "callback", () => editor.refresh());
  after(node, "onConnectionsChange", () => editor.refresh());
  after(node, "onConfigure", () => editor.reset());
  after(node, "onExecuted", (output) => {
    const [move, turn] = output?.hyworld_speeds ?? [];
    const told = { [input]: output?.hyworld_path?.[0], move_speed: move, turn_speed: turn };
    for (const name of Object.keys(told)) ran[name] = isLinked(name) ? told[name] : undefined;
    editor.refresh();
  });
  after(node, "onRemoved", () => {
    editors.delete(editor);
    editor.destroy();
    handOver(app, node.id, WIDGET, editor.element);
  });
  editors.add(editor);
  passToGraph(app, editor.element);
  const [width, height] = node.computeSize();
  node.setSize([Math.max(node.size[0], width, NODE_WIDTH), Math.max(node.size[1], height)]);
}

/** Tell the graph's own undo that an edit (a recording, a drag) is complete. */
function noteEdit() {
  app.canvas.emitBeforeChange();
  app.canvas.emitAfterChange();
}

/** @returns {import("./editor/editor.js").Situation} */
function situationOf(node, input, isLinked, ran) {
  const valueOf = (name) => node.widgets.find((widget) => widget.name === name)?.value;
  const speed = (name, trained) => Number((isLinked(name) ? ran[name] : valueOf(name)) ?? trained);
  const linkedSpeeds = ["move_speed", "turn_speed"].filter(isLinked);
  const speedsKnown = linkedSpeeds.every((name) => ran[name] !== undefined);
  return {
    speeds: paced(valueOf("pace"), { move: speed("move_speed", TRAINED.move), turn: speed("turn_speed", TRAINED.turn) }),
    thirdPerson: Boolean(valueOf("third_person")),
    relabels: isLinked("trajectory"),
    linked: isLinked(input) ? input : undefined,
    awaits: isLinked(input) && ran[input] === undefined,
    speedsFrom: linkedSpeeds.length ? (speedsKnown ? "run" : "link") : undefined,
    wiring: wiringOf(node),
  };
}
