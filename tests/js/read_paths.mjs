// Reads texts as the editor does, for test_parity.py. In: JSON [{notation, text}, …]; out: one answer for each.
import { readFileSync } from "node:fs";

import { TRAINED, integrate, motionOf } from "../../web/js/camera/integrate.js";
import { labelOfKeys, labels } from "../../web/js/camera/labels.js";
import { heldKeys, read, write } from "../../web/js/camera/notation.js";
import { paced } from "../../web/js/camera/paces.js";
import { presses } from "../../web/js/camera/presses.js";
import { tokens } from "../../web/js/camera/tokens.js";

const NOTATIONS = { tokens, presses };

const answers = JSON.parse(readFileSync(0, "utf8")).map(({ notation, text, pace, continued }) => {
  const path = read(text, NOTATIONS[notation]);
  if (path.error) return { error: path.error };
  const held = heldKeys(path);
  const speeds = paced(pace, TRAINED);
  const poses = integrate(held.map((keys) => motionOf(keys, speeds)), speeds.steps, continued);
  const orbits = held.flat().some((key) => key.startsWith("orbit"));
  return {
    notes: path.notes,
    written: write(path),
    poses: poses.map(({ rotation, position }) => [...rotation, ...position]),
    labels: labels(poses, orbits),
    told: held.map(labelOfKeys),
  };
});
process.stdout.write(JSON.stringify(answers));
