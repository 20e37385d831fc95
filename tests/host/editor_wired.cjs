// The editor of a path that is wired to something: a world to go on in, a text or a speed from a link; and its sizes.
// Usage: node editor_wired.cjs '{"url": …, "chromium": …, "profile": …, "vue": …, "pictures": folder or null}'
// Prints one line of JSON that says what was seen.
"use strict";
const { PATIENCE, failing, hasVueRenderer, inBrowser, openFrontEnd, pressRun, useVue } = require("./front_end.cjs");

const scene = JSON.parse(process.argv[2]);
/** Milliseconds in which the editor has noticed a change anywhere in the graph. */
const NOTICED = 1200;

/** A new graph of nodes, by the names they get in the page: `{name: [type, x]}`. */
async function build(page, nodes) {
  await page.evaluate((wanted) => {
    app.graph.clear();
    globalThis.the = {};
    for (const [name, [type, x]] of Object.entries(wanted)) {
      const node = LiteGraph.createNode(type);
      node.pos = [x, 60];
      app.graph.add(node);
      the[name] = node;
    }
    app.canvas.ds.scale = 1;
    app.canvas.ds.offset = [60, 40];
    app.canvas.setDirty(true, true);
  }, nodes);
  await page.waitForTimeout(NOTICED);
}

/** Connect nodes of `the`: an output by its number, an input by its name. */
function connect(page, from, output, to, input) {
  return page.evaluate(
    ([a, slot, b, name]) => {
      const into = the[b].inputs.findIndex((one) => one.name === name);
      the[a].connect(slot, the[b], into);
    },
    [from, output, to, input],
  );
}

function disconnect(page, name, input) {
  return page.evaluate(
    ([a, wanted]) => the[a].disconnectInput(the[a].inputs.findIndex((one) => one.name === wanted)),
    [name, input],
  );
}

function setWidget(page, name, value, index = 0) {
  return page.evaluate(
    ([a, to, i]) => {
      the[a].widgets[i].value = to;
      the[a].widgets[i].callback?.(to);
    },
    [name, value, index],
  );
}

/** What the editor of a node says, after it had time to notice. */
async function said(page, name, picture) {
  await page.waitForTimeout(NOTICED);
  if (picture && scene.pictures) await page.screenshot({ path: `${scene.pictures}/${picture}.png` });
  return page.evaluate((a) => {
    const { element } = the[a].widgets.find((widget) => widget.name === "hyworld_editor");
    const words = (part) => element.querySelector(part).innerText;
    return {
      text: the[a].widgets[0].value,
      counts: words(".hyw-counts"),
      message: element.querySelector(".hyw-message").firstChild?.textContent ?? "",
      place: words(".hyw-caption"),
      segments: [...element.querySelectorAll(".hyw-segment")].map((segment) => segment.innerText.replace(/\s+/g, "")),
      pieces: element.querySelectorAll(".hyw-path").length,
      chunks: [...element.querySelectorAll(".hyw-ticks text")].map((mark) => mark.textContent),
      firstTick: parseFloat(element.querySelector(".hyw-ticks path").getAttribute("d").slice(1)),
      cell: parseFloat(element.querySelector(".hyw-strip").style.getPropertyValue("--cell")),
      bearing: Math.round(parseFloat(element.querySelector(".hyw-now").getAttribute("transform").split("rotate(")[1])),
      walk: !element.querySelector("button[aria-label^=Walk]").disabled,
      undo: !element.querySelector("button[aria-label^=Undo]").disabled,
    };
  }, name);
}

async function walkingOn(page) {
  await build(page, {
    camera: ["HYWorldCameraTrajectory", 0],
    first: ["HYWorldStreamingSampler", 900],
    second: ["HYWorldStreamingSampler", 1300],
    reroute: ["Reroute", 500],
    join: ["HYWorldJoinTrajectories", 600],
  });
  await setWidget(page, "camera", "w-7");
  await connect(page, "camera", 0, "reroute", "");
  await connect(page, "reroute", 0, "second", "trajectory");
  const seen = { fresh: await said(page, "camera", "new") };
  await connect(page, "first", 3, "second", "world");
  seen.continued = await said(page, "camera", "continued");
  const fill = page.locator(".hyw-message button").first();
  if (await fill.count()) await fill.click();
  seen.filled = await said(page, "camera");
  await connect(page, "camera", 0, "first", "trajectory");
  seen.both = await said(page, "camera", "both");
  seen.narrow = await sized(page, "camera", 210);
  await disconnect(page, "first", "trajectory");
  await page.evaluate(() => {
    app.graph.convertToSubgraph(new Set([the.second, the.reroute]));
  });
  seen.inSubgraph = await said(page, "camera");
  await page.evaluate(() => {
    for (const node of app.graph._nodes) if (node.subgraph) app.graph.remove(node);
  });
  seen.alone = await said(page, "camera");
  await connect(page, "camera", 0, "join", "then");
  await connect(page, "join", 0, "first", "trajectory");
  seen.part = await said(page, "camera", "part");
  return seen;
}

/** A path for DreamX-World: its chunks, its pace, its keys. */
async function dreamx(page) {
  await build(page, {
    camera: ["HYWorldCameraTrajectory", 0],
    first: ["HYWorldStreamingSampler", 600],
    second: ["HYWorldStreamingSampler", 1000],
  });
  await setWidget(page, "camera", "w-7, wl-4");
  const index = await page.evaluate(() => the.camera.widgets.findIndex(({ name }) => name === "pace"));
  await setWidget(page, "camera", "DreamX-World", index);
  const seen = { fresh: await said(page, "camera", "dreamx") };
  await page.locator(".hyw-stage").first().click({ position: { x: 240, y: 30 } });
  await page.keyboard.press("j");
  await page.keyboard.press("Escape");
  seen.pressed = await said(page, "camera");
  await connect(page, "first", 3, "second", "world");
  await connect(page, "camera", 0, "second", "trajectory");
  seen.continued = await said(page, "camera", "dreamx_continued");
  return seen;
}

/** Run the graph; what ran before is not run again. */
async function run(page) {
  await page.evaluate(() => {
    globalThis.ended = null;
    for (const kind of ["execution_success", "execution_error"])
      app.api.addEventListener(kind, () => (globalThis.ended = kind), { once: true });
  });
  await pressRun(page);
  await page.waitForFunction(() => globalThis.ended, null, PATIENCE);
  return page.evaluate(() => globalThis.ended);
}

async function linked(page, type, input, texts) {
  await build(page, {
    camera: [type, 0],
    text: ["PrimitiveString", 500],
    speed: ["PrimitiveFloat", 500],
    shown: ["PreviewImage", 900],
  });
  const map = await page.evaluate(() => the.camera.outputs.findIndex(({ name }) => name === "map"));
  await setWidget(page, "camera", texts.own);
  await setWidget(page, "text", texts.linked);
  await setWidget(page, "speed", 6);
  await connect(page, "camera", map, "shown", "images");
  await run(page);
  const seen = { own: await said(page, "camera") };
  await connect(page, "text", 0, "camera", input);
  await connect(page, "speed", 0, "camera", "turn_speed");
  seen.before = await said(page, "camera", "linked_before");
  seen.ended = await run(page);
  seen.after = await said(page, "camera", "linked_after");
  // Another node to show it: this one has run, and the host repeats what it said.
  await page.evaluate((slot) => {
    const other = LiteGraph.createNode("PreviewImage");
    app.graph.add(other);
    the.camera.connect(slot, other, 0);
  }, map);
  await run(page);
  seen.cached = await said(page, "camera");
  await disconnect(page, "camera", input);
  seen.apart = await said(page, "camera");
  return seen;
}

/** Give a node a size, or its least height, and say how its parts lie in it, in pixels. */
async function sized(page, name, width, height = 100) {
  await page.evaluate(
    ([a, ...size]) => {
      the[a].setSize(size);
      app.canvas.setDirty(true, true);
    },
    [name, width, height],
  );
  await page.waitForTimeout(600);
  await page.evaluate(() => app.canvas.setDirty(true, true));
  await page.waitForTimeout(600);
  if (scene.pictures) await page.screenshot({ path: `${scene.pictures}/${name}_${width}_${height}.png` });
  return page.evaluate((a) => {
    const { element } = the[a].widgets.find((widget) => widget.name === "hyworld_editor");
    const text = [...document.querySelectorAll("textarea")].find((field) => field.value === the[a].widgets[0].value);
    const box = element.getBoundingClientRect();
    const { ds, canvas } = app.canvas;
    const drawn = (the[a].pos[1] + the[a].size[1] + ds.offset[1]) * ds.scale + canvas.getBoundingClientRect().top;
    const bottom = element.closest("[data-node-id]")?.getBoundingClientRect().bottom ?? drawn;
    const named = (part) => `${part.className} ${part.getAttribute("aria-label") ?? part.textContent}`.trim();
    const all = ".hyw-bar *, .hyw-stage, .hyw-caption, .hyw-cap, .hyw-timeline, .hyw-message, .hyw-message *";
    const parts = [...element.querySelectorAll(all)].filter(
      (part) => part.checkVisibility() && !part.matches("svg, svg *, option"),
    );
    const rect = (part) => part.getBoundingClientRect();
    const out = parts.filter((part) => rect(part).right > box.right + 1 || rect(part).bottom > box.bottom + 1);
    const leaves = parts.filter((part) => part.matches("button, select, input, .hyw-counts, .hyw-caption"));
    const apart = (p, q) =>
      p.right <= q.left + 1 || q.right <= p.left + 1 || p.bottom <= q.top + 1 || q.bottom <= p.top + 1;
    const pairs = leaves.flatMap((one, i) => leaves.slice(i + 1).map((other) => [one, other]));
    const cut = [...leaves, element.querySelector(".hyw-stage")].filter(
      (part) => part.scrollWidth > part.clientWidth + 1 && !part.matches("select, input"),
    );
    return {
      width: the[a].size[0],
      height: the[a].size[1],
      out: out.map(named),
      overlaps: pairs.filter(([one, other]) => !apart(rect(one), rect(other))).map((pair) => pair.map(named)),
      cut: cut.map(named),
      inNode: box.bottom <= bottom + 1,
      text: rect(text).height,
      stage: rect(element.querySelector(".hyw-stage")).height,
    };
  }, name);
}

async function sizes(page) {
  await build(page, { camera: ["HYWorldCameraTrajectory", 0], keys: ["HYWorldActionSequence", 700] });
  await setWidget(page, "camera", "w-7, right-8, w-8, left-8, w+d+up+left-12, s-3");
  await setWidget(page, "keys", "W*7, W+→*9");
  const seen = {};
  for (const name of ["camera", "keys"]) {
    const usual = await sized(page, name, 440, 640);
    seen[name] = { usual, taller: await sized(page, name, 440, 940), narrow: await sized(page, name, 210) };
  }
  await connect(page, "camera", 0, "keys", "trajectory");
  seen.relabels = { usual: await sized(page, "keys", 440, 640), narrow: await sized(page, "keys", 210) };
  return seen;
}

inBrowser({ ...scene, width: 1500, height: 1200 }, async (page) => {
  await openFrontEnd(page, scene.url);
  if (scene.vue && !(await hasVueRenderer(page))) return { skipped: "this front end has no Vue renderer yet" };
  await useVue(page, scene.vue);
  const seen = {
    walkingOn: await walkingOn(page),
    path: await linked(page, "HYWorldCameraTrajectory", "path", { own: "w-11", linked: "w-3, right-4" }),
    keys: await linked(page, "HYWorldActionSequence", "keys", { own: "W*11", linked: "W*3, →*4" }),
    sizes: await sizes(page),
    // Last: this front end gives a new node the widgets' values of an old one with its number.
    dreamx: await dreamx(page),
  };
  await useVue(page, false);
  return seen;
}).catch(failing);
