// Reading and editing the text of a path.
import assert from "node:assert/strict";
import { test } from "node:test";

import { chunkStart, countsOf, placeOf } from "../../web/js/camera/counts.js";
import { integrate, motionOf, TRAINED } from "../../web/js/camera/integrate.js";
import { KEY_NAMES, checkKeys, compatible } from "../../web/js/camera/keys.js";
import {
  endOf,
  heldKeys,
  insert,
  insertAll,
  locate,
  mirror,
  motionLatents,
  read,
  rekey,
  remove,
  resize,
  segmentsOf,
  write,
} from "../../web/js/camera/notation.js";
import { PRESETS, preset } from "../../web/js/camera/presets.js";
import { presses } from "../../web/js/camera/presses.js";
import { retrace } from "../../web/js/camera/retrace.js";
import { tokens } from "../../web/js/camera/tokens.js";

const path = (text) => read(text, tokens);
const summary = ({ segments }) => segments.map(({ keys, count }) => `${keys.join("+")} ${count}`);

for (const text of ["w-3,right-2", " W - 3 ,\n Right-2 ", ",w-3,,right-2,", "w–3, right−2 ", "w-2.5,\n\nw-0"]) {
  test(`reading ${JSON.stringify(text)} loses no letter`, () => assert.equal(write(path(text)), text));
}

test("what is not edited stays as it was written", () => {
  const text = "W–3,\n  Right - 2,\nw-4 ,";
  assert.equal(write(resize(path(text), 1, 5)), "W–3,\n  right-5,\nw-4 ,");
  assert.equal(write(remove(path(text), 0)), "Right - 2,\nw-4 ,");
  assert.equal(write(insert(path(text), 9, ["d"], 2)), "W–3,\n  Right - 2,\nw-4 , d-2");
  assert.equal(write(insert(path(text), 0, ["a"])), "a-1, W–3,\n  Right - 2,\nw-4 ,");
});

test("text that is no path is said and kept", () => {
  const broken = path("w-8, jump-3, d-2");
  assert.match(broken.error, /^Token 2 of the camera path, "jump-3", has the unknown key "jump"/);
  assert.deepEqual(summary(broken), ["w 8"]);
  assert.match(path("").error, /is empty/);
});

test("inserting grows a neighbour or splits a segment", () => {
  assert.deepEqual(summary(insert(path("w-4"), 4, ["w"])), ["w 5"]);
  assert.deepEqual(summary(insert(path("w-4, d-2"), 4, ["d"])), ["w 4", "d 3"]);
  assert.deepEqual(summary(insert(path("w-4"), 1, ["right"], 3)), ["w 1", "right 3", "w 3"]);
  assert.deepEqual(summary(insert(path("w-4"), 0, ["right"])), ["right 1", "w 4"]);
  assert.equal(write(insert(path(""), 0, ["w", "right"])), "w+right-1");
  assert.equal(write(insert(path("w-4"), 4, ["right", "w"])), "w-4, w+right-1");
});

test("every edit gives text that reads as the same segments", () => {
  const base = path("w-4,\nw+right-3, up-2");
  for (const edited of [
    ...[0, 1, 4, 5, 7, 9].flatMap((at) => [insert(base, at, ["a"], 2), insertAll(base, at, preset("glance", TRAINED))]),
    ...[0, 1, 2].flatMap((i) => [remove(base, i), resize(base, i, 9), resize(base, i, 0), rekey(base, i, ["s"])]),
    mirror(base),
  ]) {
    const again = path(write(edited));
    assert.equal(again.error, undefined);
    assert.deepEqual(summary(again), summary(edited));
  }
});

test("a latent is found in its segment", () => {
  const walked = path("w-4, w-0, d-2");
  assert.deepEqual(locate(walked, 0), { index: -1, within: 0 });
  assert.deepEqual(locate(walked, 4), { index: 0, within: 4 });
  assert.deepEqual(locate(walked, 5), { index: 2, within: 1 });
  assert.equal(endOf(walked, 2), 6);
  assert.equal(endOf(walked, -1), 0);
});

test("a mirror exchanges left and right, and only that", () => {
  assert.equal(write(mirror(path("w-4, a+left-2, up-1, orbit_right-3"))), "w-4, d+right-2, up-1, orbit_left-3");
  assert.equal(write(mirror(mirror(path("w+a+left-4")))), "w+a+left-4");
});

test("key presses are written as they are printed on the keyboard", () => {
  const pressed = read("W*4; idle\nw+→", presses);
  assert.deepEqual(
    pressed.segments.map(({ keys, count }) => [keys, count]),
    [
      [["w"], 4],
      [[], 1],
      [["w", "right"], 1],
    ],
  );
  assert.equal(write(pressed), "W*4; idle\nw+→");
  assert.equal(write(insert(pressed, 6, [], 2)), "W*4; idle\nw+→, idle*2");
  assert.equal(write(insert(pressed, 6, ["orbit_left", "up"])), "W*4; idle\nw+→, ↑+orbit_left*1");
});

test("the way back ends exactly where the path began", () => {
  const combinations = KEY_NAMES.flatMap((a) =>
    KEY_NAMES.flatMap((b) => KEY_NAMES.map((c) => [...new Set([a, b, c])])),
  );
  const possible = combinations.filter((keys) => compatible(keys).length === keys.length);
  assert.ok(possible.length > 100);
  for (const keys of possible) {
    const there = [...Array(5).fill(keys), ["w"], ["left", "up"]];
    const back = retrace(there);
    back.forEach((segment) => checkKeys(segment.keys));
    const held = [...there, ...back.flatMap((segment) => Array(segment.count).fill(segment.keys))];
    const { rotation, position } = integrate(held.map((held) => motionOf(held))).at(-1);
    const off = Math.max(...position.map(Math.abs), ...[0, 4, 8].map((i) => Math.abs(rotation[i] - 1)));
    assert.ok(off < 1e-12, `${keys}: ${off}`);
  }
  assert.deepEqual(retrace(heldKeys(path("w+right-4"))), [
    { keys: ["s"], count: 1 },
    { keys: ["s", "left"], count: 3 },
    { keys: ["left"], count: 1 },
  ]);
  assert.deepEqual(retrace(heldKeys(path("w-4, right-3"))), [
    { keys: ["left"], count: 3 },
    { keys: ["s"], count: 4 },
  ]);
});

test("of two opposed keys the later counts", () => {
  assert.deepEqual(compatible(["w", "s"]), ["s"]);
  assert.deepEqual(compatible(["left", "w", "orbit_right"]), ["w", "orbit_right"]);
  assert.deepEqual(compatible(["right", "w", "right"]), ["w", "right"]);
});

test("presets are paths, at any speed", () => {
  for (const name of PRESETS) {
    for (const turn of [0, 3, 45]) {
      const made = insertAll(path(""), 0, preset(name, { move: 0.08, turn }));
      assert.equal(path(write(made)).error, undefined, name);
    }
  }
  assert.deepEqual(
    preset("glance", { move: 1, turn: 5 }),
    segmentsOf([...Array(6).fill(["left"]), ...Array(6).fill(["right"])]),
  );
});

test("counts", () => {
  const start = 0;
  assert.deepEqual(countsOf(31), { latents: 32, chunks: 8, frames: 125, seconds: 7.8125, left: 0, missing: 0, start, chunkLatents: 4 });
  assert.deepEqual(countsOf(4), { latents: 5, chunks: 1, frames: 13, seconds: 13 / 16, left: 1, missing: 3, start, chunkLatents: 4 });
  assert.deepEqual(countsOf(0), { latents: 1, chunks: 0, frames: 0, seconds: 0, left: 1, missing: 3, start, chunkLatents: 4 });
  assert.equal(motionLatents(path("w-7, right-8")), 15);
});

test("a continued walk has no first latent of its own: its path gives one latent less, and every chunk 16 frames", () => {
  const start = 1;
  assert.deepEqual(countsOf(7, true), { latents: 7, chunks: 1, frames: 16, seconds: 1, left: 3, missing: 1, start, chunkLatents: 4 });
  assert.deepEqual(countsOf(8, true), { latents: 8, chunks: 2, frames: 32, seconds: 2, left: 0, missing: 0, start, chunkLatents: 4 });
  assert.deepEqual(countsOf(0, true), { latents: 0, chunks: 0, frames: 0, seconds: 0, left: 0, missing: 4, start, chunkLatents: 4 });
});

test("chunks of three latents", () => {
  const counts = countsOf(8, false, 3);
  assert.deepEqual(counts, { latents: 9, chunks: 3, frames: 33, seconds: 33 / 16, left: 0, missing: 0, start: 0, chunkLatents: 3 });
  assert.equal(chunkStart(2, counts), 6);
  assert.equal(placeOf(5, counts).chunk, 2);
});

test("latents and chunks are counted from 1", () => {
  const places = (counts, ...poses) => poses.map((pose) => Object.values(placeOf(pose, counts)).join(" "));
  assert.deepEqual(places(countsOf(8), 0, 3, 4, 8), ["1 1 true", "4 1 true", "5 2 true", "9 3 false"]);
  assert.deepEqual(places(countsOf(8, true), 1, 4, 5, 8), ["1 1 true", "4 1 true", "5 2 true", "8 2 true"]);
  assert.equal(placeOf(0, countsOf(8, true)).latent, 0);
  assert.deepEqual(
    [countsOf(8), countsOf(8, true)].map((counts) => chunkStart(1, counts)),
    [4, 5],
  );
});
