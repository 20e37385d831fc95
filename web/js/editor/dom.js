/**
 * Elements in one expression.
 */

const SVG = "http://www.w3.org/2000/svg";

/** `html("button", { class: "x", onclick: act }, "text", child)`; attributes that are undefined or false are left out. */
export function html(tag, attributes = {}, ...children) {
  return built(document.createElement(tag), attributes, children);
}

export function svg(tag, attributes = {}, ...children) {
  return built(document.createElementNS(SVG, tag), attributes, children);
}

/** Change attributes of an element; undefined and false remove them. */
export function set(element, attributes) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === undefined || value === false) element.removeAttribute(name);
    else element.setAttribute(name, value === true ? "" : value);
  }
  return element;
}

/** Switch a control on or off; the focus moves from a disabled one to the editor. */
export function enable(control, enabled) {
  if (!enabled && control === document.activeElement)
    control.closest("[tabindex='-1']")?.focus({ preventScroll: true });
  set(control, { disabled: !enabled });
}

/** Points in pixels as the data of an SVG path. */
export function pathData(points) {
  return points.map(([x, y], i) => `${i ? "L" : "M"}${x.toFixed(1)} ${y.toFixed(1)}`).join("");
}

/**
 * Tell the size of an element now and whenever its layout changes (zooming the graph does not change it).
 * @returns {() => void} stops it
 */
export function onSize(element, tell) {
  const observer = new ResizeObserver(() => {
    const { clientWidth, clientHeight } = element;
    if (clientWidth && clientHeight) tell(clientWidth, clientHeight);
  });
  observer.observe(element);
  return () => observer.disconnect();
}

function built(element, attributes, children) {
  set(element, attributes);
  element.append(...children);
  return element;
}
