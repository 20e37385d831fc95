/**
 * A DOM widget among ComfyUI's own; `app` is the front end's.
 */

/** Run `then` after a method, which the object may lack. */
export function after(object, method, then) {
  const before = object[method];
  object[method] = function (...args) {
    const result = before?.apply(this, args);
    then(...args);
    return result;
  };
}

/**
 * When the graph's undo replaces a node by one with the same number, the Vue renderer goes on showing the old element:
 * put the new one there.
 */
export function handOver(app, id, widgetName, element) {
  requestAnimationFrame(() => {
    const node = element.isConnected && app.canvas.graph?.getNodeById(id);
    const widget = node?.widgets?.find(({ name }) => name === widgetName);
    if (widget && widget.element !== element) element.replaceWith(widget.element);
  });
}

/** Let the wheel zoom the graph and the middle button move it; the Vue renderer does both itself. */
export function passToGraph(app, element) {
  const pass = (type, handler, isMeant) =>
    element.addEventListener(type, (event) => {
      if (globalThis.LiteGraph?.vueNodesMode || !isMeant(event)) return;
      event.preventDefault();
      app.canvas[handler](event);
    });
  pass("wheel", "processMouseWheel", () => true);
  pass("pointerdown", "processMouseDown", ({ button }) => button === 1);
  pass("pointermove", "processMouseMove", ({ buttons }) => buttons & 4);
  pass("pointerup", "processMouseUp", ({ button }) => button === 1);
}

/**
 * Let `element` have the keys released in it before the graph, which listens to the whole document and draws itself anew
 * with each: a tenth of a second without the browser's GPU.
 *
 * @param {(event: KeyboardEvent) => boolean} keyUp whether it took the event, which then goes no further
 * @returns {() => void} ends it
 */
export function releasesFirst(element, keyUp) {
  const listen = (event) => {
    if (element.contains(event.target) && keyUp(event)) event.stopImmediatePropagation();
  };
  window.addEventListener("keyup", listen, true);
  return () => window.removeEventListener("keyup", listen, true);
}
