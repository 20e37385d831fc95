// The words of the editor.
import assert from "node:assert/strict";
import { readFileSync, readdirSync } from "node:fs";
import { test } from "node:test";

import { MOVES, TURNS } from "../../web/js/camera/labels.js";
import { KEY_NAMES } from "../../web/js/camera/keys.js";
import { PRESETS } from "../../web/js/camera/presets.js";
import { LANGUAGES, textsFor } from "../../web/js/editor/texts.js";

const places = (text) => (text.match(/\{\w+\}/g) ?? []).sort();

test("every language says everything, with the same values", () => {
  for (const table of Object.values(LANGUAGES)) {
    assert.deepEqual(Object.keys(table), Object.keys(LANGUAGES.en));
    for (const [key, text] of Object.entries(table)) assert.deepEqual(places(text), places(LANGUAGES.en[key]), key);
  }
});

test("keys, presets, moves and turns have names", () => {
  const words = new Set([...MOVES, ...TURNS].flatMap((name) => name.split("+")).filter((name) => name !== "none"));
  const named = [...KEY_NAMES.map((key) => `key.${key}`), ...PRESETS.map((name) => `preset.${name}`), ...words];
  for (const key of named) assert.ok(LANGUAGES.en[key], key);
});

test("no text is left that nobody shows", () => {
  const folder = new URL("../../web/js/editor/", import.meta.url);
  const files = readdirSync(folder).filter((name) => name.endsWith(".js") && name !== "texts.js");
  const source = files.map((name) => readFileSync(new URL(name, folder), "utf8")).join("");
  const chosen = [...MOVES, ...TURNS].flatMap((name) => name.split("+"));
  for (const key of Object.keys(LANGUAGES.en)) {
    const used = chosen.includes(key) || /^(key|preset)\./.test(key) || source.includes(`"${key}"`);
    assert.ok(used, key);
  }
});

test("a language the pack does not speak is English", () => {
  assert.equal(textsFor("fr")("redo"), LANGUAGES.en.redo);
  assert.equal(textsFor("zh-TW")("fill", { missing: 2 }), "补满 (+2)");
});
