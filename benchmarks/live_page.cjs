// Holds a key in the page of `hyworld play` and turns now and then. Prints the view's numbers as one line of JSON.
// Usage: node live_page.cjs '{"url": …, "chromium": …, "profile": …, "seconds": …, "picture": file or null}'
"use strict";
const { failing, inBrowser } = require("../tests/host/front_end.cjs");

const scene = JSON.parse(process.argv[2]);
const PATIENCE = { timeout: 120_000 };

inBrowser({ ...scene, width: 1280, height: 900 }, async (page) => {
  await page.goto(scene.url);
  await page.waitForSelector(".hyw-screen:not(.hyw-locked)", PATIENCE);
  await page.locator(".hyw-screen").click();
  await page.keyboard.down("w");
  await page.waitForFunction(() => liveView.stats.frames >= 16, null, PATIENCE);
  const began = await page.evaluate(() => ({ frames: liveView.stats.frames, at: performance.now() }));
  const end = Date.now() + scene.seconds * 1000;
  for (let i = 0; Date.now() < end; i++) {
    // At other moments of a chunk each time.
    await page.waitForTimeout(1730);
    await page.keyboard.press(["ArrowLeft", "ArrowRight"][i % 2], { delay: 240 });
  }
  const seen = await page.evaluate(() => ({ ...liveView.stats, at: performance.now() }));
  if (scene.picture) await page.screenshot({ path: scene.picture });
  await page.keyboard.up("w");
  const { at, ...stats } = seen;
  return { ...stats, sustained: (1000 * (stats.frames - began.frames)) / (at - began.at) };
}).catch(failing);
