// Walks in Live Walk by real keys: walk, turn, go back, other words, lost focus, full screen, a page loaded again, stop;
// then once more, to be cancelled.
// Usage: node live.cjs '{"url": …, "chromium": …, "profile": …, "workflow": …, "vue": …, "pictures": folder or null,
//   "documentation": file or nothing}'
// Prints one line of JSON: what was seen after each step.
"use strict";
const { readFileSync } = require("node:fs");
const { PATIENCE, failing, hasVueRenderer, inBrowser, loadWorkflow } = require("./front_end.cjs");
const { openFrontEnd, playingVideo, pressRun, useVue } = require("./front_end.cjs");

const scene = JSON.parse(process.argv[2]);

/** The view in the node, as the steps below need it. */
function viewOf(page) {
  const part = (selector) => page.locator(`.hyw-walker ${selector}`).first();
  return {
    part,
    screen: part(".hyw-screen"),
    place: () => part(".hyw-head .hyw-counts").innerText(),
    message: () => part(".hyw-message").innerText(),
    /** Where one stands, and how far one has come. */
    chunks: async () => ((await part(".hyw-head .hyw-counts").innerText()).match(/\d+/g) ?? [0, 0]).map(Number),
    isLit: () =>
      part("canvas").evaluate((canvas) => {
        const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
        return data.some((value, i) => i % 4 < 3 && value > 40);
      }),
  };
}

const stands = (page) =>
  page.waitForFunction(
    () => /stands still/.test(document.querySelector(".hyw-walker .hyw-head").innerText),
    null,
    PATIENCE,
  );

/** Wait until all that was walked has been played, too. */
const atEnd = (page) =>
  page.waitForFunction(
    () => {
      const place = document.querySelector(".hyw-walker .hyw-counts").innerText;
      const [at, of] = place.match(/\d+/g) ?? [];
      return at === of && /stands still/.test(place);
    },
    null,
    PATIENCE,
  );

/** Wait until the walk has come so far. */
const furthest = (page, chunks) =>
  page.waitForFunction(
    (least) => Number(document.querySelector(".hyw-walker .hyw-counts").innerText.match(/\d+/g)?.[1] ?? 0) >= least,
    chunks,
    PATIENCE,
  );

/** Hold keys until the walk is so many chunks longer, and wait until it stands. */
async function walk(page, view, keys, more = 1) {
  const [, before] = await view.chunks();
  for (const key of keys) await page.keyboard.down(key);
  await furthest(page, before + more);
  for (const key of keys) await page.keyboard.up(key);
  await atEnd(page);
  return view.chunks();
}

async function prepare(page) {
  await page.evaluate(() => {
    globalThis.theNode = () => app.graph._nodes.find((node) => node.type === "HYWorldLiveWalk");
  });
  await useVue(page, scene.vue);
  await loadWorkflow(page, JSON.parse(readFileSync(scene.workflow, "utf8")));
  await centre(page);
}

/** Put the node into the window. */
async function centre(page) {
  await page.evaluate(() => {
    const [x, y] = theNode().pos;
    app.canvas.ds.scale = 1;
    app.canvas.ds.offset = [330 - x, 90 - y];
    app.canvas.setDirty(true, true);
  });
  await page.waitForTimeout(700);
}

async function picture(page, name) {
  if (scene.pictures) await page.screenshot({ path: `${scene.pictures}/${name}_${scene.vue ? "vue" : "classic"}.png` });
}

async function start(page) {
  await page.evaluate(() => {
    globalThis.ended = null;
    globalThis.promptId = null;
    app.api.addEventListener("hyworld_live", ({ detail }) => (globalThis.promptId = detail.prompt_id));
    for (const kind of ["execution_success", "execution_error", "execution_interrupted"])
      app.api.addEventListener(kind, () => (globalThis.ended = kind));
  });
  await pressRun(page);
  await stands(page);
}

async function first(page, view) {
  const before = { enabled: await view.part("button.hyw-switch").isEnabled(), message: await view.message() };
  await picture(page, "idle");
  await start(page);
  await page.waitForTimeout(500);
  const words = view.part("textarea");
  return { before, lit: await view.isLit(), place: await view.place(), field: await words.isVisible() };
}

async function walking(page, view) {
  await page.evaluate(() => {
    globalThis.cameThrough = [];
    for (const kind of ["keydown", "keyup"]) addEventListener(kind, (event) => cameThrough.push(event.key));
  });
  const nodes = await page.evaluate(() => app.graph._nodes.length);
  await view.screen.click({ position: { x: 60, y: 60 } });
  await page.keyboard.down("w");
  await furthest(page, 1);
  await picture(page, "walking");
  await furthest(page, 2);
  await page.keyboard.up("w");
  await atEnd(page);
  const forward = await view.chunks();
  const turned = await walk(page, view, ["ArrowLeft"]);
  await page.keyboard.press("q");
  await page.keyboard.press("Delete");
  await stands(page);
  await furthest(page, turned[1] + 1);
  await atEnd(page);
  return {
    forward,
    turned,
    tapped: await view.chunks(),
    cameThrough: await page.evaluate(() => globalThis.cameThrough),
    nodes: (await page.evaluate(() => app.graph._nodes.length)) - nodes,
    thumbnails: await page.locator(".hyw-walker .hyw-chunks img:not([hidden])").count(),
    details: await view.part(".hyw-details").innerText(),
  };
}

/** A key is held while the focus goes elsewhere. */
async function blur(page, view) {
  const [, before] = await view.chunks();
  await view.screen.focus();
  await page.keyboard.down("d");
  await furthest(page, before + 1);
  await page.evaluate(() => document.activeElement.blur());
  await stands(page);
  const [, after] = await view.chunks();
  await page.waitForTimeout(2500);
  const [, later] = await view.chunks();
  await page.keyboard.up("d");
  return { before, after, later };
}

async function branch(page, view) {
  const [, before] = await view.chunks();
  await view.part('button[data-chunks="1"]').click();
  await page.waitForFunction(() => /chunk 1 of/.test(document.querySelector(".hyw-walker .hyw-counts").innerText), null, PATIENCE);
  await picture(page, "back");
  const back = await view.chunks();
  await view.screen.focus();
  await page.keyboard.down("d");
  await page.waitForFunction(
    (then) => {
      const [at, of] = document.querySelector(".hyw-walker .hyw-counts").innerText.match(/\d+/g).map(Number);
      return at >= 2 && of < then;
    },
    before,
    PATIENCE,
  );
  await page.keyboard.up("d");
  await atEnd(page);
  return { before, back, after: await view.chunks() };
}

async function words(page, view) {
  const [, before] = await view.chunks();
  await view.part("textarea").fill("it starts to rain");
  await view.part(".hyw-telling button").click();
  await page.waitForTimeout(700);
  await view.screen.focus();
  return { before, after: await walk(page, view, ["w"]) };
}

async function full(page, view) {
  await view.screen.focus();
  await page.keyboard.press("f");
  await page.waitForTimeout(700);
  const filled = await page.evaluate(() => document.fullscreenElement?.classList.contains("hyw-walker") ?? false);
  const size = await view.screen.boundingBox();
  const [, before] = await view.chunks();
  const [, after] = await walk(page, view, ["ArrowRight"]);
  await picture(page, "full");
  await page.keyboard.press("f");
  await page.waitForTimeout(700);
  return { filled, width: size.width, walked: after - before, left: await page.evaluate(() => !document.fullscreenElement) };
}

/** The page is loaded again while one walks: the graph is there, and the view finds its walk. */
async function reload(page, view) {
  const before = await view.chunks();
  const prompt = await page.evaluate(() => globalThis.promptId);
  await page.reload({ waitUntil: "domcontentloaded" });
  await page.waitForFunction(
    () => globalThis.app?.graph?._nodes?.some(({ type }) => type === "HYWorldLiveWalk") && document.querySelector(".hyw-walker"),
    null,
    PATIENCE,
  );
  await page.evaluate(() => (globalThis.theNode = () => app.graph._nodes.find(({ type }) => type === "HYWorldLiveWalk")));
  await centre(page);
  await stands(page);
  await page.waitForTimeout(500);
  const found = { chunks: await view.chunks(), lit: await view.isLit() };
  await picture(page, "reloaded");
  await view.screen.click({ position: { x: 60, y: 60 } });
  return { prompt, before, found, after: await walk(page, view, ["w"]) };
}

async function stop(page, view) {
  await page.evaluate(() => {
    globalThis.ended = null;
    for (const kind of ["execution_success", "execution_error", "execution_interrupted"])
      app.api.addEventListener(kind, () => (globalThis.ended = kind));
  });
  await view.part('button[aria-label^="End the walk"]').click();
  await page.waitForFunction(() => globalThis.ended, null, PATIENCE);
  const seen = { ended: await page.evaluate(() => globalThis.ended), message: await view.message() };
  await picture(page, "stopped");
  await page.evaluate(() => document.activeElement.blur());
  await page.locator("canvas#graph-canvas").press("."); // nodes out of sight do not load their video
  return { ...seen, video: await playingVideo(page) };
}

/** The host's own cancel, in the middle of a chunk. */
async function cancel(page, view) {
  await centre(page);
  await start(page);
  await view.screen.click({ position: { x: 60, y: 60 } });
  await page.keyboard.down("w");
  await furthest(page, 1);
  await page.waitForFunction(() => /step [12] of/.test(document.querySelector(".hyw-walker .hyw-said").innerText), null, PATIENCE);
  await page.evaluate(() => app.api.interrupt(globalThis.promptId));
  await page.waitForFunction(() => globalThis.ended, null, PATIENCE);
  await page.keyboard.up("w");
  await page.waitForTimeout(500);
  await picture(page, "cancelled");
  return { ended: await page.evaluate(() => globalThis.ended), message: await view.message() };
}

/** A run that fails before there is a walk: the view does not wait for one. */
async function broken(page, view) {
  await page.evaluate(() => {
    globalThis.ended = null;
    theNode().widgets.find(({ name }) => name === "width").value = 32;
  });
  await pressRun(page);
  await page.waitForFunction(() => globalThis.ended, null, PATIENCE);
  await page.waitForTimeout(5000);
  return { ended: await page.evaluate(() => globalThis.ended), message: await view.message() };
}

/** A walk in the built-in world, around what stands in its middle, for the help page. */
async function document(page, view) {
  await start(page);
  await view.screen.click({ position: { x: 60, y: 60 } });
  await walk(page, view, ["w"], 1);
  await walk(page, view, ["ArrowLeft"], 1);
  await walk(page, view, ["ArrowRight"], 1);
  await page.keyboard.down("e");
  const [, before] = await view.chunks();
  await furthest(page, before + 2);
  await page.waitForTimeout(700);
  await page.locator(".hyw-walker").first().screenshot({ path: scene.documentation });
  await page.keyboard.up("e");
  await atEnd(page);
  const details = await view.part(".hyw-details").innerText();
  await stop(page, view);
  return { details };
}

/** A key held in the built-in world for so many seconds, with a turn now and then: what the view counted. */
async function pace(page, view) {
  await start(page);
  await view.screen.click({ position: { x: 60, y: 60 } });
  await page.keyboard.down("w");
  await furthest(page, 2);
  // At the moment the numbers change, which they do twice a second.
  const counted = async () => {
    const [details, at] = await view.part(".hyw-details").evaluate(
      (element) =>
        new Promise((resolve) => {
          const seen = () => resolve([element.innerText, performance.now()]);
          new MutationObserver(seen).observe(element, { childList: true, characterData: true, subtree: true });
        }),
    );
    const [frames, stalls] = [/(\d+) frames(?!\/)/, /stalls: (\d+)/].map((number) => Number(number.exec(details)?.[1]));
    return { details, frames, stalls, at };
  };
  const before = await counted();
  for (let i = 0, end = Date.now() + scene.seconds * 1000; Date.now() < end; i++) {
    await page.waitForTimeout(1730);
    await page.keyboard.press(["ArrowLeft", "ArrowRight"][i % 2], { delay: 240 });
  }
  const after = await counted();
  await page.keyboard.up("w");
  await atEnd(page);
  await stop(page, view);
  const rate = (1000 * (after.frames - before.frames)) / (after.at - before.at);
  return { details: after.details, stalls: after.stalls - before.stalls, rate };
}

inBrowser({ ...scene, width: 1500, height: 1050 }, async (page) => {
  const errors = [];
  page.on("pageerror", (error) => errors.push(String(error)));
  await openFrontEnd(page, scene.url);
  if (scene.vue && !(await hasVueRenderer(page))) return { skipped: "this front end has no Vue renderer yet" };
  await prepare(page);
  const view = viewOf(page);
  if (scene.documentation) return document(page, view);
  if (scene.seconds) return pace(page, view);
  const seen = {
    first: await first(page, view),
    walking: await walking(page, view),
    blur: await blur(page, view),
    branch: await branch(page, view),
    words: await words(page, view),
    full: await full(page, view),
    reload: await reload(page, view),
    stop: await stop(page, view),
    cancel: await cancel(page, view),
    broken: await broken(page, view),
  };
  await useVue(page, false);
  return { ...seen, errors };
}).catch(failing);
