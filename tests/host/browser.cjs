// Drives the real front end: loads a workflow, presses Run, watches until it has ended, takes a screenshot.
// Usage: node browser.cjs '{"url": …, "chromium": …, "profile": …, "workflow": …, "screenshot": …, "chunks": …}'
// Prints one line of JSON that says what was seen. playwright-core comes from $PLAYWRIGHT_CORE or node's resolution.
"use strict";
const { readFileSync } = require("node:fs");
const { chromium } = require(process.env.PLAYWRIGHT_CORE || "playwright-core");

const PATIENCE = { timeout: 120_000 };

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

async function loadWorkflow(page, workflow, chunks) {
  await page.evaluate((data) => app.loadGraphData(data), workflow);
  await page.waitForTimeout(1500);
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

async function main({ url, chromium: executablePath, profile, workflow, screenshot, chunks }) {
  const context = await chromium.launchPersistentContext(profile, {
    executablePath,
    headless: true,
    viewport: { width: 2400, height: 1400 },
    args: ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
      "--disable-background-networking", "--disable-component-update", "--disable-sync"],
  });
  try {
    const page = context.pages()[0] ?? (await context.newPage());
    await openFrontEnd(page, url);
    const loaded = await loadWorkflow(page, JSON.parse(readFileSync(workflow, "utf8")), chunks);
    await watch(page);
    const queued = await pressRun(page);
    await page.waitForFunction(() => globalThis.seen.ended, null, PATIENCE);
    const seen = await page.evaluate(() => globalThis.seen);
    const video = seen.ended === "execution_success" ? await playingVideo(page) : null;
    await page.locator("canvas#graph-canvas").press("."); // fit the graph into the window
    await page.waitForTimeout(1000);
    await page.screenshot({ path: screenshot });
    console.log(JSON.stringify({ ...loaded, ...seen, queued, video }));
  } finally {
    await context.close();
  }
}

main(JSON.parse(process.argv[2])).catch((error) => {
  console.error(error);
  process.exitCode = 1;
});
