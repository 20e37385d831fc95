/**
 * Puts the live walk's view into the node Live Walk, and connects it to the walk that runs in it.
 */

import { app } from "../../../scripts/app.js";
import { api } from "../../../scripts/api.js";
import { after, handOver, passToGraph, releasesFirst } from "./graph/dom_widget.js";
import { LiveView } from "./live/view.js";

const NODE = "HYWorldLiveWalk";
const WIDGET = "hyworld_live";

/** Message of the server: a node that this page queued has begun to walk. */
const BEGINS = "hyworld_live";

/** Messages of the host: a prompt has ended, one way or another. */
const ENDS = ["execution_success", "execution_error", "execution_interrupted"];

/** A walk says itself how it ended; a view that was not there yet would wait for ever. In milliseconds. */
const LAST_WORDS_MS = 3000;

/** Pixels of the graph, at zoom 1. */
const VIEW_HEIGHT = 400;
const NODE_WIDTH = 560;

/** The views by their elements, and the walk that each shows: the ids of its node. */
const views = new Map();
const walks = new WeakMap();

app.registerExtension({
  name: "HYWorld.LiveWalk",

  setup() {
    const href = new URL("./live/live.css", import.meta.url).href;
    document.head.append(Object.assign(document.createElement("link"), { rel: "stylesheet", href }));
    api.addEventListener(BEGINS, ({ detail }) => show(detail));
    api.addEventListener("reconnected", findWalks);
    for (const end of ENDS) api.addEventListener(end, () => setTimeout(findWalks, LAST_WORDS_MS));
  },

  nodeCreated(node) {
    if (node.comfyClass === NODE) addView(node);
  },

  /** A graph was opened, also by loading the page again. */
  afterConfigureGraph() {
    findWalks();
  },
});

function addView(node) {
  const view = new LiveView({
    connect: () => addressOf(walks.get(view)),
    locale: app.extensionManager.setting.get("Comfy.Locale") ?? "en",
    onStop: () => {},
    onEnded: (text) => view.close(text || view.t("ended")),
  });
  view.say(view.t("run"));
  const widget = node.addDOMWidget(WIDGET, WIDGET, view.element, { serialize: false, getMinHeight: () => VIEW_HEIGHT });
  // Of the two, this one keeps it out of the saved workflow, the option out of the prompt.
  widget.serialize = false;
  const end = releasesFirst(view.element, (event) => view.keyUp(event));
  after(node, "onRemoved", () => {
    end();
    views.delete(view.element);
    view.destroy();
    handOver(app, node.id, WIDGET, view.element);
  });
  views.set(view.element, view);
  passToGraph(app, view.element);
  const [width, height] = node.computeSize();
  node.setSize([Math.max(node.size[0], width, NODE_WIDTH), Math.max(node.size[1], height)]);
}

/** Show a walk in its node, if this graph has it. */
function show(walk) {
  const view = views.get(nodeOf(walk.display_node_id)?.widgets?.find(({ name }) => name === WIDGET)?.element);
  if (!view) return;
  const before = walks.get(view);
  if (view.isOpen && before?.prompt_id === walk.prompt_id && before.node_id === walk.node_id) return;
  walks.set(view, walk);
  view.open();
}

/** Show the walks of this page that are under way, and let go of those that are not. */
async function findWalks() {
  const answer = await api.fetchApi(`/hyworld/live/running?${new URLSearchParams({ client_id: clientId() })}`);
  if (!answer.ok) return;
  const running = await answer.json();
  for (const view of views.values()) {
    const { prompt_id } = walks.get(view) ?? {};
    if (view.isOpen && !running.some((walk) => walk.prompt_id === prompt_id)) view.close(view.t("ended"));
  }
  for (const walk of running) show(walk);
}

/** The address of a walk's WebSocket. */
function addressOf(walk) {
  if (!walk) return null;
  const { prompt_id, node_id } = walk;
  const query = new URLSearchParams({ prompt_id, node_id, client_id: clientId() });
  const address = new URL(api.apiURL(`/hyworld/live?${query}`), location.href);
  address.protocol = location.protocol === "https:" ? "wss:" : "ws:";
  return address;
}

/** What the server knows this page by; after loading it again known before the server has said so. */
function clientId() {
  return api.clientId ?? api.initialClientId ?? "";
}

/** The node of an id such as 12, or 5:12 for node 12 of the subgraph in node 5. */
function nodeOf(id) {
  const path = String(id).split(":");
  const last = path.pop();
  const graph = path.reduce((graph, step) => graph?.getNodeById(step)?.subgraph, app.rootGraph ?? app.graph);
  return graph?.getNodeById(last);
}
