/**
 * The page of `hyworld play`: the live view, saving, and the form for another walk.
 */

import { html, set } from "../js/editor/dom.js";
import { LiveView } from "../js/live/view.js";
import { Begin } from "./begin.js";
import { pageTextsFor } from "./texts.js";

const locale = navigator.language;
const t = pageTextsFor(locale);
document.documentElement.lang = locale;

const saving = [
  html("a", { class: "hyw-button", href: "/video", download: "" }, t("saveVideo")),
  html("a", { class: "hyw-button", href: "/world", download: "" }, t("saveWorld")),
];

const view = new LiveView({
  connect: () => Object.assign(new URL("/live", location.href), { protocol: location.protocol.replace("http", "ws") }),
  locale,
  tools: saving,
  onState(state) {
    begin.show(state);
    for (const link of saving) set(link, { "aria-disabled": !state.chunks && "true" });
  },
});

const begin = new Begin(t, () => {
  view.element.scrollIntoView({ block: "nearest" });
  view.focus();
});

document.querySelector("main").append(view.element, begin.element);
view.open();
/** For whoever wants the numbers: `liveView.stats`. */
globalThis.liveView = view;
