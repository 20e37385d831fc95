/**
 * The path editor: shows the path of a text, and writes recordings and edits into it.
 *
 * Only the text is saved; playhead, pace and undo history live as long as the node.
 */

import { endOf, insert, insertAll, locate, mirror, rekey, remove, resize, write } from "../camera/notation.js";
import { preset } from "../camera/presets.js";
import { retrace } from "../camera/retrace.js";
import { html, set } from "./dom.js";
import { FirstPerson } from "./first_person.js";
import { History } from "./history.js";
import { historyKey, isForSelection, isForWorkflow, spend } from "./keyboard.js";
import { PathMap } from "./map.js";
import { Playhead } from "./playhead.js";
import { Recorder } from "./recorder.js";
import { SegmentBar } from "./segment_bar.js";
import { Stage } from "./stage.js";
import { StatusLines } from "./status.js";
import { textsFor } from "./texts.js";
import { Timeline } from "./timeline.js";
import { Toolbar } from "./toolbar.js";
import { walkOf } from "./walk.js";

/** A latent of the same pose as the first, within this many units and radians. */
const SAME_POSE = 1e-6;

/**
 * @typedef {object} Source where the text is kept
 * @property {import("../camera/notation.js").Notation} notation
 * @property {() => string} read
 * @property {(text: string) => void} write
 * @property {() => void} edited an edit is complete: the graph's own undo may take note of it
 * @property {() => Situation} situation
 *
 * @typedef {object} Situation what else in the node matters
 * @property {import("../camera/integrate.js").Speeds} speeds
 * @property {boolean} thirdPerson
 * @property {boolean} relabels  the poses come from elsewhere; the text is only what the network is told
 * @property {string} [linked]   the input whose text comes from a link: it cannot be edited, and is the last run's
 * @property {boolean} awaits    the text comes from a link and nothing has run yet, so that it is not known
 * @property {"link" | "run"} [speedsFrom] a speed comes from a link, and is not known here or the last run's
 * @property {import("../graph/wiring.js").Wiring} wiring where the path goes
 */

export class PathEditor {
  #history;
  #walk;
  #situation;
  #playing = false;
  #placed = -1;

  /**
   * @param {Source} source
   * @param {string} locale as in ComfyUI's settings
   */
  constructor(source, locale) {
    this.source = source;
    const t = (this.t = textsFor(locale));
    this.playhead = new Playhead((shown) => this.#moved(shown));
    this.recorder = new Recorder({
      interval: () => 1000 / this.toolbar.rate,
      began: () => this.#recording(true),
      latent: (keys) => this.#lay(keys),
      ended: () => this.#recording(false),
      held: () => this.stage.showHeld(this.recorder.held),
    });
    this.map = new PathMap(t, (latent) => this.#scrub(latent));
    this.view = new FirstPerson(t);
    this.stage = new Stage(t, {
      pictures: [this.map.element, this.view.element],
      recorder: this.recorder,
      command: (name) => this.#command(name),
      focused: (focused) => set(this.toolbar.walk, { "aria-pressed": String(focused) }),
    });
    this.toolbar = new Toolbar(
      t,
      {
        walk: () => this.stage.focus(),
        play: () => this.#command("play"),
        undo: () => this.undo(),
        redo: () => this.redo(),
        mirror: () => this.#edit(mirror(this.#walk.path), this.playhead.at),
        home: () => this.#returnHome(),
        clear: () => this.#edit({ ...this.#walk.path, segments: [], after: "" }, 0),
      },
      (name) => this.#addSegments(preset(name, this.#situation.speeds)),
    );
    this.timeline = new Timeline(t, {
      scrub: (latent) => this.#scrub(latent),
      select: (index) => this.#scrub(endOf(this.#walk.path, index)),
      resize: (index, count, done) => this.#resize(index, count, done),
      remove: (index) => this.#remove(index),
    });
    this.segmentBar = new SegmentBar(t, {
      rekey: (keys) => this.#edit(rekey(this.#walk.path, this.#current, keys), this.playhead.at),
      resize: (count) => this.#resize(this.#current, count, true),
      insert: () => this.#addSegments([{ keys: ["w"], count: 4 }]),
      remove: () => this.#remove(this.#current),
    });
    this.status = new StatusLines(t, (missing) => this.#fill(missing));
    const { counts, message, live } = this.status;
    this.element = html(
      "div",
      { class: "hyw-editor", role: "group", tabindex: -1, "aria-label": t("editor") },
      html("div", { class: "hyw-bar hyw-head" }, counts, this.toolbar.pace),
      ...[this.stage, this.toolbar, this.timeline, this.segmentBar].map((part) => part.element),
      message,
      live,
    );
    this.#keepFromGraph();
    this.reset();
  }

  /** Redraw if the text, a speed or a link has changed. */
  refresh() {
    if (this.recorder.running) return;
    const text = this.source.read();
    const isNew = text !== this.#walk.text;
    if (!isNew && JSON.stringify(this.source.situation()) === JSON.stringify(this.#situation)) return;
    const wasAtEnd = this.playhead.at >= this.#walk.motions.length;
    if (isNew) this.#pause();
    this.#show(text);
    if (isNew && wasAtEnd) this.playhead.set(this.#walk.motions.length);
    if (isNew && !this.#situation.linked) {
      this.#history.typed(text, this.playhead.at);
      this.#showTools();
    }
  }

  /** Start over, after another workflow was loaded into the node. */
  reset() {
    const text = this.source.read();
    this.#history = new History(text);
    this.#show(text);
    this.playhead.set(this.#walk.motions.length);
  }

  undo() {
    this.recorder.stop();
    if (this.canUndo) this.#replace(this.#history.undo());
  }

  redo() {
    this.recorder.stop();
    if (this.canRedo) this.#replace(this.#history.redo());
  }

  get canUndo() {
    return !this.#situation.linked && this.#history.canUndo;
  }

  get canRedo() {
    return !this.#situation.linked && this.#history.canRedo;
  }

  /** Whether the text can be changed from here. */
  get editable() {
    return !this.#situation.linked && (this.#walk.kind === "path" || this.#walk.kind === "empty");
  }

  destroy() {
    this.playhead.stop();
    this.stage.destroy();
    this.status.destroy();
    for (const part of [this.map, this.view, this.timeline]) part.forget();
  }

  /** The segment at the playhead; -1 for none. */
  get #current() {
    return locate(this.#walk.path, this.playhead.at).index;
  }

  #show(text) {
    const hadFocus = this.element.contains(document.activeElement);
    this.#situation = this.source.situation();
    this.#walk = walkOf(text, { notation: this.source.notation, ...this.#situation });
    this.playhead.keepWithin(this.#walk.motions.length);
    this.element.classList.toggle("hyw-relabels", this.#situation.relabels);
    this.element.classList.toggle("hyw-awaits", this.#situation.awaits);
    this.stage.enabled = this.editable;
    this.map.show(this.#walk, this.playhead.shown);
    this.view.show(this.#walk, this.playhead.shown);
    this.timeline.show(this.#walk, this.#current, this.editable);
    this.#showTools();
    this.status.show(this.#walk, this.#situation, this.editable);
    this.#showPlace();
    // The focused element may be gone; without focus, the next key would be a shortcut of the graph.
    if (hadFocus && !this.element.contains(document.activeElement)) this.element.focus({ preventScroll: true });
  }

  #showTools() {
    const closed = this.#lastAtStart === this.#walk.motions.length;
    const { canUndo, canRedo, editable } = this;
    this.toolbar.show({ moves: this.#walk.motions.length > 0, canUndo, canRedo, editable, closed });
  }

  /** Called for every frame while the playhead moves. */
  #moved(shown) {
    for (const picture of [this.map, this.view, this.timeline]) picture.moveTo(shown);
    if (this.playhead.at !== this.#placed) this.#showPlace();
  }

  #showPlace() {
    const { at } = this.playhead;
    this.#placed = at;
    const words = this.#situation.awaits ? "" : this.status.place(this.#walk, at);
    this.stage.caption.textContent = words;
    this.timeline.describe(at, words);
    this.timeline.markCurrent(this.#current);
    const segment = this.#walk.path.segments[this.#current];
    this.stage.showKeys(segment?.keys ?? []);
    const { hasIdle } = this.source.notation;
    this.segmentBar.show(segment, { editable: this.editable, hasIdle });
  }

  #scrub(latent) {
    this.#pause();
    if (latent !== this.playhead.at) this.playhead.goTo(latent);
  }

  /** Show a text and write it; the playhead glides to `at`. */
  #put(text, at, ms) {
    this.playhead.at = at;
    this.#show(text);
    // Shown first, so that the echo of this write is not taken for typing.
    this.source.write(text);
    this.playhead.goTo(this.playhead.at, ms);
  }

  #edit(path, at) {
    this.#pause();
    const text = write(path);
    this.#history.record(text, at);
    this.#put(text, at);
    this.source.edited();
  }

  #replace({ text, at }) {
    this.#pause();
    this.#put(text, at);
    this.source.edited();
  }

  #addSegments(segments) {
    const { at } = this.playhead;
    const length = segments.reduce((sum, { count }) => sum + count, 0);
    this.#edit(insertAll(this.#walk.path, at, segments), at + length);
  }

  #resize(index, count, done) {
    const path = resize(this.#walk.path, index, count);
    const at = endOf(path, index);
    if (done) this.#edit(path, at);
    else this.#put(write(path), at, 1);
  }

  #remove(index) {
    if (index >= 0 && this.editable) this.#edit(remove(this.#walk.path, index), endOf(this.#walk.path, index - 1));
  }

  /** Lengthen the last segment until the last chunk is full. */
  #fill(missing) {
    const { path, motions, held } = this.#walk;
    const keys = held.at(-1) ?? ["w"];
    this.#edit(insert(path, motions.length, keys, missing), motions.length + missing);
  }

  /** Walk the way back that leads from the end to the start. */
  #returnHome() {
    const { path, held, motions } = this.#walk;
    const back = retrace(held.slice(this.#lastAtStart));
    const length = back.reduce((sum, { count }) => sum + count, 0);
    this.#edit(insertAll(path, motions.length, back), motions.length + length);
  }

  /** The last latent that has the pose of the first. */
  get #lastAtStart() {
    return this.#walk.poses.findLastIndex(({ rotation, position }) => {
      const off = [...position, rotation[0] - 1, rotation[1], rotation[2], rotation[5], rotation[4] - 1];
      return off.every((value) => Math.abs(value) < SAME_POSE);
    });
  }

  #recording(running) {
    this.element.classList.toggle("hyw-recording", running);
    if (running) return this.#pause();
    this.#history.record(this.#walk.text, this.playhead.at);
    this.source.edited();
    this.#show(this.#walk.text);
  }

  /** One latent of a recording goes in at the playhead. */
  #lay(keys) {
    const at = this.playhead.at + 1;
    this.#put(write(insert(this.#walk.path, this.playhead.at, keys)), at, 1000 / this.toolbar.rate);
  }

  /** A key of the stage that is not part of a path: it ends a recording. */
  #command(name) {
    this.recorder.stop();
    const { at } = this.playhead;
    const last = this.#walk.motions.length;
    if (name === "play") this.#togglePlay();
    if (name === "toStart") this.#scrub(0);
    if (name === "toEnd") this.#scrub(last);
    if (name === "remove") this.#remove(this.#current);
    if (name === "takeBack" && at > 0 && this.editable) {
      const index = this.#current;
      this.#edit(resize(this.#walk.path, index, this.#walk.path.segments[index].count - 1), at - 1);
    }
  }

  #togglePlay() {
    if (this.#playing) return this.#pause();
    const last = this.#walk.motions.length;
    if (this.playhead.at >= last) this.playhead.set(0);
    this.#playing = this.toolbar.playing = true;
    this.playhead.play(last, this.toolbar.rate, () => this.#pause());
  }

  #pause() {
    if (!this.#playing) return;
    this.#playing = this.toolbar.playing = false;
    this.playhead.stop();
  }

  /**
   * Only the keys for run and save reach the graph; Escape leaves the editor. The hint goes: it covers the view.
   */
  #keepFromGraph() {
    const stop = (event) => event.stopPropagation();
    set(this.element, {
      onkeydown: (event) => {
        const step = historyKey(event);
        if (step) {
          spend(event);
          this[step]();
        } else if (event.key === "Escape") {
          stop(event);
          document.activeElement.blur();
        } else if (isForSelection(event)) spend(event);
        else if (!isForWorkflow(event)) stop(event);
      },
      onkeyup: stop,
      onfocusin: () => this.stage.hint.remove(),
    });
  }
}
