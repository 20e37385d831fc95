// Loads saved workflows into the real front end, one after the other.
// Usage: node load_workflows.cjs '{"url": …, "chromium": …, "profile": …, "workflows": {name: file}}'
// Prints one line of JSON: what each graph holds then, and the prompt it would queue.
"use strict";
const { readFileSync } = require("node:fs");
const { failing, inBrowser, loadWorkflow, openFrontEnd } = require("./front_end.cjs");

const scene = JSON.parse(process.argv[2]);

function describe(page) {
  return page.evaluate(async () => {
    const nodes = app.graph._nodes;
    return {
      types: Object.fromEntries(nodes.map((node) => [node.id, node.type])),
      missing: nodes.map((node) => node.type).filter((type) => !LiteGraph.registered_node_types[type]),
      values: Object.fromEntries(
        nodes.map(({ id, widgets = [] }) => [id, Object.fromEntries(widgets.map(({ name, value }) => [name, value]))]),
      ),
      prompt: (await app.graphToPrompt()).output,
    };
  });
}

inBrowser(scene, async (page) => {
  await openFrontEnd(page, scene.url);
  const seen = {};
  for (const [name, file] of Object.entries(scene.workflows)) {
    await loadWorkflow(page, JSON.parse(readFileSync(file, "utf8")));
    seen[name] = await describe(page);
  }
  return seen;
}).catch(failing);
