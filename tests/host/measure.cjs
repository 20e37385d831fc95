// What a template looks like once it is drawn, in units of the graph. Everything here runs in the page.
"use strict";

/** Nodes, groups, notes and links as this renderer draws them. */
function measureInPage() {
  const { canvas, ds, graph } = app.canvas;
  const area = canvas.getBoundingClientRect();
  const element = (node) => document.querySelector(`[data-node-id="${node.id}"]`);

  const fromScreen = ({ left, top, width, height }) => [
    (left - area.left) / ds.scale - ds.offset[0],
    (top - area.top) / ds.scale - ds.offset[1],
    width / ds.scale,
    height / ds.scale,
  ];
  const toScreen = ([x, y]) => [(x + ds.offset[0]) * ds.scale + area.left, (y + ds.offset[1]) * ds.scale + area.top];
  const drawn = (node) => (element(node) ? fromScreen(element(node).getBoundingClientRect()) : [...node.boundingRect]);

  /** What stands in for the text of a note: the Vue renderer has an element of its own. */
  const textOf = (note) =>
    element(note)?.querySelector(".comfy-markdown-content") ?? note.widgets[0].element.querySelector(".tiptap");

  const channels = (color) => (color.match(/[\d.]+/g) ?? [0, 0, 0, 0]).map(Number);
  const luminance = (color) => {
    const [r, g, b] = channels(color).map((c) => (c / 255 <= 0.04045 ? c / 3294.6 : ((c / 255 + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (part) => {
    for (let at = part; at; at = at.parentElement) {
      const color = getComputedStyle(at).backgroundColor;
      if ((channels(color)[3] ?? 1) > 0.5) return color;
    }
    return "rgb(0, 0, 0)";
  };
  const contrast = (part) => {
    const [low, high] = [getComputedStyle(part).color, behind(part)].map(luminance).sort((a, b) => a - b);
    return (high + 0.05) / (low + 0.05);
  };

  /** Whether nothing of the front end lies over this point. */
  const isFree = (x, y) =>
    Boolean(document.elementFromPoint(x, y)?.closest("#graph-canvas, .dom-widget, [data-node-id]"));

  const note = (node) => {
    const [x, y, width, height] = drawn(node);
    const text = textOf(node);
    const corners = [0.02, 0.98].flatMap((u) => [0.05, 0.95].map((v) => toScreen([x + u * width, y + v * height])));
    return {
      id: node.id,
      shown: text.checkVisibility() ? text.innerText : "",
      overflow: text.scrollHeight - text.clientHeight,
      free: corners.every((corner) => isFree(...corner)),
      // The classic renderer draws what is behind a note's text on the canvas.
      contrast: element(node) ? Math.min(...[text, ...text.querySelectorAll("*")].map(contrast)) : null,
    };
  };

  const inside = ([x, y], [left, top, width, height], by = 0) =>
    x > left + by && x < left + width - by && y > top + by && y < top + height - by;
  const middle = ([x, y, width, height]) => [x + width / 2, y + height / 2];
  const groupOf = (rect) => graph._groups.findIndex((group) => inside(middle(rect), group._bounding));

  /** Draws a link alone, one pixel per unit; returns whether it goes through a rectangle. */
  const sheet = { left: -100, top: -150, width: 2500, height: 1500 };
  const page = Object.assign(document.createElement("canvas"), { width: sheet.width, height: sheet.height });
  const pen = page.getContext("2d", { willReadFrequently: true });
  const trace = (link) => {
    pen.setTransform(1, 0, 0, 1, 0, 0);
    pen.clearRect(0, 0, sheet.width, sheet.height);
    pen.translate(-sheet.left, -sheet.top);
    pen.lineWidth = 2;
    const reroutes = [...graph.reroutes.values()].filter((reroute) => reroute.linkIds.has(link.id));
    for (const { path } of [link, ...reroutes]) if (path) pen.stroke(path);
    const ink = pen.getImageData(0, 0, sheet.width, sheet.height).data;
    return ([x, y, width, height], by) => {
      for (let row = Math.ceil(y + by); row < y + height - by; row++)
        for (let column = Math.ceil(x + by); column < x + width - by; column++)
          if (ink[4 * ((row - sheet.top) * sheet.width + column - sheet.left) + 3] > 128) return true;
      return false;
    };
  };

  /** The nodes and groups a link runs behind though it belongs to neither. */
  const crossed = (link) => {
    const ends = [link.origin_id, link.target_id].map((id) => graph.getNodeById(id));
    const own = new Set(ends.map((node) => groupOf(drawn(node))));
    const goesThrough = trace(link);
    const nodes = graph._nodes.filter((node) => !ends.includes(node) && !own.has(groupOf(drawn(node))));
    const groups = graph._groups.filter((_, at) => !own.has(at));
    return [
      ...nodes.filter((node) => goesThrough(drawn(node), 2)),
      ...groups.filter((group) => goesThrough(group._bounding, 8)), // a group's margin is as good as a gap
    ].map(({ title }) => title);
  };

  return {
    scale: ds.scale,
    blank: app.canvas.low_quality,
    seen: fromScreen(area),
    nodes: graph._nodes.map((node) => ({
      id: node.id,
      type: node.type,
      title: element(node)?.querySelector('[data-testid="node-title"]')?.innerText ?? node.getTitle(),
      rect: drawn(node),
      group: groupOf(drawn(node)),
    })),
    groups: graph._groups.map((group) => ({ title: group.title, rect: [...group._bounding] })),
    notes: graph._nodes.filter((node) => node.type === "MarkdownNote").map(note),
    crossings: [...graph.links.values()].flatMap((link) =>
      crossed(link).map((title) => `link ${link.id} from ${graph.getNodeById(link.origin_id).title} behind ${title}`),
    ),
  };
}

/** Measures when nothing has moved for a while. */
async function measure(page) {
  let before = "";
  for (let i = 0; i < 20; i++) {
    const now = await page.evaluate(() =>
      JSON.stringify([app.canvas.ds.scale, app.graph._nodes.map((node) => [...node.pos, ...node.size])]),
    );
    if (now === before) break;
    before = now;
    await page.waitForTimeout(700);
  }
  return page.evaluate(measureInPage);
}

module.exports = { measure };
