// Opens the templates of this pack in the real front end and measures how they lie; runs one of them, twice.
// Usage: node templates.cjs '{"url": …, "chromium": …, "profile": …, "pack": …, "templates": […], "run": …, "vue": …,
//   "pictures": folder or null}'
// Prints one line of JSON: the measurements by template, dark and light, and those after a run and a second one, which
// shares its first chunk with it.
"use strict";
const { PATIENCE, failing, hasVueRenderer, inBrowser, openFrontEnd, playingVideo, pressRun } = require("./front_end.cjs");
const { measure } = require("./measure.cjs");

const scene = JSON.parse(process.argv[2]);

const set = (page, name, value) =>
  page.evaluate(([id, to]) => app.extensionManager.setting.set(id, to), [name, value]);

/** As the front end's template browser does it, which has no stable way in for a test. */
async function openTemplate(page, name) {
  await page.evaluate(
    async ([pack, template]) => {
      const answer = await app.api.fetchApi(`/workflow_templates/${pack}/${template}.json`);
      await app.loadGraphData(await answer.json(), true, true, template, { openSource: "template" });
    },
    [scene.pack, name],
  );
  await page.waitForTimeout(1500);
}

/** Old front ends show a dialog about files that are not there, new ones a note in a corner. */
async function closeDialogs(page) {
  const dialogs = page.locator("[role=dialog]:visible");
  const texts = await dialogs.allInnerTexts();
  if (texts.length) await page.keyboard.press("Escape");
  await page.waitForTimeout(500);
  return texts;
}

/** Watches how large the nodes get from now on. */
function watchSizes(page) {
  return page.evaluate(() => {
    for (const kind of ["execution_success", "execution_error", "execution_interrupted"])
      app.api.addEventListener(kind, () => (globalThis.ended = kind));
    globalThis.largest = {};
    setInterval(() => {
      for (const { id, size, flags } of app.graph._nodes)
        if (!flags.collapsed) {
          const [width, height] = largest[id] ?? [0, 0];
          largest[id] = [Math.max(width, size[0]), Math.max(height, size[1] + LiteGraph.NODE_TITLE_HEIGHT)];
        }
    }, 100);
  });
}

/** Runs the template with these values of widgets, by node type; gives each node as large as it has been. */
async function run(page, values) {
  await page.evaluate((changes) => {
    globalThis.ended = "";
    for (const [type, widgets] of Object.entries(changes))
      for (const [name, value] of Object.entries(widgets))
        app.graph._nodes.find((node) => node.type === type).widgets.find((widget) => widget.name === name).value = value;
  }, values);
  await pressRun(page);
  await page.waitForFunction(() => globalThis.ended, null, PATIENCE);
  await playingVideo(page);
  await page.waitForTimeout(1500);
  const after = await measure(page);
  const { ended, largest, told } = await page.evaluate(() => ({
    ended,
    largest,
    told: app.graph._nodes
      .find((node) => node.type === "HYWorldStreamingSampler")
      .widgets.find(({ name }) => name === "hyworld_notes")?.element.textContent,
  }));
  for (const { id, rect } of after.nodes)
    if (largest[id]) rect.splice(2, 2, Math.max(rect[2], largest[id][0]), Math.max(rect[3], largest[id][1]));
  return { ended, told, ...after };
}

inBrowser({ ...scene, width: 1600, height: 950 }, async (page) => {
  await openFrontEnd(page, scene.url);
  if (scene.vue && !(await hasVueRenderer(page))) return { skipped: "this front end has no Vue renderer" };
  await set(page, "Comfy.VueNodes.Enabled", scene.vue);
  const seen = {};
  for (const palette of ["dark", "light"]) {
    await set(page, "Comfy.ColorPalette", palette);
    for (const name of scene.templates) {
      await openTemplate(page, name);
      if (scene.pictures)
        await page.screenshot({ path: `${scene.pictures}/${name}_${scene.vue ? "vue" : "classic"}_${palette}.png` });
      const dialogs = await closeDialogs(page);
      seen[`${name} ${palette}`] = { dialogs, ...(await measure(page)) };
    }
  }
  await set(page, "Comfy.ColorPalette", "dark");
  await openTemplate(page, scene.run);
  await watchSizes(page);
  // A seed of its own for each renderer: what the server has in its cache shows no preview.
  const ran = await run(page, { HYWorldStreamingSampler: { chunks: 2, seed: scene.vue ? 21 : 20 } });
  const again = await run(page, { HYWorldCameraTrajectory: { path: "w-3, left-4" } });
  return { opened: seen, ran, again };
}).catch(failing);
