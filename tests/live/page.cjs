// Walks through the page of `hyworld play` by real keys, fingers and pointer; the server is fake_server.py.
// Usage: node page.cjs '{"url": …, "chromium": …, "profile": …, "pictures": folder or null}'
// Prints one line of JSON: what was seen.
"use strict";
const { failing, inBrowser } = require("../host/front_end.cjs");

const scene = JSON.parse(process.argv[2]);

/** The page, as the steps below need it. */
function partsOf(page) {
  const part = (selector) => page.locator(selector).first();
  return {
    part,
    screen: part(".hyw-screen"),
    cells: page.locator(".hyw-chunks button"),
    message: () => part(".hyw-message").innerText(),
    place: () => part(".hyw-counts").innerText(),
    stats: () => page.evaluate(() => ({ ...liveView.stats })),
    caps: (name) => page.locator(`.hyw-cap.${name}`).allInnerTexts(),
  };
}

async function ask(path, body) {
  const answer = await fetch(new URL(path, scene.url), body && { method: "POST", body: JSON.stringify(body) });
  return answer.json();
}

const log = () => ask("/log");
const inputs = async () => (await log()).heard.filter(({ type }) => type === "input");
const told = async (type) => (await log()).heard.filter((message) => message.type === type);

/** Wait until the server's log says so. */
async function until(page, isSo, ms = 8000) {
  for (const end = Date.now() + ms; Date.now() < end; await page.waitForTimeout(50)) {
    if (isSo(await log())) return true;
  }
  return false;
}

async function picture(page, name) {
  if (scene.pictures) await page.screenshot({ path: `${scene.pictures}/${name}.png` });
}

/** What the canvas shows: its size and the colour of a pixel. */
function shown(page) {
  return page.evaluate(() => {
    const canvas = document.querySelector(".hyw-picture");
    return [canvas.width, canvas.height, ...canvas.getContext("2d").getImageData(144, 20, 1, 1).data];
  });
}

async function open(page) {
  const others = [];
  page.on("request", (request) => {
    const url = request.url();
    if (!/^(blob|data):/.test(url) && new URL(url).host !== new URL(scene.url).host) others.push(url);
  });
  const errors = [];
  page.on("pageerror", (error) => errors.push(String(error)));
  await page.goto(scene.url);
  await page.waitForFunction(() => document.querySelector(".hyw-picture").width > 16);
  await page.keyboard.press("w");
  return { others, errors, unfocused: (await inputs()).length, picture: await shown(page) };
}

/** Hold a key for seven seconds, then another beside it. */
async function walk(page, parts) {
  await parts.screen.click();
  const began = await page.evaluate(() => performance.timeOrigin + performance.now());
  await page.keyboard.down("w");
  await page.waitForTimeout(4000);
  const held = { down: await parts.caps("hyw-down"), here: await parts.caps("hyw-here") };
  const caption = await parts.part(".hyw-said").innerText();
  const work = await parts.part(".hyw-working").count();
  await page.keyboard.down("ArrowRight");
  await page.waitForTimeout(3500);
  await picture(page, "walking");
  await page.keyboard.up("w");
  await page.keyboard.up("ArrowRight");
  await until(page, ({ state }) => state === "standing");
  await page.waitForTimeout(1200);
  const { path, chunks } = await log();
  const pathOnMap = await page.locator(".hyw-map .hyw-path").count();
  return {
    held,
    caption,
    work,
    pathOnMap,
    chunks,
    end: path.at(-1),
    inputs: (await inputs()).map(({ keys }) => keys.join("+")),
    after: (await inputs())[0].at - began,
    playing: (await told("playing")).map(({ chunk, left }) => [chunk, left]),
    stats: await parts.stats(),
    details: await parts.part(".hyw-details").innerText(),
    place: await parts.place(),
    still: await parts.caps("hyw-here"),
  };
}

/** A key is held while the focus goes, the page is hidden, or Escape is pressed. */
async function release(page, parts) {
  const seen = {};
  const ways = {
    blur: () => page.evaluate(() => document.activeElement.blur()),
    tab: () => page.keyboard.press("Tab"),
    escape: () => page.keyboard.press("Escape"),
    hidden: () =>
      page.evaluate(() => {
        Object.defineProperty(document, "hidden", { value: true, configurable: true });
        document.dispatchEvent(new Event("visibilitychange"));
        delete document.hidden;
      }),
  };
  for (const [name, act] of Object.entries(ways)) {
    await parts.screen.focus();
    await page.keyboard.down("a");
    const pressed = await until(page, ({ keys }) => keys.includes("a"));
    await act();
    seen[name] = { pressed, released: await until(page, ({ keys }) => !keys.length, 1000) };
    await page.keyboard.up("a");
  }
  await until(page, ({ state }) => state === "standing");
  await page.keyboard.press("Escape");
  const before = (await inputs()).length;
  await page.keyboard.press("w");
  seen.left = (await inputs()).length === before;
  return seen;
}

/** Keys pressed in the view, and what of it came through to the window. */
async function shortcuts(page, parts) {
  await page.evaluate(() => {
    globalThis.cameThrough = [];
    addEventListener("keydown", (event) => cameThrough.push(event.key));
  });
  await parts.screen.focus();
  for (const key of ["q", "r", ".", "Control+z", "Control+a", "Delete", "Control+Enter"]) {
    await page.keyboard.press(key);
  }
  await until(page, ({ state }) => state === "standing");
  return page.evaluate(() => cameThrough);
}

/** Click a chunk, look, go forward again, then take another way. */
async function goBack(page, parts) {
  await page.waitForTimeout(1500);
  const before = await parts.cells.count();
  await parts.cells.nth(2).click();
  await until(page, ({ chunks }) => chunks === 2);
  await page.waitForTimeout(400);
  await picture(page, "back");
  const ahead = await page.locator(".hyw-ahead").count();
  const place = await parts.place();
  await parts.cells.nth(3).click();
  const forward = await until(page, ({ chunks }) => chunks === 3);
  await page.keyboard.press("Backspace");
  const oneBack = await until(page, ({ chunks }) => chunks === 2);
  await page.keyboard.press("d", { delay: 60 });
  await until(page, ({ chunks }) => chunks === 3);
  await page.waitForTimeout(1500);
  const now = await parts.place();
  const { path } = await log();
  const counts = { path: path.length, cells: await parts.cells.count() };
  // Another chunk of the same number is another one.
  await page.keyboard.press("Backspace");
  await until(page, ({ chunks }) => chunks === 2);
  await page.keyboard.press("a", { delay: 60 });
  await page.waitForTimeout(2500);
  const played = (await told("playing")).slice(-2).map(({ chunk }) => chunk);
  return { played, now, before, ahead, place, forward, oneBack, ...counts, end: path.at(-1) };
}

async function timeGoesOn(page, parts) {
  await parts.screen.focus();
  const { chunks } = await log();
  await page.keyboard.press(" ");
  const went = await until(page, (now) => now.chunks > chunks);
  const on = await parts.part(".hyw-switch").getAttribute("aria-checked");
  await page.waitForTimeout(1500);
  await parts.part(".hyw-switch").click();
  const stood = await until(page, ({ state }) => state === "standing");
  return { went, on, stood, off: await parts.part(".hyw-switch").getAttribute("aria-checked") };
}

async function words(page, parts) {
  const before = (await inputs()).length;
  const field = parts.part(".hyw-words");
  const was = await field.inputValue();
  await field.fill("");
  await page.keyboard.type("snow was falling");
  await page.keyboard.press("Enter");
  await until(page, ({ heard }) => heard.at(-1).type === "words");
  const walked = (await inputs()).length - before;
  await ask("/do", { heeds_words: false });
  await page.waitForTimeout(300);
  const deaf = await parts.part(".hyw-steer > .hyw-note").isVisible();
  await ask("/do", { heeds_words: true, can_tell: false });
  await page.waitForTimeout(300);
  const field2 = await field.isVisible();
  await ask("/do", { can_tell: true });
  return { was, said: (await told("words")).map(({ text }) => text), walked, deaf, withoutEncoder: field2 };
}

/** A model that follows no camera. */
async function still(page, parts) {
  const visible = async () => {
    await page.waitForTimeout(300);
    const names = [".hyw-screen .hyw-map", ".hyw-caps", ".scenes", ".hyw-switch", ".hyw-words", ".hyw-chunks"];
    return Object.fromEntries(await Promise.all(names.map(async (name) => [name, await parts.part(name).isVisible()])));
  };
  const label = () => parts.screen.getAttribute("aria-label");
  const [before, steered] = [await visible(), await label()];
  await ask("/do", { steers: false, takes_picture: false });
  const now = await visible();
  const seen = { before, now, caption: await parts.part(".hyw-said").innerText(), relabelled: (await label()) !== steered };
  await picture(page, "still");
  await ask("/do", { steers: true, takes_picture: true });
  return { ...seen, after: await visible() };
}

async function messages(page, parts) {
  const seen = [];
  for (const type of ["note", "error", "ended"]) {
    await ask("/do", { say: { type, text: type } });
    await page.waitForTimeout(250);
    seen.push([await parts.message(), (await parts.part(".hyw-message").getAttribute("class")).split("-").at(-1)]);
  }
  return seen;
}

/** The socket is lost while a key is held; then the page is loaded again. */
async function lost(page, parts) {
  await parts.screen.focus();
  await page.keyboard.down("s");
  await until(page, ({ keys }) => keys.includes("s"));
  await ask("/do", { drop: true });
  await page.waitForFunction(() => document.querySelector(".hyw-message").textContent.includes("lost"), null, {
    polling: 10,
  });
  const held = await page.evaluate(() => liveView.input.keys);
  const back = await until(page, ({ sockets }) => sockets === 1);
  await page.waitForTimeout(300);
  const message = await parts.message();
  const before = (await inputs()).length;
  await page.waitForTimeout(500);
  const silent = (await inputs()).length === before;
  await page.keyboard.up("s");
  await page.keyboard.press("s", { delay: 60 });
  const again = (await inputs()).length > before;
  await until(page, ({ state }) => state === "standing");
  await page.waitForTimeout(1500);
  const cells = await parts.cells.count();
  await page.reload();
  const isBack = (count) => document.querySelectorAll(".hyw-chunks img:not([hidden])").length >= count - 1;
  await page.waitForFunction(isBack, cells);
  const after = { cells: await parts.cells.count(), place: await parts.place(), picture: await shown(page) };
  return { held, back, message, silent, again, cells, after };
}

/** The server ends the walk and closes the socket; `open` connects again. */
async function ended(page, parts) {
  await ask("/do", { end: "The walk has ended: 3 chunks." });
  await until(page, ({ sockets }) => !sockets);
  await page.waitForTimeout(1500);
  const seen = { message: await parts.message(), sockets: (await log()).sockets };
  await page.evaluate(() => liveView.open());
  return { ...seen, again: await until(page, ({ sockets }) => sockets === 1) };
}

async function watch(page, parts, context) {
  const other = await context.newPage();
  await other.goto(scene.url);
  await other.waitForFunction(() => document.querySelector(".hyw-message").textContent);
  const theirs = partsOf(other);
  const message = await theirs.message();
  await theirs.screen.click();
  const before = (await log()).heard.length;
  await other.keyboard.press("w", { delay: 60 });
  await other.waitForTimeout(300);
  const silent = (await log()).heard.length === before;
  await picture(other, "watching");
  await page.bringToFront();
  await parts.screen.focus();
  await page.keyboard.press("w", { delay: 60 });
  await other.bringToFront();
  const same = async () => (await theirs.place()) === (await parts.place());
  const follows = async () => (await theirs.stats()).frames >= 16 && (await same());
  for (let i = 0; i < 40 && !(await follows()); i++) await other.waitForTimeout(100);
  const frames = (await theirs.stats()).frames;
  await page.close();
  await until(other, ({ sockets }) => sockets === 1);
  await other.waitForTimeout(300);
  const after = await theirs.message();
  await theirs.screen.focus();
  await other.keyboard.press("w", { delay: 60 });
  const walks = await until(other, ({ heard }) => heard.length > before && heard.at(-1).type === "playing");
  return { other, seen: { message, silent, frames, after, walks } };
}

async function begin(page, parts) {
  const form = (selector) => page.locator(`.begin ${selector}`).first();
  await form("input[type=number]").fill("13");
  await form(".go").click();
  await page.waitForFunction(() => document.querySelector(".begin .said").textContent.includes("13"));
  const refused = await form(".said").innerText();
  await page.locator(".scenes button").nth(5).click();
  await form("input[name=words]").fill("a yard");
  await form("input[type=number]").fill("4");
  await form(".go").click();
  await until(page, ({ chunks }) => chunks === 0);
  await page.waitForTimeout(300);
  const cells = await parts.cells.count();
  const focused = await page.evaluate(() => document.activeElement.className);
  await form("input[accept='image/*']").setInputFiles({ name: "mine.png", mimeType: "image/png", buffer: PNG });
  await form(".go").click();
  await form("input[accept='.world']").setInputFiles({ name: "a.world", mimeType: "", buffer: Buffer.alloc(1000) });
  await until(page, ({ posted }) => posted.some(({ world }) => world));
  const pasted = await page.evaluate(async (bytes) => {
    const data = new DataTransfer();
    data.items.add(new File([new Uint8Array(bytes)], "pasted.png", { type: "image/png" }));
    dispatchEvent(new ClipboardEvent("paste", { clipboardData: data }));
    return document.querySelector(".scenes button:last-of-type").getAttribute("aria-pressed");
  }, [...PNG]);
  return { refused, cells, focused, pasted, posted: (await log()).posted };
}

/** One grey pixel. */
const PNG = Buffer.from(
  "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNoAAAAggCBd81ytgAAAABJRU5ErkJggg==",
  "base64",
);

async function byGamepad(page, parts) {
  await page.evaluate(() => {
    const buttons = Array.from({ length: 16 }, () => ({ pressed: false }));
    const pad = { connected: true, axes: [0.3, -0.5, 0.04, 0], buttons };
    navigator.getGamepads = () => [pad];
  });
  await page.keyboard.press("Escape");
  await parts.screen.focus();
  await until(page, ({ heard }) => heard.at(-1).type === "input");
  const gauges = await parts.part(".hyw-gauges").isVisible();
  const pushed = (await inputs()).at(-1);
  await page.evaluate(() => (navigator.getGamepads = () => []));
  await page.keyboard.press("Escape");
  const isStill = ({ heard }) => heard.at(-1).move?.every((value) => !value);
  return { gauges, move: pushed.move, turn: pushed.turn, released: await until(page, isStill) };
}

async function fullScreen(page, parts) {
  await parts.screen.focus();
  await page.keyboard.press("f");
  await page.waitForFunction(() => document.fullscreenElement);
  const box = await parts.screen.boundingBox();
  await picture(page, "full");
  await page.keyboard.press("f");
  await page.waitForFunction(() => !document.fullscreenElement);
  // Telephones that fill the screen with videos alone.
  await page.evaluate(() => Object.defineProperty(document, "fullscreenEnabled", { value: false, configurable: true }));
  await page.keyboard.press("f");
  const filled = await parts.screen.boundingBox();
  await page.keyboard.press("Escape");
  await page.evaluate(() => delete document.fullscreenEnabled);
  const left = !(await page.locator(".hyw-fill").count());
  const share = (width) => width / page.viewportSize().width;
  return { wide: share(box.width), filled: share(filled.width), left };
}

/** Two fingers on a telephone: the left half moves, the right half turns. */
async function byTouch(page) {
  const phone = await page.context().browser().newContext({
    viewport: { width: 375, height: 720 },
    hasTouch: true,
    isMobile: true,
  });
  const screen = await phone.newPage();
  await page.close();
  await screen.goto(scene.url);
  await screen.waitForFunction(() => document.querySelector(".hyw-picture").width > 16);
  const box = await screen.locator(".hyw-screen").boundingBox();
  const fingers = await phone.newCDPSession(screen);
  const touch = (type, ...touchPoints) => fingers.send("Input.dispatchTouchEvent", { type, touchPoints });
  const [left, right] = [0.25, 0.75].map((share) => ({ x: box.x + share * box.width, y: box.y + box.height / 2 }));
  await touch("touchStart", { ...left, id: 1 });
  await touch("touchMove", { x: left.x, y: left.y - 28, id: 1 });
  await touch("touchStart", { x: left.x, y: left.y - 28, id: 1 }, { ...right, id: 2 });
  await touch("touchMove", { x: left.x, y: left.y - 28, id: 1 }, { x: right.x + 100, y: right.y, id: 2 });
  await screen.waitForTimeout(300);
  const { move, turn } = (await inputs()).at(-1);
  const rings = await screen.locator(".hyw-stick").count();
  await screen.waitForTimeout(1500);
  await picture(screen, "phone");
  await touch("touchEnd");
  await screen.waitForTimeout(100);
  const after = (await inputs()).at(-1);
  const wide = await screen.evaluate(() => document.documentElement.scrollWidth);
  await phone.close();
  return { move, turn, rings, released: [after.move, after.turn], wide };
}

inBrowser({ ...scene, width: 1280, height: 900 }, async (page) => {
  const parts = partsOf(page);
  const seen = { open: await open(page) };
  seen.walk = await walk(page, parts);
  seen.release = await release(page, parts);
  seen.shortcuts = await shortcuts(page, parts);
  seen.goBack = await goBack(page, parts);
  seen.timeGoesOn = await timeGoesOn(page, parts);
  seen.words = await words(page, parts);
  seen.still = await still(page, parts);
  seen.gamepad = await byGamepad(page, parts);
  seen.full = await fullScreen(page, parts);
  seen.lost = await lost(page, parts);
  seen.ended = await ended(page, parts);
  const { other, seen: watching } = await watch(page, parts, page.context());
  seen.watch = watching;
  seen.begin = await begin(other, partsOf(other));
  seen.messages = await messages(other, partsOf(other));
  seen.touch = await byTouch(other);
  return seen;
}).catch(failing);
