/**
 * The page of `hyworld play`: the live view, saving, and the form for another walk.
 */

import { LiveView } from "../js/live/view.js";
import { Begin } from "./begin.js";
import { saveButton } from "./save.js";
import { pageTextsFor } from "./texts.js";

const locale = navigator.language;
const t = pageTextsFor(locale);
document.documentElement.lang = locale;

const begin = new Begin(t, () => {
  view.element.scrollIntoView({ block: "nearest" });
  view.focus();
});
const say = (text, kind) => view.say(text, kind);
const saving = [
  saveButton(t("saveVideo"), "/video", "walk.mp4", say, t),
  saveButton(t("saveWorld"), "/world", "walk.world", say, t),
];

const view = new LiveView({
  connect: () => Object.assign(new URL("/live", location.href), { protocol: location.protocol.replace("http", "ws") }),
  locale,
  tools: saving,
  onState: (state) => begin.show(state),
});

document.querySelector("main").append(view.element, begin.element);
view.open();
/** For whoever wants the numbers: `liveView.stats`. */
globalThis.liveView = view;
