/**
 * The form for another walk: a first picture, words, a seed; or a saved world.
 */

import { html, set } from "../js/editor/dom.js";
import { reasonOf } from "./save.js";

/** Pictures that ship with the built-in world. */
const SCENES = 8;
const FIRST_SCENE = 3;

export class Begin {
  #picture = null;
  #scene = FIRST_SCENE;

  /**
   * @param {(key: string, values?: object) => string} t
   * @param {() => void} begun another walk has begun
   */
  constructor(t, begun) {
    this.t = t;
    this.begun = begun;
    this.scenes = Array.from({ length: SCENES }, (_, number) => this.#sceneButton(number));
    this.file = html("input", { type: "file", accept: "image/*", hidden: true });
    this.ownImage = html("img", { alt: "", hidden: true });
    this.own = html("button", { type: "button", title: t("ownTip") }, t("own"));
    this.words = html("input", { type: "text", name: "words", maxlength: 4000 });
    const whole = { type: "number", min: 0, max: Number.MAX_SAFE_INTEGER };
    this.seed = html("input", { ...whole, name: "seed", value: 0, required: true });
    this.go = html("button", { type: "submit", class: "go" }, t("begin"));
    this.world = html("input", { type: "file", accept: ".world", hidden: true });
    this.load = html("button", { type: "button", class: "load" }, t("load"));
    this.said = html("p", { class: "said", role: "status" });
    this.wordsField = html("label", { class: "words" }, t("words"), this.words);
    const choices = { class: "scenes", role: "group", "aria-label": t("scenes") };
    this.pictures = html("div", choices, ...this.scenes, this.own, this.file);
    const row = [this.wordsField, html("label", {}, t("seed"), this.seed), this.go, this.load];
    this.element = html(
      "form",
      { class: "begin" },
      html("h2", {}, t("title")),
      this.pictures,
      html("div", { class: "row" }, ...row, this.world),
      this.said,
    );
    this.#listen();
    this.#mark();
  }

  /** @param {{role: string, can_tell: boolean, takes_picture: boolean}} state what the server said last */
  show({ role, can_tell: canTell, takes_picture: takesPicture }) {
    const walks = role === "walks";
    for (const control of [this.go, this.load]) control.disabled = !walks;
    this.wordsField.hidden = !canTell;
    this.pictures.hidden = !takesPicture;
    if (!walks) this.say(this.t("notWalker"));
    else if (this.said.textContent === this.t("notWalker")) this.say("");
  }

  #listen() {
    set(this.own, { onclick: () => this.file.click() });
    set(this.file, { onchange: () => this.#take(this.file.files[0]) });
    set(this.load, { onclick: () => this.world.click() });
    set(this.world, { onchange: () => this.#loadWorld() });
    set(this.element, {
      onsubmit: (event) => {
        event.preventDefault();
        this.#begin();
      },
    });
    const pictureIn = (data) => [...(data?.files ?? [])].find(({ type }) => type.startsWith("image/"));
    addEventListener("paste", ({ clipboardData }) => this.#take(pictureIn(clipboardData)));
    addEventListener("dragover", (event) => {
      event.preventDefault();
      this.own.classList.add("over");
    });
    addEventListener("dragleave", () => this.own.classList.remove("over"));
    addEventListener("drop", (event) => {
      event.preventDefault();
      this.own.classList.remove("over");
      this.#take(pictureIn(event.dataTransfer));
    });
  }

  #sceneButton(number) {
    const label = this.t("scene", { number: number + 1 });
    const image = html("img", { src: `/scenes/${number}.png`, alt: "", loading: "lazy" });
    const choice = html("button", { type: "button", title: label, "aria-label": label }, image);
    set(image, { onerror: () => choice.remove() });
    set(choice, {
      onclick: () => {
        this.#scene = number;
        this.#picture = null;
        this.#mark();
      },
    });
    return choice;
  }

  #take(file) {
    if (!file) return;
    this.#picture = file;
    URL.revokeObjectURL(this.ownImage.src);
    this.ownImage.src = URL.createObjectURL(file);
    this.ownImage.hidden = false;
    this.own.replaceChildren(this.ownImage);
    set(this.own, { "aria-label": this.t("ownShown") });
    this.#mark();
  }

  #mark() {
    const pressed = (isPressed) => ({ "aria-pressed": String(isPressed) });
    this.scenes.forEach((choice, number) => set(choice, pressed(!this.#picture && number === this.#scene)));
    set(this.own, pressed(Boolean(this.#picture)));
  }

  #begin() {
    const form = new FormData();
    const picture = this.#picture ? ["picture", this.#picture] : ["scene", String(this.#scene)];
    if (!this.pictures.hidden) form.append(...picture);
    if (!this.wordsField.hidden) form.append("words", this.words.value.trim());
    form.append("seed", this.seed.value);
    this.#send("/begin", form, this.t("beginning"));
  }

  async #loadWorld() {
    const [file] = this.world.files;
    this.world.value = "";
    if (file) await this.#send("/world", file, this.t("loading"));
  }

  async #send(address, body, words) {
    this.say(words);
    this.go.disabled = this.load.disabled = true;
    try {
      const answer = await fetch(address, { method: "POST", body });
      if (!answer.ok) throw new Error(await reasonOf(answer));
      this.say("");
      this.begun();
    } catch (error) {
      this.say(this.t("failed", { reason: error.message }), "error");
    } finally {
      this.go.disabled = this.load.disabled = false;
    }
  }

  say(text, kind = "") {
    this.said.className = `said ${kind}`;
    this.said.textContent = text;
  }
}
