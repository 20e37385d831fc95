/**
 * The view of a live walk: what a person sees who walks or watches, in the node and on the page.
 *
 * Load editor/editor.css and live/live.css beside it; colours are ComfyUI's variables, with fall-backs.
 */

import { button } from "../editor/button.js";
import { capsOf } from "../editor/caps.js";
import { html, set } from "../editor/dom.js";
import { historyKey, isForSelection, isForWorkflow, spend } from "../editor/keyboard.js";
import { PathMap } from "../editor/map.js";
import { textsFor } from "../editor/texts.js";
import { Controls } from "./controls.js";
import { Delays, quantile } from "./delays.js";
import { Input } from "./input.js";
import { Player } from "./player.js";
import { Route } from "./route.js";
import { Screen } from "./screen.js";
import { Strip } from "./strip.js";
import { liveTextsFor } from "./texts.js";
import { Wire } from "./wire.js";

const NO_STATE = { goes_on: false, can_tell: false, heeds_words: true, steers: true, words: "" };
const MAP_MARGIN = 24;
/** Milliseconds between two looks at the numbers. */
const DETAILS_MS = 500;

/**
 * @typedef {object} Options
 * @property {() => string | URL | null} connect the address of the walk's WebSocket, asked for at every attempt; null
 *   while there is none
 * @property {string} [locale] as in ComfyUI's settings
 * @property {() => void} [onStop] gives the view a stop button; called after the server was told
 * @property {(state: object) => void} [onState] the server's newest `state` message
 * @property {(text: string) => void} [onEnded] the walk has ended; if the server then closes the socket, the view does
 *   not connect again until `open`
 * @property {Element[]} [tools] further controls beside the switch, such as the page's save buttons
 *
 * @typedef {object} Stats
 * @property {number} frames shown
 * @property {number} stalls how often the next frame was due and not there, by more than half a frame's time, although
 *   something had been held (or time went on) since the chunk before began to play
 * @property {number} late frames that were there, and shown more than half a frame's time after they were due
 * @property {number} skipped frames left out because more than three chunks waited
 * @property {number} rate frames a second while they played, over the last four seconds
 * @property {number[]} delays milliseconds from a key event to the first frame that shows it, the last 200
 * @property {number | undefined} seconds of computing the newest chunk
 */

export class LiveView {
  #state = null;
  #connected = false;
  #ended = false;
  #goesOnSince = Infinity;
  #newest = -1;
  #playing = -1;
  #chunks = 0;
  #latent = -1;
  #keys = new Map();
  #seconds;
  #detailed = 0;

  /** @param {Options} options */
  constructor({ connect, locale = "en", onStop, onState = () => {}, onEnded = () => {}, tools = [] }) {
    const t = (this.t = liveTextsFor(locale));
    const editorTexts = textsFor(locale);
    this.onState = onState;
    this.onEnded = onEnded;
    this.delays = new Delays();
    this.route = new Route();
    this.wire = new Wire({
      address: connect,
      connected: (connected) => this.#connection(connected),
      told: (message) => this.#told(message),
      pictures: (message) => this.#pictures(message),
    });
    this.input = new Input(
      (held) => this.#hold(held),
      () => this.screen.showHeld(),
    );
    this.player = new Player(t("picture"), {
      shown: (frame, now) => this.#shown(frame, now),
      expects: (began) => this.#walks && Math.min(this.#goesOnSince, this.input.heldSince) <= began,
    });
    this.map = new PathMap(editorTexts, () => {}, MAP_MARGIN);
    this.screen = new Screen(t, editorTexts, {
      pictures: [this.player.element, this.map.element],
      input: this.input,
      command: (name) => this.#command(name),
    });
    this.strip = new Strip(t, (chunks) => this.#goBack(chunks));
    const stop = onStop && (() => (this.#tell({ type: "stop" }), onStop()));
    const on = { goesOn: (on) => this.#goesOn(on), words: (text) => this.#tell({ type: "words", text }), stop };
    this.controls = new Controls(t, on, tools);
    this.place = html("div", { class: "hyw-counts" });
    this.full = button("full", t("full"), () => this.#fill());
    this.message = html("div", { class: "hyw-message", role: "status" });
    this.details = html("div", { class: "hyw-details hyw-note" });
    this.element = html(
      "div",
      { class: "hyw-editor hyw-walker", role: "group", tabindex: -1, "aria-label": t("live") },
      html("div", { class: "hyw-bar hyw-head" }, this.place, this.full),
      ...[this.screen, this.strip, this.controls].map((part) => part.element),
      this.message,
      this.details,
    );
    this.onFull = () => set(this.full, { "aria-pressed": String(this.#isFull) });
    document.addEventListener("fullscreenchange", this.onFull);
    this.#keepFromGraph();
    this.#drawMap();
    this.#showState();
  }

  /** Connect, and again whenever the socket is lost, until `close`. */
  open() {
    if (this.wire.isOpen) return;
    this.#ended = false;
    this.say(this.t("connecting"));
    this.wire.open();
  }

  /** Disconnect; the last picture stays. `words` are shown as the message. */
  close(words = "") {
    this.#ended = true;
    this.#connection(false);
    this.say(words);
  }

  /** Whether it is connected, or trying to be. */
  get isOpen() {
    return this.wire.isOpen;
  }

  /** Give the picture the focus, so that keys walk. */
  focus() {
    this.screen.focus();
  }

  /** A key was released in the view. @returns {boolean} whether it is one that walks */
  keyUp(event) {
    return this.screen.element.contains(event.target) && this.screen.keyUp(event);
  }

  /** Show a line below the picture, in place of the one before. @param {"note" | "error"} kind */
  say(text, kind = "note") {
    this.message.className = `hyw-message hyw-${kind}`;
    this.message.textContent = text;
  }

  /** @returns {Stats} */
  get stats() {
    const { counts, rate } = this.player.frames;
    return { ...counts, rate, delays: [...this.delays.list], seconds: this.#seconds };
  }

  destroy() {
    this.wire.close();
    this.screen.destroy();
    this.player.destroy();
    this.strip.destroy();
    this.map.forget();
    document.removeEventListener("fullscreenchange", this.onFull);
  }

  get #walks() {
    return this.#connected && this.#state?.role === "walks" && this.#state.state !== "stopped";
  }

  get #steers() {
    return (this.#state ?? NO_STATE).steers;
  }

  #tell(message) {
    if (this.#walks) this.wire.send(message);
  }

  #hold({ at, keys, move, turn }) {
    if (!this.#walks || !this.wire.send({ type: "input", at, keys, move, turn })) return;
    this.delays.sent(at, this.input.heldSince === Infinity);
  }

  #goesOn(on) {
    this.#tell({ type: "goes_on", on });
  }

  #goBack(chunks) {
    if (!this.#walks) return;
    this.delays.forget();
    this.player.frames.clear();
    this.#standAt(chunks);
    this.#tell({ type: "back", chunks });
    this.focus();
  }

  #command(name) {
    if (name === "full") this.#fill();
    if (name === "goesOn" && this.#state) this.#goesOn(!this.#state.goes_on);
    if (name === "back" && this.#chunks) this.#goBack(this.#chunks - 1);
  }

  #connection(connected) {
    this.#connected = connected;
    this.delays.forget();
    this.strip.working();
    // Who ends a walk for good closes the socket after it.
    if (!connected && this.#ended) this.wire.close();
    else this.say(connected ? "" : this.t("lost"));
    this.#showState();
  }

  #told(message) {
    if (message.type === "state") this.#stateIs(message);
    if (message.type === "working") this.#working(message);
    if (message.type === "note") this.say(message.text);
    if (message.type === "error") this.say(message.text, "error");
    if (message.type === "ended") this.#end(message.text);
  }

  #end(text) {
    this.#ended = true;
    if (this.#state) this.#state = { ...this.#state, state: "stopped" };
    this.strip.working();
    this.#showState();
    this.say(text || this.t("ended"));
    this.onEnded(text);
  }

  #stateIs(state) {
    const before = this.#state;
    this.#state = state;
    this.#ended = false;
    if (state.role !== before?.role || state.path) this.#roleIs(state.role, before?.role);
    if (!state.goes_on) this.#goesOnSince = Infinity;
    else if (!before?.goes_on) this.#goesOnSince = performance.now();
    Object.assign(this.player.frames, { fps: state.fps, chunkLatents: state.chunk_latents });
    this.route.chunkLatents = state.chunk_latents;
    this.element.style.setProperty("--hyw-ratio", state.size[1] / state.size[0]);
    if (state.path) this.#snapshot(state);
    this.strip.limit(state.furthest);
    if (this.player.frames.isEmpty) this.#standAt(state.chunks);
    this.#showState();
    this.onState(state);
  }

  #roleIs(role, before) {
    if (role === "watches") this.say(this.t("watches"));
    else if (before === "watches") this.say("");
  }

  /** All there is to know of a walk, on coming in or when another one begins; pictures may follow. */
  #snapshot({ path, picture }) {
    this.#newest = this.#playing = -1;
    this.#keys.clear();
    this.delays.forget();
    this.strip.limit(0);
    this.strip.start();
    this.route.set(path);
    this.#drawMap();
    this.player.frames.clear();
    if (!picture) this.player.blank();
  }

  #showState() {
    const walks = this.#walks;
    this.screen.enabled = walks;
    this.strip.enabled = walks;
    this.screen.steers = this.#steers;
    this.controls.show(this.#state ?? NO_STATE, walks);
    this.#showPlace();
  }

  #showPlace() {
    const { state, furthest = 0, goes_on: goesOn } = this.#state ?? {};
    const doing = { standing: goesOn ? "" : this.t("standing"), stopped: this.t("stopped") }[state];
    const place = furthest ? this.t("place", { chunk: this.#chunks, chunks: furthest }) : "";
    this.place.textContent = [place, doing].filter(Boolean).join(" · ");
    const waits = this.#walks && state === "standing";
    if (state !== "computing") this.screen.caption.textContent = waits ? this.t(this.#steers ? "waiting" : "waitingStill") : "";
  }

  /** The picture is where the world has so many chunks. */
  #standAt(chunks) {
    this.#chunks = chunks;
    this.#latent = this.route.endOf(chunks);
    this.strip.current(chunks);
    this.map.moveTo(this.#latent);
  }

  #drawMap() {
    if (!this.#steers) return;
    const { walk } = this.route;
    this.map.element.hidden = !walk;
    if (walk) this.map.show(walk, this.#latent);
  }

  #working({ chunk, step, of }) {
    this.strip.working(chunk, step / of);
    this.screen.caption.textContent = this.t("working", { chunk: chunk + 1, step, of });
  }

  #pictures({ header, pictures, thumbnail }) {
    if (header.type === "thumbnails") this.strip.thumbnails(header.first, pictures);
    if (header.type === "picture") this.#still(pictures[0]);
    if (header.type === "chunk") this.#chunk(header, pictures, thumbnail);
  }

  /** Where one stands, after going back or on coming in. */
  #still(picture) {
    this.#newest = this.#state.chunks - 1;
    this.#standAt(this.#state.chunks);
    if (!this.#state.chunks) this.strip.start(picture);
    this.#showPlace();
    this.player.still(picture);
  }

  #chunk({ chunk, path, inputs, seconds }, pictures, thumbnail) {
    if (chunk <= this.#newest) this.player.frames.clear();
    this.#newest = chunk;
    this.#seconds = seconds;
    this.#keys.set(chunk, inputs.map(({ keys }) => keys));
    this.strip.working();
    this.strip.made(chunk, thumbnail, capsOf(inputs.at(-1)?.keys ?? []));
    this.route.add(chunk, path);
    this.#drawMap();
    // Who reads too slowly gets chunks without their frames.
    if (!pictures.length) return this.player.frames.isEmpty && this.#standAt(chunk + 1);
    this.delays.made(chunk, inputs, pictures.length);
    this.player.play(chunk, pictures);
  }

  #shown(frame, now) {
    // Another way may have a chunk of the same number.
    if (frame.chunk !== this.#playing || !frame.at) this.#began(frame.chunk);
    this.delays.shown(frame, performance.timeOrigin + now);
    const before = Math.ceil(this.#latent);
    this.#latent = this.route.placeOf(frame);
    // Not with every frame: what moves makes the browser draw the whole map again.
    if (Math.ceil(this.#latent) !== before) this.map.moveTo(Math.ceil(this.#latent));
    const latents = this.#keys.get(frame.chunk) ?? [];
    this.screen.showKeys(latents[Math.max(0, Math.ceil(this.#latent) % this.route.chunkLatents)] ?? []);
    const isLast = this.player.frames.isEmpty;
    if (isLast) this.screen.showKeys([]);
    if (now - this.#detailed < DETAILS_MS && !isLast) return;
    this.#detailed = now;
    this.#showDetails();
  }

  #began(chunk) {
    const { frames } = this.player;
    this.#tell({ type: "playing", chunk, left: frames.seconds + frames.period / 1000 });
    for (const before of this.#keys.keys()) if (before < chunk) this.#keys.delete(before);
    this.#playing = chunk;
    this.#chunks = chunk + 1;
    this.strip.current(this.#chunks);
    this.#showPlace();
  }

  #showDetails() {
    const { rate, frames, stalls, late, skipped, delays, seconds } = this.stats;
    const inSeconds = (ms) => (ms / 1000).toFixed(2);
    const parts = [
      this.t("rate", { rate: rate.toFixed(1) }),
      this.t("frames", { frames }),
      this.t("stalls", { stalls }),
      late && this.t("late", { late }),
      skipped && this.t("skipped", { skipped }),
      this.t("seconds", { seconds: seconds.toFixed(2) }),
      delays.length &&
        this.t("delay", {
          median: inSeconds(quantile(delays, 0.5)),
          most: inSeconds(quantile(delays, 0.95)),
          count: delays.length,
        }),
    ];
    this.details.textContent = parts.filter(Boolean).join(" · ");
  }

  get #isFull() {
    return document.fullscreenElement === this.element || this.element.classList.contains("hyw-fill");
  }

  /** Fill the screen, or leave it. Telephones that cannot have the page filled. */
  #fill() {
    const fillPage = () => {
      this.element.classList.toggle("hyw-fill");
      this.onFull();
    };
    if (document.fullscreenElement === this.element) document.exitFullscreen();
    else if (document.fullscreenEnabled) this.element.requestFullscreen().catch(fillPage);
    else fillPage();
    this.focus();
  }

  /** Only the keys for run and save reach the graph; Escape leaves the view. Fields keep their own undo. */
  #keepFromGraph() {
    const stop = (event) => event.stopPropagation();
    set(this.element, {
      onkeydown: (event) => {
        const inField = event.target.matches("input, textarea");
        if (event.key === "Escape") {
          stop(event);
          if (this.element.classList.contains("hyw-fill")) this.#fill();
          document.activeElement.blur();
        } else if ((historyKey(event) && !inField) || isForSelection(event)) spend(event);
        else if (!isForWorkflow(event)) stop(event);
      },
      onkeyup: stop,
      onpaste: stop,
    });
  }
}
