// The live view's parts, without a browser.
import assert from "node:assert/strict";
import { readFileSync, readdirSync } from "node:fs";
import { test } from "node:test";

import { Delays, firstFrame, quantile } from "../../web/js/live/delays.js";
import { Frames } from "../../web/js/live/frames.js";
import { Input, padState } from "../../web/js/live/input.js";
import { Route } from "../../web/js/live/route.js";
import { LANGUAGES } from "../../web/js/live/texts.js";
import { Wire, unpack } from "../../web/js/live/wire.js";
import { LANGUAGES as PAGE } from "../../web/play/texts.js";
import { Clock } from "./clock.mjs";

/** Plays frames on a screen of 100 Hz; pictures are numbers, decoded at once unless `decode` says otherwise. */
class Played {
  clock = 1000;
  shown = [];
  wanted = true;

  constructor(decode = async (picture) => ({ picture, close() {} })) {
    this.frames = new Frames(decode, (began) => this.wanted && began > 0, () => this.clock);
  }

  push(chunk, count = 16) {
    this.frames.push(chunk, Array.from({ length: count }, (_, i) => i + 1));
  }

  async run(ms) {
    const end = this.clock + ms;
    for (; this.clock < end; this.clock += 10) {
      await null;
      const frame = this.frames.take();
      if (frame) this.shown.push({ chunk: frame.chunk, at: frame.at, ms: this.clock });
    }
  }
}

test("every frame of chunks in time is shown, at 16 a second, without a stall", async () => {
  const played = new Played();
  played.push(0, 13);
  await played.run(700);
  for (let chunk = 1; chunk < 20; chunk++) {
    played.push(chunk);
    await played.run(1000);
  }
  await played.run(500);
  const { shown, frames } = played;
  assert.equal(shown.length, 13 + 19 * 16);
  assert.deepEqual({ ...frames.counts }, { frames: 317, stalls: 0, late: 0, skipped: 0 });
  const seconds = (shown.at(-1).ms - shown[0].ms) / 1000;
  assert.ok(Math.abs(316 / seconds - 16) < 0.05, `${316 / seconds}`);
  assert.ok(Math.abs(frames.rate - 16) < 0.3, `${frames.rate}`);
});

test("a chunk that comes late is a stall if the walk was wanted, and a pause if not", async () => {
  for (const wanted of [true, false]) {
    const played = new Played();
    played.wanted = wanted;
    played.push(0);
    await played.run(1300);
    played.push(1);
    await played.run(1100);
    assert.equal(played.frames.counts.stalls, wanted ? 1 : 0);
    assert.equal(played.shown.length, 32);
    assert.equal(played.frames.rate > 15.5, !wanted, "a pause does not lower the rate");
  }
});

test("a frame that is there and shown late is not called a stall", async () => {
  const played = new Played();
  played.push(0);
  await played.run(300);
  played.clock += 400; // the page was busy
  await played.run(1500);
  assert.deepEqual({ ...played.frames.counts }, { frames: 16, stalls: 0, late: 1, skipped: 0 });
});

test("frames of a picture that cannot be read hold nothing up", async () => {
  const played = new Played(async (picture) => (picture === 2 ? Promise.reject(new Error("broken")) : { close() {} }));
  played.push(0);
  await played.run(1200);
  assert.equal(played.shown.length, 16);
});

test("after a hidden page the oldest frames go", async () => {
  const played = new Played();
  for (let chunk = 0; chunk < 6; chunk++) played.push(chunk);
  assert.equal(played.frames.seconds, 3);
  assert.equal(played.frames.counts.skipped, 48);
  await played.run(100);
  assert.equal(played.shown[0].chunk, 3);
});

test("going back drops what waits and frees it, decoded or not", async () => {
  const closed = [];
  const played = new Played(async (picture) => ({ close: () => closed.push(picture) }));
  played.push(0);
  await played.run(10);
  played.push(1);
  played.frames.clear();
  assert.ok(played.frames.isEmpty);
  await null;
  assert.ok(closed.length >= 15, `${closed.length}`);
  played.push(0);
  await played.run(1100);
  assert.equal(played.frames.counts.stalls, 0);
});

test("a key's delay is that of the first frame that shows it", () => {
  const delays = new Delays();
  delays.sent(1000);
  delays.sent(1100);
  delays.sent(9000);
  delays.made(4, [{ since: null }, { since: 1100.4 }, { since: null }, { since: null }], 16);
  for (let at = 0; at < 16; at++) delays.shown({ chunk: 4, at }, 2000 + 10 * at);
  assert.deepEqual(delays.list, [2040 - 1000, 2040 - 1100], "4 frames in, and a tap's press too");
  assert.equal(quantile(delays.list, 0.5), 1040);
  assert.equal(quantile([], 0.5), undefined);
});

test("a key of a chunk whose frames were left out is not waited for", () => {
  const delays = new Delays();
  delays.sent(1000);
  delays.made(4, Array(4).fill({ since: 1000 }), 16);
  delays.shown({ chunk: 5, at: 0 }, 3000);
  delays.shown({ chunk: 4, at: 0 }, 3010);
  assert.deepEqual(delays.list, []);
});

test("letting go of everything counts only if a frame shows it", () => {
  const delays = new Delays();
  delays.sent(1000, true);
  delays.sent(50_000);
  delays.made(0, [{ since: 50_000 }, ...Array(3).fill({ since: null })], 13);
  delays.shown({ chunk: 0, at: 0 }, 51_000);
  assert.deepEqual(delays.list, [1000]);
});

test("a little time that the page was busy is made good", async () => {
  const played = new Played();
  played.push(0);
  await played.run(300);
  played.clock += 100;
  await played.run(1500);
  const seconds = (played.shown.at(-1).ms - played.shown[0].ms) / 1000;
  assert.ok(Math.abs(15 / seconds - 16) < 0.5, `${15 / seconds}`);
  assert.equal(played.frames.counts.stalls, 0);
});

test("the frames of a chunk's latents", () => {
  assert.deepEqual([0, 1, 2, 3].map((latent) => firstFrame(latent, 4, 16)), [0, 4, 8, 12]);
  assert.deepEqual([0, 1, 2, 3].map((latent) => firstFrame(latent, 4, 13)), [0, 1, 5, 9]);
  const route = new Route();
  assert.equal(route.placeOf({ chunk: 0, at: 0, of: 13 }), 0);
  assert.equal(route.placeOf({ chunk: 2, at: 15, of: 16 }), 11);
});

function held() {
  const clock = new Clock();
  const told = [];
  return { clock, told, input: new Input(({ at, ...state }) => told.push([at, state]), () => {}, clock) };
}

test("keys are told at once, as a full state with the event's time", () => {
  const { told, input } = held();
  input.press("w", 10);
  input.press("w", 12);
  input.press("left", 20);
  input.release("w", 30);
  assert.deepEqual(told.map(([at, { keys }]) => [at, keys.join("+")]), [
    [1010, "w"],
    [1020, "w+left"],
    [1030, "left"],
  ]);
  assert.equal(input.heldSince, 10);
  input.releaseAll();
  assert.deepEqual(told.at(-1)[1], { keys: [], move: [0, 0], turn: [0, 0] });
  assert.equal(input.heldSince, Infinity);
  input.releaseAll();
  assert.equal(told.length, 4, "nothing held is told once");
});

test("a stick is told 30 times a second at most, its last place and its release surely", () => {
  const { clock, told, input } = held();
  for (let i = 0; i < 100; i++) {
    input.stick("touch", { move: [0, i / 99] });
    clock.wait(5);
  }
  assert.ok(told.length > 10 && told.length < 18, `${told.length}`);
  clock.wait(50);
  assert.deepEqual(told.at(-1)[1].move, [0, 1]);
  const count = told.length;
  input.stick("touch", {});
  assert.deepEqual(told.slice(count).map(([, { move }]) => move), [[0, 0]]);
});

test("a gamepad's sticks keep their deflection; what it trembles is none", () => {
  const buttons = Array.from({ length: 16 }, (_, i) => ({ pressed: i === 12 }));
  const state = { keys: ["w"], move: [0, 0.6], turn: [0.5, 0] };
  assert.deepEqual(padState({ axes: [0.05, -0.6, 0.5, 0.03], buttons }), state);
});

test("the route follows another way, and looks where the camera looks", () => {
  const route = new Route();
  assert.equal(route.walk, undefined);
  const chunk = (z) => Array.from({ length: 4 }, (_, i) => [0, 0, z + i, Math.PI / 2, 0]);
  route.set([...chunk(0), ...chunk(4), ...chunk(8)]);
  route.add(1, chunk(20));
  const { poses, counts, poseAt } = route.walk;
  assert.deepEqual([poses.length, counts.chunks, counts.left], [8, 2, 0]);
  assert.equal(poses[4].position[2], 20);
  const { position, rotation } = poseAt(4.5);
  assert.equal(position[2], 20.5);
  assert.ok(Math.abs(rotation[2] - 1) < 1e-9, "yaw to the right is towards x");
  assert.equal(poseAt(-3).position[2], 0);
  route.set([]);
  assert.equal(poseAt(7).position[2], 23, "the map may still show the walk before");
});

test("a model's chunks may have more or fewer latents", () => {
  const route = new Route();
  route.chunkLatents = 3;
  const chunk = (z) => Array.from({ length: 3 }, (_, i) => [0, 0, z + i, 0, 0]);
  route.set([...chunk(0), ...chunk(3), ...chunk(6)]);
  route.add(1, chunk(20));
  assert.deepEqual(route.walk.poses.map(({ position }) => position[2]), [0, 1, 2, 20, 21, 22]);
  assert.equal(route.endOf(2), 5);
  assert.equal(route.placeOf({ chunk: 0, at: 0, of: 9 }), 0);
  assert.equal(route.placeOf({ chunk: 1, at: 11, of: 12 }), 5);
});

test("three chunks wait, however long they are", () => {
  const played = new Played();
  played.frames.chunkLatents = 9;
  for (let chunk = 0; chunk < 4; chunk++) played.push(chunk, 36);
  assert.equal(played.frames.counts.skipped, 36);
  const short = new Played();
  short.frames.chunkLatents = 1;
  for (let chunk = 0; chunk < 13; chunk++) short.push(chunk, 4);
  assert.equal(short.frames.counts.skipped, 4, "of short ones as many frames as of others");
});

/** A server and the browser's sockets. */
class Host extends Clock {
  sockets = [];

  WebSocket = ((host) =>
    class {
      readyState = 0;
      sent = [];

      constructor(address) {
        this.address = address;
        host.sockets.push(this);
      }

      send(text) {
        this.sent.push(JSON.parse(text));
      }

      close() {
        this.readyState = 3;
        this.onclose?.();
      }

      accept() {
        this.readyState = 1;
        this.onopen();
      }
    })(this);
}

function wired(address = () => "ws://here/live") {
  const host = new Host();
  const seen = [];
  const wire = new Wire(
    {
      address,
      connected: (connected) => seen.push(connected),
      told: (message) => seen.push(message.type),
      pictures: ({ header }) => seen.push(header.type),
    },
    host,
  );
  return { host, seen, wire };
}

test("a lost socket is replaced, ever more slowly, until it is closed for good", () => {
  const { host, seen, wire } = wired();
  wire.open();
  wire.open();
  host.sockets[0].accept();
  host.sockets[0].close();
  assert.deepEqual(seen, [true, false]);
  assert.equal(wire.send({ type: "stop" }), false);
  for (let i = 0; i < 8; i++) {
    host.wait(3000);
    host.sockets.at(-1).close();
  }
  assert.ok(host.sockets.length >= 8 && host.sockets.length <= 20, `${host.sockets.length}`);
  wire.close();
  assert.ok(!wire.isOpen);
  const count = host.sockets.length;
  host.wait(60_000);
  assert.equal(host.sockets.length, count);
});

test("a socket that does not answer keys is dead", () => {
  const { host, seen, wire } = wired();
  wire.open();
  const [socket] = host.sockets;
  socket.accept();
  wire.send({ type: "input", at: 1 });
  host.wait(9000);
  socket.onmessage({ data: '{"type":"heard","at":1}' });
  host.wait(20_000);
  assert.deepEqual(seen, [true, "heard"]);
  wire.send({ type: "input", at: 2 });
  host.wait(20_000);
  assert.deepEqual(seen, [true, "heard", false]);
  assert.equal(host.sockets.length, 2);
});

test("while there is no address it is asked for again", () => {
  const addresses = [null, null, "ws://here/2"];
  const { host, wire } = wired(() => addresses.shift());
  wire.open();
  host.wait(5000);
  assert.deepEqual(host.sockets.map(({ address }) => address), ["ws://here/2"]);
});

test("a binary message is unpacked", async () => {
  const said = { type: "chunk", format: "webp", pictures: [2, 3], thumbnail: 1 };
  const header = new TextEncoder().encode(JSON.stringify(said));
  const bytes = new Uint8Array([header.length, 0, 0, 0, ...header, 1, 2, 3, 4, 5, 6]);
  const { pictures, thumbnail } = unpack(bytes.buffer);
  const content = async (blob) => [blob.type, ...new Uint8Array(await blob.arrayBuffer())];
  assert.deepEqual(await content(pictures[1]), ["image/webp", 3, 4, 5]);
  assert.deepEqual(await content(thumbnail), ["image/webp", 6]);
});

const places = (text) => (text.match(/\{\w+\}/g) ?? []).sort();

for (const [name, languages, folder, ...others] of [
  ["the view", LANGUAGES, "../../web/js/live/", "../hyworld_live.js"],
  ["the page", PAGE, "../../web/play/"],
]) {
  test(`${name} says everything in every language, and nothing is left that nobody shows`, () => {
    const address = new URL(folder, import.meta.url);
    const files = readdirSync(address).filter((file) => file.endsWith(".js") && file !== "texts.js");
    const source = [...files, ...others].map((file) => readFileSync(new URL(file, address), "utf8")).join("");
    for (const table of Object.values(languages)) {
      assert.deepEqual(Object.keys(table), Object.keys(languages.en));
      for (const [key, text] of Object.entries(table)) assert.deepEqual(places(text), places(languages.en[key]), key);
    }
    for (const key of Object.keys(languages.en)) assert.ok(source.includes(`"${key}"`), key);
  });
}

test("modules of view and page do nothing on being imported: the host imports all below web", async () => {
  const before = Object.keys(globalThis);
  for (const path of ["../../web/js/live/", "../../web/play/"]) {
    const folder = new URL(path, import.meta.url);
    for (const file of readdirSync(folder).filter((name) => name.endsWith(".js"))) await import(new URL(file, folder));
  }
  assert.deepEqual(Object.keys(globalThis), before);
});
