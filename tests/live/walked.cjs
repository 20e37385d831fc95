// Walks with real keys in the page of a real `hyworld play`, and saves what was walked.
// Usage: node walked.cjs '{"url": …, "chromium": …, "profile": …, "seconds": …, "world": file, "video": file}'
// Prints one line of JSON: what was seen.
"use strict";
const { failing, inBrowser } = require("../host/front_end.cjs");

const scene = JSON.parse(process.argv[2]);
const PATIENCE = { timeout: 120_000 };

async function reach(page, chunks) {
  const isThere = (count) => document.querySelectorAll(".hyw-chunks button").length > count;
  await page.waitForFunction(isThere, chunks, PATIENCE);
}

/** Time stands still where there are so many chunks. */
async function stands(page, at, of) {
  const words = `chunk ${at} of ${of} · time stands still`;
  await page.waitForFunction((text) => document.querySelector(".hyw-counts").textContent === text, words, PATIENCE);
}

/** Time stands still, and the last frame is shown; returns how many chunks there are. */
async function isAtItsEnd(page) {
  const found = await page.waitForFunction(
    () => /^chunk (\d+) of \1 · time stands still$/.exec(document.querySelector(".hyw-counts").textContent)?.[1],
    null,
    PATIENCE,
  );
  await page.waitForTimeout(1500);
  return Number(await found.jsonValue());
}

async function save(page, name, file) {
  const saving = page.waitForEvent("download", PATIENCE);
  await page.getByText(name).click();
  await (await saving).saveAs(file);
}

inBrowser({ ...scene, width: 1280, height: 900 }, async (page) => {
  const errors = [];
  page.on("pageerror", (error) => errors.push(String(error)));
  page.on("console", (message) => message.type() === "error" && errors.push(message.text()));
  await page.goto(scene.url);
  await page.waitForSelector(".hyw-screen:not(.hyw-locked)", PATIENCE); // a world of words alone has no picture yet
  await page.locator(".hyw-screen").click();
  await page.keyboard.down("w");
  await reach(page, 2);
  await page.keyboard.down("ArrowRight");
  await page.waitForTimeout(scene.seconds * 1000);
  await reach(page, 4);
  await page.keyboard.up("ArrowRight");
  await page.keyboard.up("w");
  const chunks = await isAtItsEnd(page);
  const stats = await page.evaluate(() => liveView.stats);

  await page.locator(".hyw-chunks button").nth(2).click();
  await stands(page, 2, chunks);
  await page.locator(".hyw-words").fill("it snows");
  await page.keyboard.press("Enter");
  await page.locator(".hyw-screen").focus();
  await page.keyboard.press("a", { delay: 100 });
  await stands(page, 3, 3);
  await page.reload();
  await stands(page, 3, 3);
  await save(page, "Save world", scene.world);
  await save(page, "Save video", scene.video);

  await page.locator("input[type=number]").fill("5");
  await page.locator(".begin .go").click();
  await page.waitForFunction(() => document.querySelectorAll(".hyw-chunks button").length === 1, null, PATIENCE);
  await page.locator("input[accept='.world']").setInputFiles(scene.world);
  await stands(page, 3, 3);
  return { errors, chunks, stats, details: await page.locator(".hyw-message").innerText() };
}).catch(failing);
