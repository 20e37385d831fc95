/**
 * Buttons that save a file the server writes; what it refuses is said in the page.
 */

import { button } from "../js/editor/button.js";
import { html } from "../js/editor/dom.js";

/**
 * @param {string} label
 * @param {string} address
 * @param {string} name of the file
 * @param {(text: string, kind?: string) => void} say one line about how it goes
 * @param {(key: string, values?: object) => string} t
 */
export function saveButton(label, address, name, say, t) {
  const save = button("save", label, run, label);
  async function run() {
    save.disabled = true;
    say(t("saving"));
    try {
      const answer = await fetch(address);
      if (!answer.ok) throw new Error(await reasonOf(answer));
      const url = URL.createObjectURL(await answer.blob());
      html("a", { href: url, download: name }).click();
      setTimeout(() => URL.revokeObjectURL(url), 60_000);
      say("");
    } catch (error) {
      say(t("failed", { reason: error.message }), "error");
    } finally {
      save.disabled = false;
    }
  }
  return save;
}

/** What an answer that is an error says: JSON of the server, or text of what stands before it. */
export async function reasonOf(answer) {
  const text = await answer.text();
  try {
    return JSON.parse(text).error;
  } catch {
    return text || answer.statusText;
  }
}
