// The editor's numbers against the original program's (hyworld/verify/reference/trajectories.json).
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import { inCamera, integrate, motionOf, poseAt, turned } from "../../web/js/camera/integrate.js";
import { labelOfKeys, labels, partsOf } from "../../web/js/camera/labels.js";
import { heldKeys, read } from "../../web/js/camera/notation.js";
import { tokens } from "../../web/js/camera/tokens.js";

const golden = JSON.parse(readFileSync(new URL("../../hyworld/verify/reference/trajectories.json", import.meta.url)));
const TOLERANCE = 1e-9;

const motionsOf = (text, speeds) => heldKeys(read(text, tokens)).map((keys) => motionOf(keys, speeds));
const matrix = ({ rotation: R, position: t }) => [0, 1, 2].map((i) => [...R.slice(3 * i, 3 * i + 3), t[i]]);

function assertClose(ours, theirs, what) {
  const worst = Math.max(...ours.flat().map((value, i) => Math.abs(value - theirs.flat()[i])));
  assert.ok(worst <= TOLERANCE, `${what}: off by ${worst}`);
}

for (const { pose, c2w, viewmats, action } of golden) {
  test(`"${pose}" walks and is labelled as in the original`, () => {
    const poses = integrate(motionsOf(pose));
    assert.equal(poses.length, c2w.length);
    poses.forEach((ours, i) => {
      assertClose(matrix(ours), c2w[i].slice(0, 3), `latent ${i}`);
      const origin = inCamera(ours, [0, 0, 0]);
      assertClose([origin], [viewmats[i].slice(0, 3).map((row) => row[3])], `world seen from latent ${i}`);
    });
    assert.deepEqual(labels(poses), action);
  });
}

test("between two latents the camera is on its way", () => {
  const motions = motionsOf("w-2, right-10");
  const poses = integrate(motions);
  assert.ok(Math.abs(poseAt(poses, motions, 1.5).position[2] - 0.12) < TOLERANCE);
  const [x, , z] = turned(poseAt(poses, motions, 7.5).rotation, [0, 0, 1]);
  assert.ok(Math.abs((Math.atan2(x, z) * 180) / Math.PI - 16.5) < TOLERANCE);
  assert.deepEqual(poseAt(poses, motions, 12), poses[12]);
});

test("labels have names", () => {
  assert.deepEqual(partsOf(labelOfKeys(["w", "d", "left"])), { move: "forward+right", turn: "left" });
  assert.deepEqual(partsOf(0), { move: "none", turn: "none" });
  assert.equal(labelOfKeys(["orbit_right"]), labelOfKeys(["right"]));
});

test("made in steps, the camera is on its way from step to step", () => {
  const motions = motionsOf("w+left-2", { move: 0.3, turn: 6 });
  const poses = integrate(motions, 4);
  assert.ok(Math.abs(Math.hypot(...poses[1].position) - 0.075) < TOLERANCE);
  const pictures = integrate(motionsOf("w+left-5", { move: 0.075, turn: 1.5 }));
  assertClose(matrix(poses[2]), matrix(pictures[5]), "the second latent");
  assertClose(matrix(poseAt(poses, motions, 1.5, 4)), matrix(pictures[3]), "between");
  assertClose(matrix(poseAt(poses, motions, 0.5, 4, true)), matrix(pictures[2]), "onwards");
});
