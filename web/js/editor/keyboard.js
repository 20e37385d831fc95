/**
 * Which key of a keyboard or gamepad is which key of a path, and how a key event is kept from the graph.
 */

/** By place on the keyboard, as in games: W A S D and I J K L, DreamX-World's keys, lie together on every layout. */
const BY_PLACE = {
  KeyW: "w",
  KeyA: "a",
  KeyS: "s",
  KeyD: "d",
  KeyQ: "orbit_left",
  KeyE: "orbit_right",
  ArrowUp: "up",
  ArrowDown: "down",
  ArrowLeft: "left",
  ArrowRight: "right",
  KeyI: "up",
  KeyK: "down",
  KeyJ: "left",
  KeyL: "right",
};

/** The path key of a keyboard event; undefined for any other, and while Ctrl, Alt or Meta is down. */
export function pathKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return undefined;
  return BY_PLACE[event.code];
}

/** "undo", "redo" or undefined. */
export function historyKey(event) {
  if (!(event.ctrlKey || event.metaKey) || event.altKey) return undefined;
  const key = event.key.toLowerCase();
  if (key === "z") return event.shiftKey ? "redo" : "undo";
  return key === "y" && !event.shiftKey ? "redo" : undefined;
}

/** Shortcuts of the front end that mean the whole workflow: run it, save it. */
export function isForWorkflow(event) {
  return (event.ctrlKey || event.metaKey) && (event.key === "Enter" || event.key.toLowerCase() === "s");
}

/** Shortcuts that copy, paste or select: outside a field the browser gives them to the graph. */
export function isForSelection(event) {
  const inField = event.target.matches("input, textarea");
  return (event.ctrlKey || event.metaKey) && !inField && ["a", "c", "v", "x"].includes(event.key.toLowerCase());
}

/** Keep an event from the browser and the graph. */
export function spend(event) {
  event.preventDefault();
  event.stopPropagation();
  // The front end's undo listens in the window's capture phase, before any widget, and reads the modifiers one
  // frame later; it then sees a key without Ctrl.
  for (const modifier of ["ctrlKey", "metaKey"]) Object.defineProperty(event, modifier, { value: false });
}

const STICK_SHARE = 0.5;

/**
 * The path keys a gamepad holds: the left stick and the cross move, the right stick turns, the shoulders orbit.
 * @param {Gamepad} pad with the standard mapping
 * @returns {string[]}
 */
export function gamepadKeys({ axes, buttons }) {
  const [x = 0, y = 0, turnX = 0, turnY = 0] = axes;
  const pressed = (i) => Boolean(buttons[i]?.pressed);
  const holds = {
    w: y < -STICK_SHARE || pressed(12),
    s: y > STICK_SHARE || pressed(13),
    a: x < -STICK_SHARE || pressed(14),
    d: x > STICK_SHARE || pressed(15),
    up: turnY < -STICK_SHARE,
    down: turnY > STICK_SHARE,
    left: turnX < -STICK_SHARE,
    right: turnX > STICK_SHARE,
    orbit_left: pressed(4),
    orbit_right: pressed(5),
  };
  return Object.keys(holds).filter((key) => holds[key]);
}
