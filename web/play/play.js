/**
 * The page of `hyworld play`: the live view, saving, and the form for another walk.
 */

import { LiveView } from "../js/live/view.js";
import { Begin } from "./begin.js";
import { saveButton } from "./save.js";
import { pageTextsFor } from "./texts.js";

// ComfyUI imports every module below `web`: only this page has a place for it.
const place = globalThis.document?.getElementById("hyworld-play");
if (place) open(place, navigator.language);

function open(place, locale) {
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
  const address = new URL("/live", location.href);
  address.protocol = address.protocol.replace("http", "ws");
  const view = new LiveView({
    connect: () => address,
    locale,
    tools: saving,
    onState: (state) => begin.show(state),
  });
  place.append(view.element, begin.element);
  view.open();
  /** For whoever wants the numbers: `liveView.stats`. */
  globalThis.liveView = view;
}
