// Keys, gamepad, recording and undo, without a browser.
import assert from "node:assert/strict";
import { test } from "node:test";

import { History } from "../../web/js/editor/history.js";
import { gamepadKeys, historyKey, isForWorkflow, pathKey, spend } from "../../web/js/editor/keyboard.js";
import { CHORD_MS, Recorder } from "../../web/js/editor/recorder.js";
import { Clock } from "./clock.mjs";

/** Lets `play(recorder, wait)` act; returns what was recorded, as "w", "w+right", "end". */
function recorded(play, interval = 250) {
  const seen = [];
  const clock = new Clock();
  const recorder = new Recorder(
    {
      interval: () => interval,
      began() {},
      held() {},
      latent: (keys) => seen.push(keys.join("+")),
      ended: () => seen.push("end"),
    },
    clock,
  );
  play(recorder, (ms) => clock.wait(ms));
  assert.equal(recorder.running, false);
  return seen;
}

test("a held key lays a latent per interval, and none after it is released", () => {
  const seen = recorded((recorder, wait) => {
    recorder.press("w");
    wait(CHORD_MS + 3 * 250 + 10);
    recorder.release("w");
    wait(5000);
  });
  assert.deepEqual(seen, ["w", "w", "w", "w", "end"]);
});

test("a tap is one latent", () => {
  assert.deepEqual(
    recorded((recorder) => (recorder.press("w"), recorder.release("w"))),
    ["w", "end"],
  );
});

test("keys pressed one after the other within a moment count together", () => {
  const seen = recorded((recorder, wait) => {
    recorder.press("right");
    wait(CHORD_MS / 2);
    recorder.press("w");
    wait(CHORD_MS);
    recorder.release("w");
    wait(10);
    recorder.release("right");
  });
  assert.deepEqual(seen, ["w+right", "end"]);
});

test("a tap while another key is held counts in the next latent, even if it is over by then", () => {
  const seen = recorded((recorder, wait) => {
    recorder.press("w");
    wait(CHORD_MS);
    recorder.press("left");
    recorder.release("left");
    wait(2 * 250);
    recorder.release("w");
  });
  assert.deepEqual(seen, ["w", "w+left", "w", "end"]);
});

test("of two opposed keys the later counts while it is held", () => {
  const seen = recorded((recorder, wait) => {
    recorder.press("w");
    wait(CHORD_MS);
    recorder.press("s");
    wait(250);
    recorder.release("s");
    wait(250);
    recorder.release("w");
  });
  assert.deepEqual(seen, ["w", "s", "w", "end"]);
});

test("losing the focus ends a recording at once", () => {
  const seen = recorded((recorder, wait) => {
    recorder.press("w");
    wait(CHORD_MS);
    recorder.press("d");
    recorder.stop();
    wait(5000);
    assert.deepEqual(recorder.held, []);
  });
  assert.deepEqual(seen, ["w", "end"]);
});

test("undo and redo", () => {
  const history = new History("a");
  history.record("b", 3);
  history.record("b", 9);
  history.record("c");
  const undo = () => history.undo().text;
  assert.deepEqual([undo(), undo(), undo(), history.canUndo], ["b", "a", "a", false]);
  assert.deepEqual([history.redo(), history.canRedo], [{ text: "b", at: 3 }, true]);
  history.record("d", 4);
  assert.deepEqual([history.canRedo, undo()], [false, "b"]);
});

test("typing is undone in bursts", () => {
  const history = new History("");
  ["w", "w-", "w-8"].forEach((text, i) => history.typed(text, 0, 100 * i));
  history.typed("w-8, d-2", 0, 5000);
  history.record("w-8, d-3");
  history.typed("w-8", 0, 5100);
  const undo = () => history.undo().text;
  assert.deepEqual([undo(), undo(), undo(), undo()], ["w-8, d-3", "w-8, d-2", "w-8", ""]);
});

const key = (code, more = {}) => ({ code, key: code.replace(/^Key/, "").toLowerCase(), ...more });

test("keys count by their place, and not with Ctrl", () => {
  assert.equal(pathKey(key("KeyW", { key: "z" })), "w");
  assert.equal(pathKey(key("ArrowUp")), "up");
  assert.deepEqual(["KeyI", "KeyK", "KeyJ", "KeyL"].map((code) => pathKey(key(code))), ["up", "down", "left", "right"]);
  assert.equal(pathKey(key("KeyW", { ctrlKey: true })), undefined);
  assert.equal(pathKey(key("KeyR")), undefined);
});

test("undo keys", () => {
  assert.equal(historyKey(key("KeyZ", { ctrlKey: true })), "undo");
  assert.equal(historyKey(key("KeyZ", { metaKey: true, shiftKey: true })), "redo");
  assert.equal(historyKey(key("KeyY", { ctrlKey: true })), "redo");
  assert.equal(historyKey(key("KeyZ")), undefined);
  assert.ok(isForWorkflow({ ctrlKey: true, key: "Enter" }));
  assert.ok(!isForWorkflow({ key: "s" }));
});

test("an event that was used up shows no Ctrl to whoever looks later", () => {
  const calls = [];
  const event = { ctrlKey: true, preventDefault: () => calls.push("default"), stopPropagation: () => calls.push("up") };
  spend(event);
  assert.deepEqual([event.ctrlKey, ...calls], [false, "default", "up"]);
});

test("a gamepad holds keys", () => {
  const buttons = Array.from({ length: 16 }, () => ({ pressed: false }));
  buttons[5] = { pressed: true };
  assert.deepEqual(gamepadKeys({ axes: [0, -0.9, 0.2, 0], buttons }), ["w", "orbit_right"]);
  assert.deepEqual(gamepadKeys({ axes: [], buttons: [] }), []);
});
