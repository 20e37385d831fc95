// Loads a workflow into the real front end, presses Run, watches until it has ended, takes a screenshot.
// Usage: node browser.cjs '{"url": …, "chromium": …, "profile": …, "workflow": …, "screenshot": …, "chunks": …}'
// Prints one line of JSON that says what was seen.
"use strict";
const { readFileSync } = require("node:fs");
const { PATIENCE, failing, hasVueRenderer, inBrowser, loadWorkflow } = require("./front_end.cjs");
const { openFrontEnd, playingVideo, pressRun, useVue } = require("./front_end.cjs");

async function describe(page, chunks) {
  return page.evaluate((count) => {
    const nodes = app.graph._nodes;
    const sampler = nodes.find((node) => node.type === "HYWorldStreamingSampler");
    if (count) sampler.widgets.find((widget) => widget.name === "chunks").value = count;
    return {
      types: nodes.map((node) => node.type),
      missing: nodes.map((node) => node.type).filter((type) => !LiteGraph.registered_node_types[type]),
      dialogs: [...document.querySelectorAll("[role=dialog]")].map((dialog) => dialog.innerText),
    };
  }, chunks);
}

async function watch(page) {
  await page.evaluate(() => {
    const seen = (globalThis.seen = { previews: 0, shown: 0, ended: "", error: "" });
    const sampler = app.graph._nodes.find((node) => node.type === "HYWorldStreamingSampler");
    app.api.addEventListener("b_preview_with_metadata", () => seen.previews++);
    for (const kind of ["execution_success", "execution_error", "execution_interrupted"]) {
      app.api.addEventListener(kind, (event) => {
        seen.ended = kind;
        seen.error = event.detail.exception_message ?? "";
      });
    }
    const look = () => {
      if (sampler.imgs?.some((img) => img.naturalWidth)) seen.shown++;
      if (!seen.ended) requestAnimationFrame(look);
    };
    look();
  });
}

const scene = JSON.parse(process.argv[2]);
inBrowser(scene, async (page) => {
  await openFrontEnd(page, scene.url);
  if (await hasVueRenderer(page)) await useVue(page, false); // another test may have left it on
  await loadWorkflow(page, JSON.parse(readFileSync(scene.workflow, "utf8")));
  const loaded = await describe(page, scene.chunks);
  await watch(page);
  const queued = await pressRun(page);
  await page.waitForFunction(() => globalThis.seen.ended, null, PATIENCE);
  const seen = await page.evaluate(() => globalThis.seen);
  const video = seen.ended === "execution_success" ? await playingVideo(page) : null;
  await page.locator("canvas#graph-canvas").press("."); // fit the graph into the window
  await page.waitForTimeout(1000);
  await page.screenshot({ path: scene.screenshot });
  return { ...loaded, ...seen, queued, video };
}).catch(failing);
