/**
 * Where a path goes: along its links to Streaming Samplers, which start a world with it or walk on in one.
 *
 * Reads the front end's graph, of which it needs this much:
 *
 * @typedef {object} Graph
 * @property {Graph} rootGraph
 * @property {Node[]} nodes
 * @property {Map<string, Graph>} [subgraphs] of the root graph: all there are, at any depth
 * @property {(id: *) => Node | undefined} getNodeById
 * @property {(id: *) => Link | undefined} getLink
 * @property {{id: *}} [inputNode]  in a subgraph: where links come in, and
 * @property {{id: *}} [outputNode] where they go out
 * @property {{linkIds: *[]}[]} [inputs]  in a subgraph: the links inside, by slot
 * @property {{linkIds: *[]}[]} [outputs]
 *
 * @typedef {object} Node
 * @property {*} id
 * @property {string} type
 * @property {number} mode
 * @property {Graph} graph
 * @property {{name: string, type: string, link: *}[]} inputs
 * @property {{type: string, links: *[] | null}[]} outputs
 * @property {boolean} [isVirtualNode]
 * @property {Graph} [subgraph]
 *
 * @typedef {{id: *, origin_id: *, origin_slot: number, target_id: *, target_slot: number}} Link
 */

const MUTED = 2;
const BYPASSED = 4;
const TRAJECTORY = "HYWORLD_TRAJECTORY";
/** Outputs that may hold a path, or keys of one. */
const PATH_TYPES = [TRAJECTORY, "HYWORLD_ACTIONS", "*"];

/**
 * @typedef {object} Wiring
 * @property {"new" | "continued" | "both" | "unknown"} walk  continued: the first pose falls on a latent there already is;
 *   unknown: only nodes were reached that this module does not know
 * @property {boolean} part whether the path is joined with others on the way
 */

/**
 * @param {Node} node with a path
 * @returns {Wiring}
 */
export function wiringOf(node) {
  const route = { within: [], seen: new Set() };
  const ends = node.outputs.flatMap(({ type }, slot) =>
    PATH_TYPES.includes(type) ? [...follow(node, slot, route)] : [],
  );
  const kinds = new Set(
    ends.filter(({ unknown }) => !unknown).map(({ continued, part }) => continued || part === "then"),
  );
  const known = kinds.has(true) ? "continued" : "new";
  const walk = kinds.size > 1 ? "both" : !kinds.size && ends.length ? "unknown" : known;
  return { walk, part: ends.some(({ part }) => part) };
}

/**
 * The ends of a path from an output on.
 * @param {object} route
 * @param {Node[]} route.within  subgraph nodes that were gone into
 * @param {"first" | "then"} [route.part] the input of Join Trajectories it came through
 * @param {Set<string>} route.seen links followed, so that a loop ends
 */
function* follow(node, slot, route) {
  for (const id of node.outputs[slot]?.links ?? []) {
    const link = node.graph?.getLink(id);
    if (link) yield* arrive(node.graph, link, route);
  }
}

function* arrive(graph, link, route) {
  if (isSeen(graph, link, route)) return;
  if (link.target_id === graph.outputNode?.id) {
    for (const { node, within } of instances(graph, route.within))
      yield* follow(node, link.target_slot, { ...route, within });
    return;
  }
  const node = graph.getNodeById(link.target_id);
  const input = node?.inputs[link.target_slot];
  if (!input || node.mode === MUTED) return;
  if (node.mode === BYPASSED) {
    for (const slot of node.outputs.keys())
      if (passedBy(node, slot) === link.target_slot) yield* follow(node, slot, route);
  } else if (node.subgraph) {
    const within = [...route.within, node];
    for (const id of node.subgraph.inputs[link.target_slot]?.linkIds ?? [])
      yield* arrive(node.subgraph, node.subgraph.getLink(id), { ...route, within });
  } else if (node.type === "HYWorldStreamingSampler") {
    const world = node.inputs.findIndex(({ name }) => name === "world");
    for (const continued of new Set(isFed(node, world, route.within))) yield { continued, part: route.part };
  } else if (node.type === "HYWorldJoinTrajectories") {
    const part = route.part === "then" ? "then" : input.name;
    const ends = [...follow(node, 0, { ...route, part })];
    yield* ends.length ? ends : [{ continued: false, part }];
  } else if (isReroute(node) || (node.type === "HYWorldActionSequence" && input.type === TRAJECTORY)) {
    yield* follow(node, 0, route);
  } else if (node.isVirtualNode || node.outputs.some(({ type }) => PATH_TYPES.includes(type))) {
    yield { unknown: true, part: route.part };
  }
}

/** Whether an input gets a value when the graph runs; one answer for each node that shows the subgraph it lies in. */
function* isFed(node, slot, within, seen = new Set()) {
  const link = node.graph.getLink(node.inputs[slot]?.link);
  if (link) yield* isSent(node.graph, link, within, seen);
  else yield false;
}

function* isSent(graph, link, within, seen) {
  if (isSeen(graph, link, { within, seen })) return;
  if (link.origin_id === graph.inputNode?.id) {
    for (const outer of instances(graph, within)) yield* isFed(outer.node, link.origin_slot, outer.within, seen);
    return;
  }
  const node = graph.getNodeById(link.origin_id);
  if (!node || node.mode === MUTED) yield false;
  else if (node.mode === BYPASSED) yield* isFed(node, passedBy(node, link.origin_slot), within, seen);
  else if (isReroute(node)) yield* isFed(node, 0, within, seen);
  else if (node.subgraph) {
    const inner = node.subgraph.getLink(node.subgraph.outputs[link.origin_slot]?.linkIds[0]);
    if (inner) yield* isSent(node.subgraph, inner, [...within, node], seen);
    else yield false;
  } else yield true;
}

/** The nodes that show a subgraph: the one that was gone into, or all that run. */
function instances(graph, within) {
  if (within.length) return [{ node: within.at(-1), within: within.slice(0, -1) }];
  const { rootGraph } = graph;
  return [rootGraph, ...(rootGraph.subgraphs?.values() ?? [])]
    .flatMap(({ nodes }) => nodes)
    .filter((node) => node.subgraph === graph && node.mode !== MUTED && node.mode !== BYPASSED)
    .map((node) => ({ node, within: [] }));
}

/** The input that a bypassed node passes on in an output's place, by the front end's rule; -1 for none. */
function passedBy({ inputs, outputs }, slot) {
  const { type } = outputs[slot];
  return inputs[slot]?.type === type ? slot : inputs.findIndex((input) => input.type === type);
}

/** The front end's own node, and those of other packs. */
function isReroute({ type, isVirtualNode }) {
  return Boolean(isVirtualNode) && type.startsWith("Reroute");
}

function isSeen(graph, link, { within, part, seen }) {
  const key = [graph.id, link.id, part, ...within.map(({ id }) => id)].join("/");
  if (seen.has(key)) return true;
  seen.add(key);
  return false;
}
