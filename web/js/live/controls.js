/**
 * Below the picture: whether time goes on, the words, and the end of the walk.
 */

import { button } from "../editor/button.js";
import { html, set } from "../editor/dom.js";

/** Characters of a prompt, as the server takes them. */
const MOST_WORDS = 4000;

export class Controls {
  /**
   * @param {(key: string, values?: object) => string} t
   * @param {object} on
   * @param {(goesOn: boolean) => void} on.goesOn
   * @param {(text: string) => void} on.words
   * @param {() => void} [on.stop] without it there is no button for it
   * @param {Element[]} tools further controls
   */
  constructor(t, on, tools) {
    this.t = t;
    const tip = t("goesOnTip");
    this.goesOn = html(
      "button",
      { type: "button", class: "hyw-button hyw-switch", role: "switch", "aria-checked": "false", title: tip },
      html("i"),
      t("goesOn"),
    );
    this.field = html("textarea", { class: "hyw-words", rows: 1, maxlength: MOST_WORDS, "aria-label": t("words") });
    set(this.field, { placeholder: t("words") });
    this.say = button("say", t("sayTip"), () => this.#say(on.words), t("say"));
    this.telling = html("div", { class: "hyw-telling", hidden: true }, this.field, this.say);
    this.deaf = html("span", { class: "hyw-note", hidden: true }, t("deaf"));
    this.stop = button("stop", t("stopTip"), () => on.stop(), t("stop"));
    const rest = html("div", { class: "hyw-group" }, ...tools, ...(on.stop ? [this.stop] : []));
    this.element = html("div", { class: "hyw-bar hyw-steer" }, this.goesOn, this.telling, this.deaf, rest);
    set(this.goesOn, { onclick: () => on.goesOn(this.goesOn.getAttribute("aria-checked") !== "true") });
    set(this.field, {
      onkeydown: (event) => {
        if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
        event.preventDefault();
        this.#say(on.words);
      },
    });
  }

  /** @param {object} state what the server said last @param {boolean} walks whether one may steer */
  show(state, walks) {
    set(this.goesOn, { "aria-checked": String(state.goes_on), disabled: !walks });
    this.telling.hidden = !state.can_tell;
    this.deaf.hidden = state.heeds_words || !state.can_tell;
    set(this.field, { disabled: !walks });
    set(this.say, { disabled: !walks });
    set(this.stop, { disabled: !walks || state.state === "stopped" });
    // Words that are being written are not replaced.
    if (document.activeElement !== this.field && state.words !== this.told) this.field.value = state.words;
    this.told = state.words;
  }

  #say(words) {
    words(this.field.value.trim());
  }
}
