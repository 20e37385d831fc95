// Walks in the page of `hyworld play` and takes pictures of it. Prints the folder's pictures with their moments as JSON.
// Usage: node live_recording.cjs '{"url": …, "chromium": …, "profile": …, "folder": …, "pace": pictures a second}'
"use strict";
const path = require("node:path");
const { failing, inBrowser } = require("../tests/host/front_end.cjs");

const scene = JSON.parse(process.argv[2]);
const PATIENCE = { timeout: 120_000 };

inBrowser({ ...scene, width: 960, height: 700 }, async (page) => {
  await page.goto(scene.url);
  await page.waitForSelector(".hyw-screen:not(.hyw-locked)", PATIENCE);
  await page.locator(".hyw-screen").click();
  const pictures = [];
  let filming = true;
  const film = (async () => {
    const began = Date.now();
    while (filming) {
      const at = Date.now() - began;
      const file = path.join(scene.folder, `${String(pictures.length).padStart(4, "0")}.png`);
      await page.screenshot({ path: file });
      pictures.push({ file, at });
      await page.waitForTimeout(Math.max(0, pictures.length * (1000 / scene.pace) - (Date.now() - began)));
    }
  })();
  const hold = async (keys, seconds) => {
    for (const key of keys) await page.keyboard.down(key);
    await page.waitForTimeout(1000 * seconds);
    for (const key of keys) await page.keyboard.up(key);
  };
  await hold(["w"], 2.5);
  await hold(["w", "ArrowRight"], 3);
  await hold(["ArrowRight"], 2);
  await hold(["ArrowLeft"], 4);
  await page.waitForTimeout(3000);
  // Back to where it began, and another way.
  await page.locator(".hyw-chunks button").nth(2).click();
  await page.waitForTimeout(1500);
  await page.locator(".hyw-screen").focus();
  await hold(["s", "ArrowLeft"], 3.5);
  await page.waitForTimeout(2500);
  filming = false;
  await film;
  return pictures;
}).catch(failing);
