// Driving the real front end: start a browser, open ComfyUI, load a workflow, press Run.
// playwright-core comes from $PLAYWRIGHT_CORE or node's resolution.
"use strict";
const { chromium } = require(process.env.PLAYWRIGHT_CORE || "playwright-core");

const PATIENCE = { timeout: 120_000 };

/** Runs `act(page)` in a fresh headless browser; prints what it returns as one line of JSON. */
async function inBrowser({ chromium: executablePath, profile, width = 2400, height = 1400 }, act) {
  const context = await chromium.launchPersistentContext(profile, {
    executablePath,
    headless: true,
    viewport: { width, height },
    args: [
      "--headless",
      "--no-sandbox",
      "--disable-gpu",
      "--disable-quic",
      "--no-first-run",
      "--disable-background-networking",
      "--disable-component-update",
      "--disable-sync",
    ],
  });
  try {
    console.log(JSON.stringify(await act(context.pages()[0] ?? (await context.newPage()))));
  } finally {
    await context.close();
  }
}

async function openFrontEnd(page, url) {
  await page.goto(url, { waitUntil: "domcontentloaded" });
  await page.waitForSelector("canvas#graph-canvas", { state: "visible", ...PATIENCE });
  await page.waitForFunction(
    () => globalThis.app?.graph && globalThis.LiteGraph?.registered_node_types?.HYWorldStreamingSampler,
    null,
    PATIENCE,
  );
  // The default workflow comes a little later, and a first visit opens the templates over the canvas.
  await page.waitForTimeout(3000);
  for (let i = 0; i < 3 && (await page.locator("[role=dialog]:visible").count()); i++) {
    await page.keyboard.press("Escape");
    await page.waitForTimeout(700);
  }
}

/** Whether this front end has the Vue renderer as a setting; before that it was a hidden experiment without DOM widgets. */
function hasVueRenderer(page) {
  return page.evaluate(() => (app.ui.settings.settingsLookup["Comfy.VueNodes.Enabled"]?.type ?? "hidden") !== "hidden");
}

/** Choose the renderer. The server keeps settings: switch back at the end, for other tests. */
async function useVue(page, vue) {
  await page.evaluate((on) => app.extensionManager.setting.set("Comfy.VueNodes.Enabled", on), vue);
}

/** Loads a workflow into the graph and waits until it is drawn. */
async function loadWorkflow(page, workflow) {
  await page.evaluate((data) => app.loadGraphData(data), workflow);
  await page.waitForTimeout(1500);
}

async function pressRun(page) {
  // New front ends mark the button itself, old ones what is around it.
  const button = page.locator('button[data-testid="queue-button"], [data-testid="queue-button"] button').first();
  if (await button.isVisible().catch(() => false)) {
    await button.click();
    return "button";
  }
  await page.evaluate(() => app.queuePrompt(0, 1));
  return "app.queuePrompt";
}

async function playingVideo(page) {
  // The front end loads the file after the run has ended.
  const video = await page.waitForFunction(
    () => [...document.querySelectorAll("video")].find((element) => element.videoWidth),
    null,
    { timeout: 20_000 },
  );
  return video.evaluate(({ videoWidth, videoHeight, duration }) => ({ videoWidth, videoHeight, duration }));
}

/** For the end of a script: an error is shown, and the exit code tells of it. */
function failing(error) {
  console.error(error);
  process.exitCode = 1;
}

module.exports = {
  ...{ PATIENCE, failing, hasVueRenderer, inBrowser, loadWorkflow, openFrontEnd, playingVideo, pressRun, useVue },
};
