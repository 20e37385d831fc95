// Walks, edits, saves and queues a path with the editor in Camera Trajectory, by real keys and pointer.
// Usage: node editor.cjs '{"url": …, "chromium": …, "profile": …, "workflow": …, "vue": …, "pictures": folder or null}'
// Prints one line of JSON: what the text was after each step, and what was seen.
"use strict";
const { readFileSync } = require("node:fs");
const { PATIENCE, failing, hasVueRenderer, inBrowser, loadWorkflow } = require("./front_end.cjs");
const { openFrontEnd, playingVideo, pressRun, useVue } = require("./front_end.cjs");

const EDITOR = ".hyw-editor";
const scene = JSON.parse(process.argv[2]);

/** The node with the editor, as the steps below need it. */
function editorOf(page) {
  const part = (selector) => page.locator(`${EDITOR} ${selector}`).first();
  return {
    part,
    stage: part(".hyw-stage"),
    /** A button by the beginning of its name. */
    button: (name) => part(`button[aria-label^="${name}"]`),
    text: () => page.evaluate(() => theNode().widgets[0].value),
    counts: () => part(".hyw-counts").innerText(),
    message: () => part(".hyw-message").innerText(),
    playhead: async () => Number(await part(".hyw-ruler").getAttribute("aria-valuenow")),
  };
}

/** Put the node in the middle of the window, or what is so far to its right. */
async function centre(page, zoom, right = 0) {
  await page.evaluate(
    ([scale, shift]) => {
      const [x, y] = theNode().pos;
      app.canvas.ds.scale = scale;
      app.canvas.ds.offset = [420 / scale - x - shift, 140 / scale - y];
      app.canvas.setDirty(true, true);
    },
    [zoom, right],
  );
  await page.waitForTimeout(700);
}

/** A picture of an editor, for the help pages. */
async function picture(page, selector, name) {
  if (scene.pictures)
    await page
      .locator(selector)
      .first()
      .screenshot({ path: `${scene.pictures}/${name}` });
}

/** Hold keys down; they go down, and up, one right after the other, however busy the machine is. */
async function hold(page, keys, ms) {
  await Promise.all(keys.map((key) => page.keyboard.down(key)));
  await page.waitForTimeout(ms);
  await Promise.all(keys.map((key) => page.keyboard.up(key)));
  await page.waitForTimeout(150);
}

async function prepare(page) {
  await page.evaluate(() => {
    globalThis.theNode = () => app.graph._nodes.find((node) => node.type === "HYWorldCameraTrajectory");
  });
  await useVue(page, scene.vue);
  await loadWorkflow(page, JSON.parse(readFileSync(scene.workflow, "utf8")));
  await centre(page, 1);
}

async function walk(page, editor) {
  const began = Date.now();
  await editor.button("Clear").click();
  await editor.part(`select[aria-label^="Pace"]`).selectOption("2");
  const cleared = await editor.text();
  await editor.stage.click({ position: { x: 240, y: 30 } });
  await hold(page, ["w"], 1000);
  const forward = await editor.text();
  await hold(page, ["ArrowLeft"], 700);
  await hold(page, ["ArrowRight"], 700);
  const looked = await editor.text();
  if (scene.pictures) {
    await page.keyboard.down("w");
    await page.waitForTimeout(500);
    await picture(page, EDITOR, "camera_trajectory_recording.png");
    await page.keyboard.up("w");
    await page.keyboard.press("Control+z");
  }
  await editor.button("Return").click();
  return { cleared, forward, looked, returned: await editor.text(), seconds: (Date.now() - began) / 1000 };
}

async function undo(page, editor) {
  await editor.stage.focus();
  await hold(page, ["d", "ArrowRight"], 500);
  const together = await editor.text();
  await page.evaluate(() => void (globalThis.sameNode = theNode()));
  await page.keyboard.press("Control+z");
  await page.waitForTimeout(300);
  const undone = await editor.text();
  const graphStays = await page.evaluate(() => sameNode === theNode());
  await page.keyboard.press("Control+y");
  await page.waitForTimeout(300);
  const redone = await editor.text();
  await page.keyboard.press("Control+z");
  await page.waitForTimeout(300);
  return { together, undone, redone, graphStays };
}

/** With the focus elsewhere, the graph's undo takes a whole recording back. */
async function graphUndo(page, editor) {
  const before = await editor.text();
  await editor.stage.focus();
  await page.keyboard.press("End");
  await hold(page, ["d"], 500);
  const walked = await editor.text();
  await page.keyboard.press("Escape");
  const left = await page.evaluate(() => document.activeElement === document.body);
  await page.keyboard.press("Control+z");
  await page.waitForTimeout(1500);
  return { before, walked, left, undone: await editor.text() };
}

/** Space while a key is held, and Space held down: the path is not touched, and it plays once. */
async function playing(page, editor) {
  await editor.stage.focus();
  await page.keyboard.press("End");
  const before = await editor.text();
  await page.keyboard.down("d");
  await page.waitForTimeout(300);
  for (let i = 0; i < 4; i++) await page.keyboard.down("Space");
  const playing = await editor.button("Stop playing").isVisible();
  await page.waitForTimeout(300);
  await page.keyboard.up("Space");
  await page.keyboard.up("d");
  const walked = await editor.text();
  await editor.button("Stop playing").click();
  const hint = await editor.part(".hyw-hint").count();
  await editor.button("Undo").click();
  return { before, playing, walked, hint, undone: await editor.text() };
}

/** The middle button moves the graph, over the editor too. */
async function panned(page, editor) {
  await centre(page, 1);
  const place = () => page.evaluate(() => [...app.canvas.ds.offset]);
  const before = await place();
  const { x, y } = await editor.part(".hyw-view").boundingBox();
  await page.mouse.move(x + 30, y + 30);
  await page.mouse.down({ button: "middle" });
  await page.mouse.move(x + 70, y + 50, { steps: 4 });
  await page.mouse.up({ button: "middle" });
  const after = await place();
  return after.map((value, i) => Math.round(value - before[i]));
}

/** Keys that are the graph's own shortcuts, pressed in the editor, and what of it came through to the window. */
async function shortcuts(page, editor) {
  await page.evaluate(() => {
    globalThis.cameThrough = [];
    for (const kind of ["keydown", "keyup", "paste"])
      addEventListener(kind, (event) => cameThrough.push(event.key ?? kind));
  });
  const before = await editor.text();
  const nodes = await page.evaluate(() => app.graph._nodes.length);
  await editor.part(".hyw-ruler").focus();
  for (const key of [
    "q",
    "r",
    "n",
    "m",
    "p",
    ".",
    "Control+a",
    "Control+c",
    "Control+v",
    "Control+m",
    "Delete",
  ]) {
    await page.keyboard.press(key);
  }
  await page.waitForTimeout(500);
  return {
    cameThrough: await page.evaluate(() => globalThis.cameThrough),
    unchanged: before === (await editor.text()),
    nodes: (await page.evaluate(() => app.graph._nodes.length)) - nodes,
  };
}

/** A key is held while the focus goes elsewhere. */
async function blur(page, editor) {
  await editor.stage.focus();
  await page.keyboard.down("e");
  await page.waitForTimeout(300);
  await page.evaluate(() => document.activeElement.blur());
  const after = await editor.text();
  await page.waitForTimeout(700);
  const later = await editor.text();
  await page.keyboard.up("e");
  await editor.button("Undo").click();
  return { recorded: after.includes("orbit_right"), stopped: after === later };
}

async function byKeyboard(page, editor) {
  const ruler = editor.part(".hyw-ruler");
  await ruler.focus();
  await page.keyboard.press("Home");
  await page.waitForTimeout(400);
  const atStart = await editor.playhead();
  await page.keyboard.press("PageUp");
  await page.waitForTimeout(400);
  const afterChunk = await editor.playhead();
  await editor.part(".hyw-segment").focus();
  const before = await editor.text();
  await page.keyboard.press("Shift+ArrowRight");
  const longer = await editor.text();
  await page.keyboard.press("Shift+ArrowLeft");
  return { atStart, afterChunk, before, longer, again: await editor.text() };
}

/** Dragging the end of the first segment by four latents, and pointing at the map, at some zoom. */
async function byPointer(page, editor, zoom) {
  await centre(page, zoom);
  const before = await editor.text();
  const grip = await editor.part(".hyw-grip").boundingBox();
  const cell = await editor.part(".hyw-strip").evaluate((strip) => parseFloat(strip.style.getPropertyValue("--cell")));
  const [x, y] = [grip.x + grip.width / 2, grip.y + grip.height / 2];
  await page.mouse.move(x, y);
  await page.mouse.down();
  await page.mouse.move(x + 4 * cell * zoom, y, { steps: 5 });
  await page.mouse.up();
  await page.waitForTimeout(300);
  const dragged = await editor.text();
  await editor.button("Undo").click();
  const start = await editor.part(".hyw-start").boundingBox();
  await page.mouse.click(start.x + start.width / 2, start.y + start.height / 2);
  await page.waitForTimeout(500);
  return { before, dragged, undone: await editor.text(), playhead: await editor.playhead() };
}

/** Typed text is shown, and kept even if it is no path. */
async function typing(page, editor) {
  const field = page.locator("textarea:visible").nth(
    await page.evaluate(() => {
      const shown = [...document.querySelectorAll("textarea")].filter((field) => field.checkVisibility());
      return shown.findIndex((field) => field.value === theNode().widgets[0].value);
    }),
  );
  const before = await editor.text();
  await editor.part(".hyw-ruler").focus();
  await page.keyboard.press("End"); // from there the playhead follows the text's end
  await field.fill("w-7, jump-4");
  await page.waitForTimeout(300);
  await gamepadForward(page);
  await editor.stage.focus();
  await page.waitForTimeout(500);
  await noGamepad(page);
  const broken = {
    text: await editor.text(),
    message: await editor.message(),
    walk: await editor.button("Walk").isEnabled(),
  };
  await field.fill("w-3, d-2");
  await page.waitForTimeout(300);
  const place = await editor.part(".hyw-caption").innerText();
  const typed = { counts: await editor.counts(), message: await editor.message(), place };
  if (scene.pictures) {
    await field.fill("w-9, w+right-12, up-3, left-10, orbit_left-15, down-3, s-7");
    await centre(page, 1);
    await picture(page, EDITOR, "camera_trajectory_editor.png");
    await page.screenshot({
      path: `${scene.pictures}/path_editor.png`,
      clip: { x: 320, y: 60, width: 960, height: 780 },
    });
  }
  await field.fill(before);
  await page.waitForTimeout(300);
  return { broken, typed };
}

/** A gamepad whose left stick is pushed forward for a while. */
function gamepadForward(page) {
  return page.evaluate(() => {
    const pad = { connected: true, axes: [0, -1, 0, 0], buttons: [] };
    navigator.getGamepads = () => [pad];
    setTimeout(() => (pad.axes = [0, 0, 0, 0]), 700);
  });
}

function noGamepad(page) {
  return page.evaluate(() => (navigator.getGamepads = () => []));
}

async function byGamepad(page, editor) {
  await editor.part(".hyw-ruler").focus();
  await page.keyboard.press("End");
  await page.waitForTimeout(400);
  await gamepadForward(page);
  const before = await editor.text();
  await editor.stage.focus();
  await page.waitForTimeout(1200);
  const walked = await editor.text();
  await noGamepad(page);
  await page.keyboard.press("Control+z");
  await page.waitForTimeout(300);
  return { before, walked, undone: await editor.text() };
}

/** Far to the right of every node of the workflow. */
const ASIDE = 3000;

/** The other node: keys that walk a path of their own, and keys for a path that is wired in. */
async function keyPresses(page) {
  const place = await page.evaluate((right) => {
    const node = LiteGraph.createNode("HYWorldActionSequence");
    const [x, y] = theNode().pos;
    node.pos = [x + right, y];
    app.graph.add(node);
    globalThis.theKeys = node;
    node.widgets.find((widget) => widget.name === "hyworld_editor").element.id = "other-editor";
    return node.id;
  }, ASIDE);
  await centre(page, 1, ASIDE);
  const part = (selector) => page.locator(`#other-editor ${selector}`).first();
  await part(`button[aria-label^="Clear"]`).click();
  await part(".hyw-stage").focus();
  await hold(page, ["w", "ArrowRight"], 1200);
  const walked = await page.evaluate(() => theKeys.widgets[0].value);
  await page.evaluate(() => theNode().connect(0, theKeys, "trajectory"));
  await page.waitForTimeout(400);
  const relabels = { message: await part(".hyw-message").innerText(), map: await part(".hyw-map").isVisible() };
  await picture(page, "#other-editor", "action_sequence_editor.png");
  await page.evaluate((id) => app.graph.remove(app.graph.getNodeById(id)), place);
  await centre(page, 1);
  return { walked, relabels };
}

/** The text from another node: the editor shows that and leaves it alone. */
async function linked(page, editor) {
  await page.evaluate(() => {
    const source = LiteGraph.createNode("PrimitiveStringMultiline") ?? LiteGraph.createNode("PrimitiveString");
    app.graph.add(source);
    source.connect(
      0,
      theNode(),
      theNode().inputs.findIndex((slot) => slot.name === "path"),
    );
    globalThis.theSource = source;
  });
  await page.waitForTimeout(400);
  const seen = { message: await editor.message(), enabled: await editor.button("Walk").isEnabled() };
  await page.evaluate(() => {
    theNode().disconnectInput(theNode().inputs.findIndex((slot) => slot.name === "path"));
    app.graph.remove(theSource);
  });
  await page.waitForTimeout(400);
  return { ...seen, enabledAgain: await editor.button("Walk").isEnabled() };
}

async function saveAndReload(page, editor) {
  const fill = editor.part(".hyw-message button");
  if (await fill.count()) await fill.click();
  const saved = await page.evaluate(() => JSON.parse(JSON.stringify(app.graph.serialize())));
  const values = saved.nodes.find((node) => node.type === "HYWorldCameraTrajectory").widgets_values;
  const before = { text: await editor.text(), counts: await editor.counts() };
  await loadWorkflow(page, saved);
  const after = {
    text: await editor.text(),
    counts: await editor.counts(),
    undo: await editor.button("Undo").isEnabled(),
  };
  return { values, before, after };
}

async function run(page) {
  await page.evaluate(() => {
    globalThis.ended = null;
    app.api.addEventListener("executed", (event) => (globalThis.promptId = event.detail.prompt_id));
    for (const kind of ["execution_success", "execution_error"])
      app.api.addEventListener(kind, () => (globalThis.ended = kind));
  });
  await pressRun(page);
  await page.waitForFunction(() => globalThis.ended, null, PATIENCE);
  const ended = await page.evaluate(() => globalThis.ended);
  await page.locator("canvas#graph-canvas").press("."); // nodes out of sight do not load their video
  return { ended, promptId: await page.evaluate(() => globalThis.promptId), video: await playingVideo(page) };
}

inBrowser({ ...scene, width: 1500, height: 1000 }, async (page) => {
  await openFrontEnd(page, scene.url);
  if (scene.vue && !(await hasVueRenderer(page))) return { skipped: "this front end has no Vue renderer yet" };
  await prepare(page);
  const editor = editorOf(page);
  const seen = {
    walk: await walk(page, editor),
    undo: await undo(page, editor),
    shortcuts: await shortcuts(page, editor),
    blur: await blur(page, editor),
    graphUndo: await graphUndo(page, editor),
    playing: await playing(page, editor),
    panned: await panned(page, editor),
    keyboard: await byKeyboard(page, editor),
    zoomedOut: await byPointer(page, editor, 0.7),
    zoomedIn: await byPointer(page, editor, 1.3),
    gamepad: await byGamepad(page, editor),
    keyPresses: await keyPresses(page),
    typing: await typing(page, editor),
    linked: await linked(page, editor),
    saved: await saveAndReload(page, editor),
    run: await run(page),
  };
  await useVue(page, false);
  return seen;
}).catch(failing);
