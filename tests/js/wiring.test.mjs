// Where a path goes, in graphs made of what the editor reads of the front end's.
import assert from "node:assert/strict";
import { test } from "node:test";

import { wiringOf } from "../../web/js/graph/wiring.js";

const [PATH, WORLD] = ["HYWORLD_TRAJECTORY", "HYWORLD_WORLD"];
const [MUTED, BYPASSED] = [2, 4];

/** Inputs and outputs by name and type. */
const KINDS = {
  HYWorldCameraTrajectory: [{ path: "STRING" }, { trajectory: PATH, chunks: "INT" }],
  HYWorldActionSequence: [
    { keys: "STRING", trajectory: PATH },
    { trajectory: PATH, actions: "HYWORLD_ACTIONS", summary: "STRING" },
  ],
  HYWorldJoinTrajectories: [{ first: PATH, then: PATH }, { trajectory: PATH }],
  HYWorldStreamingSampler: [
    { trajectory: PATH, actions: "HYWORLD_ACTIONS", world: WORLD, chunks: "INT" },
    { images: "IMAGE", world: WORLD },
  ],
  Reroute: [{ "": "*" }, { "": "*" }],
  "Any Switch": [{ any: "*" }, { any: "*" }],
  Shown: [{ any: "*" }, { text: "STRING" }],
};

class Graph {
  nodes = [];
  links = new Map();

  constructor(root) {
    this.id = String(Math.random());
    this.rootGraph = root ?? this;
    if (root) {
      Object.assign(this, { inputNode: { id: "in" }, outputNode: { id: "out" }, inputs: [], outputs: [] });
      root.subgraphs.set(this.id, this);
    } else this.subgraphs = new Map();
  }

  getNodeById(id) {
    return this.nodes.find((node) => node.id === id);
  }

  getLink(id) {
    return this.links.get(id);
  }

  add(type, { mode = 0, subgraph } = {}) {
    const [inputs, outputs] = KINDS[type] ?? subgraph.slots;
    const node = {
      id: String(this.nodes.length),
      graph: this,
      inputs: Object.entries(inputs).map(([name, kind]) => ({ name, type: kind, link: null })),
      outputs: Object.entries(outputs).map(([name, kind]) => ({ name, type: kind, links: null })),
      isVirtualNode: type === "Reroute" || Boolean(subgraph),
      ...{ type, mode, subgraph },
    };
    this.nodes.push(node);
    return node;
  }

  /** Link an output to an input, both by name. `"in"` and `"out"` are the ends of a subgraph, with a slot for a name. */
  link(from, output, to, input) {
    const id = this.links.size + 1;
    const at = (slots, name) => slots.findIndex((slot) => slot.name === name);
    const [out, into] = [
      from === "in" ? output : at(from.outputs, output),
      to === "out" ? input : at(to.inputs, input),
    ];
    this.links.set(id, {
      ...{ id, origin_id: from.id ?? from, origin_slot: out, target_id: to.id ?? to, target_slot: into },
    });
    if (from === "in") (this.inputs[out] ??= { linkIds: [] }).linkIds.push(id);
    else (from.outputs[out].links ??= []).push(id);
    if (to === "out") this.outputs[into] = { linkIds: [id] };
    else to.inputs[into].link = id;
  }
}

/** A camera path in a graph, with what else `make` puts there. */
function wiring(make) {
  const graph = new Graph();
  const camera = graph.add("HYWorldCameraTrajectory");
  make(graph, camera);
  const { walk, part } = wiringOf(camera);
  return part ? `${walk} part` : walk;
}

/** A sampler; with a world from another sampler, if it goes on. */
function sampler(graph, goesOn = false, mode = 0) {
  const made = graph.add("HYWorldStreamingSampler");
  if (goesOn) graph.link(graph.add("HYWorldStreamingSampler", { mode }), "world", made, "world");
  return made;
}

for (const [name, expected, make] of [
  ["nothing", "new", () => {}],
  ["a sampler", "new", (graph, camera) => graph.link(camera, "trajectory", sampler(graph), "trajectory")],
  ["a world", "continued", (graph, camera) => graph.link(camera, "trajectory", sampler(graph, true), "trajectory")],
  [
    "one of each",
    "both",
    (graph, camera) => [false, true].map((on) => graph.link(camera, "trajectory", sampler(graph, on), "trajectory")),
  ],
  [
    "the number of chunks of a world",
    "new",
    (graph, camera) => graph.link(camera, "chunks", sampler(graph, true), "chunks"),
  ],
  [
    "reroutes",
    "continued",
    (graph, camera) => {
      const [one, two] = [graph.add("Reroute"), graph.add("Reroute")];
      graph.link(camera, "trajectory", one, "");
      graph.link(one, "", two, "");
      graph.link(two, "", sampler(graph, true), "trajectory");
    },
  ],
  [
    "a muted world",
    "new",
    (graph, camera) => graph.link(camera, "trajectory", sampler(graph, true, MUTED), "trajectory"),
  ],
  [
    "a world behind a bypassed sampler",
    "continued",
    (graph, camera) => {
      const [first, second, third] = [
        sampler(graph),
        graph.add("HYWorldStreamingSampler", { mode: BYPASSED }),
        sampler(graph),
      ];
      graph.link(first, "world", second, "world");
      graph.link(second, "world", third, "world");
      graph.link(camera, "trajectory", third, "trajectory");
    },
  ],
  [
    "a bypassed first sampler",
    "new",
    (graph, camera) => graph.link(camera, "trajectory", sampler(graph, true, BYPASSED), "trajectory"),
  ],
  [
    "a rerouted world that comes from nowhere",
    "new",
    (graph, camera) => {
      const walks = sampler(graph);
      graph.link(graph.add("Reroute"), "", walks, "world");
      graph.link(camera, "trajectory", walks, "trajectory");
    },
  ],
  [
    "a muted sampler, and another",
    "new",
    (graph, camera) => {
      const muted = sampler(graph, true);
      muted.mode = MUTED;
      for (const walks of [muted, sampler(graph)]) graph.link(camera, "trajectory", walks, "trajectory");
    },
  ],
  [
    "other keys for the path",
    "continued",
    (graph, camera) => {
      const keys = graph.add("HYWorldActionSequence");
      graph.link(camera, "trajectory", keys, "trajectory");
      graph.link(keys, "trajectory", sampler(graph, true), "trajectory");
    },
  ],
  [
    "bypassed keys",
    "continued",
    (graph, camera) => {
      const keys = graph.add("HYWorldActionSequence", { mode: BYPASSED });
      graph.link(camera, "trajectory", keys, "trajectory");
      graph.link(keys, "trajectory", sampler(graph, true), "trajectory");
    },
  ],
  ...["first", "then"].flatMap((input) =>
    [false, true].map((goesOn) => [
      `"${input}" of a join${goesOn ? " in a world" : ""}`,
      goesOn || input === "then" ? "continued part" : "new part",
      (graph, camera) => {
        const join = graph.add("HYWorldJoinTrajectories");
        graph.link(camera, "trajectory", join, input);
        graph.link(join, "trajectory", sampler(graph, goesOn), "trajectory");
      },
    ]),
  ),
  [
    '"then" of a join that goes nowhere',
    "continued part",
    (graph, camera) => graph.link(camera, "trajectory", graph.add("HYWorldJoinTrajectories"), "then"),
  ],
  [
    "a bypassed join",
    "new",
    (graph, camera) => {
      const join = graph.add("HYWorldJoinTrajectories", { mode: BYPASSED });
      graph.link(camera, "trajectory", join, "first");
      graph.link(join, "trajectory", sampler(graph), "trajectory");
    },
  ],
  [
    "a node of another pack",
    "unknown",
    (graph, camera) => {
      const other = graph.add("Any Switch");
      graph.link(camera, "trajectory", other, "any");
      graph.link(other, "any", sampler(graph, true), "trajectory");
    },
  ],
  ["a node that shows it", "new", (graph, camera) => graph.link(camera, "trajectory", graph.add("Shown"), "any")],
  [
    "a loop",
    "new part",
    (graph, camera) => {
      const joins = [graph.add("HYWorldJoinTrajectories"), graph.add("HYWorldJoinTrajectories")];
      graph.link(camera, "trajectory", joins[0], "first");
      graph.link(joins[0], "trajectory", joins[1], "first");
      graph.link(joins[1], "trajectory", joins[0], "first");
    },
  ],
])
  test(`a path into ${name}`, () => assert.equal(wiring(make), expected));

/** A subgraph with a sampler whose path, and world, come from outside. */
function walkInside(root) {
  const inside = new Graph(root);
  inside.slots = [{ trajectory: PATH, world: WORLD }, { world: WORLD }];
  const walks = sampler(inside);
  inside.link("in", 0, walks, "trajectory");
  inside.link("in", 1, walks, "world");
  inside.link(walks, "world", "out", 0);
  return inside;
}

test("a path and a world into a subgraph, and a world out of it", () => {
  const root = new Graph();
  const subgraph = walkInside(root);
  const cameras = [0, 1].map(() => root.add("HYWorldCameraTrajectory"));
  const walks = cameras.map(() => root.add("walk", { subgraph }));
  cameras.forEach((camera, i) => root.link(camera, "trajectory", walks[i], "trajectory"));
  root.link(walks[0], "world", walks[1], "world");
  assert.deepEqual(
    cameras.map((camera) => wiringOf(camera).walk),
    ["new", "continued"],
  );
});

test("a path out of a subgraph goes on from every node that shows it", () => {
  const root = new Graph();
  const subgraph = new Graph(root);
  subgraph.slots = [{}, { trajectory: PATH }];
  const camera = subgraph.add("HYWorldCameraTrajectory");
  subgraph.link(camera, "trajectory", "out", 0);
  const shown = [0, 1].map(() => root.add("path", { subgraph }));
  root.link(shown[0], "trajectory", sampler(root, true), "trajectory");
  assert.equal(wiringOf(camera).walk, "continued");
  root.link(shown[1], "trajectory", sampler(root), "trajectory");
  assert.equal(wiringOf(camera).walk, "both");
  shown[1].mode = MUTED;
  assert.equal(wiringOf(camera).walk, "continued");
});

test("a path through a subgraph comes out of the node it went into", () => {
  const root = new Graph();
  const subgraph = new Graph(root);
  subgraph.slots = [{ trajectory: PATH }, { trajectory: PATH }];
  const reroute = subgraph.add("Reroute");
  subgraph.link("in", 0, reroute, "");
  subgraph.link(reroute, "", "out", 0);
  const cameras = [false, true].map((goesOn) => {
    const [camera, passes] = [root.add("HYWorldCameraTrajectory"), root.add("pass", { subgraph })];
    root.link(camera, "trajectory", passes, "trajectory");
    root.link(passes, "trajectory", sampler(root, goesOn), "trajectory");
    return camera;
  });
  assert.deepEqual(
    cameras.map((camera) => wiringOf(camera).walk),
    ["new", "continued"],
  );
});

test("keys alone go on in the world of the sampler that they are for", () => {
  const graph = new Graph();
  const keys = graph.add("HYWorldActionSequence");
  graph.link(keys, "actions", sampler(graph, true), "actions");
  assert.equal(wiringOf(keys).walk, "continued");
});

test("a node that is in no graph yet has no links", () => {
  const graph = new Graph();
  const camera = graph.add("HYWorldCameraTrajectory");
  graph.link(camera, "trajectory", sampler(graph, true), "trajectory");
  assert.deepEqual(wiringOf({ ...camera, graph: null }), { walk: "new", part: false });
});
