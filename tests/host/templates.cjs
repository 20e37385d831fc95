// Opens the templates of this pack in the real front end and measures how they lie; runs one of them.
// Usage: node templates.cjs '{"url": …, "chromium": …, "profile": …, "pack": …, "templates": […], "run": …, "vue": …,
//   "pictures": folder or null}'
// Prints one line of JSON: the measurements by template, dark and light, and those after the run.
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

/** Watches how large the nodes get while the template runs, with the live preview in one of them. */
async function run(page) {
  await page.evaluate(() => {
    const sampler = app.graph._nodes.find((node) => node.type === "HYWorldStreamingSampler");
    sampler.widgets.find((widget) => widget.name === "chunks").value = 2;
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
  await pressRun(page);
  await page.waitForFunction(() => globalThis.ended, null, PATIENCE);
  await playingVideo(page);
  await page.waitForTimeout(1500);
  const after = await measure(page);
  const { ended, largest } = await page.evaluate(() => ({ ended, largest }));
  for (const { id, rect } of after.nodes)
    if (largest[id]) rect.splice(2, 2, Math.max(rect[2], largest[id][0]), Math.max(rect[3], largest[id][1]));
  return { ended, ...after };
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
  return { opened: seen, ran: await run(page) };
}).catch(failing);
