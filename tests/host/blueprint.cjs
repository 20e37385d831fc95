// Adds the blueprint to an empty graph by its name, as a user does, wires the built-in world to it and runs it.
// Usage: node blueprint.cjs '{"url": …, "chromium": …, "profile": …, "name": …, "values": {widget: value}, "screenshot": …}'
// Prints one line of JSON: what the node shows, what was queued, and how the run ended.
"use strict";
const { PATIENCE, failing, inBrowser, openFrontEnd, playingVideo, pressRun } = require("./front_end.cjs");

const scene = JSON.parse(process.argv[2]);

/** A double click on the empty canvas opens the search; Enter takes its first result. */
async function addByName(page) {
  await page.evaluate(() => {
    app.graph.clear();
    app.canvas.ds.scale = 1;
    app.canvas.ds.offset = [0, 0];
  });
  await page.mouse.dblclick(900, 300);
  await page.waitForTimeout(1000);
  await page.keyboard.type(scene.name);
  await page.waitForTimeout(1500);
  await page.keyboard.press("Enter");
  await page.waitForFunction(() => app.graph._nodes.length === 1, null, { timeout: 20_000 });
  await page.waitForTimeout(1000);
  // A front end may let the node follow the pointer until a click.
  await page.mouse.click(900, 300);
  await page.waitForTimeout(500);
}

function describe(page) {
  return page.evaluate(() => {
    const walk = (globalThis.theWalk = app.graph._nodes[0]);
    return {
      title: walk.title,
      inputs: walk.inputs.map((slot) => [slot.name, slot.type]),
      outputs: walk.outputs.map((slot) => [slot.name, slot.type]),
      widgets: Object.fromEntries(walk.widgets.map((widget) => [widget.name, widget.value])),
    };
  });
}

/** The built-in world in front, Save Video behind. */
function wireUp(page) {
  return page.evaluate((values) => {
    const add = (type, x, y) => {
      const node = LiteGraph.createNode(type);
      node.pos = [x, y];
      app.graph.add(node);
      return node;
    };
    const wire = (from, output, to, input) =>
      from.connect(
        from.outputs.findIndex((slot) => slot.name === output),
        to,
        to.inputs.findIndex((slot) => slot.name === input),
      );
    theWalk.pos = [520, 140];
    const model = add("HYWorldLoadModel", 100, 140);
    const world = add("HYWorldTinyWorld", 100, 480);
    const save = add("SaveVideo", 1040, 140);
    wire(model, "model", theWalk, "model");
    for (const name of ["clip", "vae", "picture"]) wire(world, name, theWalk, name);
    wire(theWalk, "video", save, "video");
    for (const [name, value] of Object.entries(values))
      theWalk.widgets.find((widget) => widget.name === name).value = value;
  }, scene.values);
}

async function run(page) {
  await page.evaluate(() => {
    globalThis.seen = { ended: "", error: "" };
    app.api.addEventListener("executed", (event) => (seen.promptId = event.detail.prompt_id));
    for (const kind of ["execution_success", "execution_error"])
      app.api.addEventListener(kind, (event) => {
        seen.ended = kind;
        seen.error = event.detail.exception_message ?? "";
      });
  });
  const { output: prompt } = await page.evaluate(() => app.graphToPrompt());
  await pressRun(page);
  await page.waitForFunction(() => seen.ended, null, PATIENCE);
  const seen = await page.evaluate(() => globalThis.seen);
  await page.locator("canvas#graph-canvas").press(".");
  const video = seen.ended === "execution_success" ? await playingVideo(page) : null;
  return { prompt, ...seen, video };
}

inBrowser({ ...scene, width: 1700, height: 1000 }, async (page) => {
  await openFrontEnd(page, scene.url);
  await addByName(page);
  const added = await describe(page);
  await wireUp(page);
  const ran = await run(page);
  await page.waitForTimeout(500);
  await page.screenshot({ path: scene.screenshot });
  return { added, ran };
}).catch(failing);
