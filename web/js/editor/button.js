/**
 * A button with an icon; what it does is its tooltip and its name for screen readers.
 */

import { html } from "./dom.js";
import { icon } from "./icons.js";

/**
 * @param {string} iconName see icons.js
 * @param {string} label
 * @param {() => void} onclick
 * @param {...string} words shown beside the icon
 */
export function button(iconName, label, onclick, ...words) {
  const attributes = { type: "button", class: "hyw-button", title: label, "aria-label": label, onclick };
  return html("button", attributes, icon(iconName), ...words);
}
