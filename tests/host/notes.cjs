// Runs one node in the real front end and looks at the text that it shows afterwards.
// Usage: node notes.cjs '{"url": …, "chromium": …, "profile": …, "node": …, "screenshot": …}'
// Prints one line of JSON that says what was seen.
"use strict";
const { PATIENCE, failing, inBrowser, openFrontEnd, pressRun } = require("./front_end.cjs");

const scene = JSON.parse(process.argv[2]);
inBrowser(scene, async (page) => {
  await openFrontEnd(page, scene.url);
  await page.evaluate((type) => {
    app.graph.clear();
    app.graph.add(Object.assign(LiteGraph.createNode(type), { pos: [300, 150] }));
    for (const kind of ["execution_success", "execution_error"]) {
      app.api.addEventListener(kind, () => (globalThis.ended = kind));
    }
  }, scene.node);
  await page.waitForTimeout(1000);
  const before = await page.evaluate(() => app.graph._nodes[0].widgets.map(({ name }) => name));
  await pressRun(page);
  await page.waitForFunction(() => globalThis.ended, null, PATIENCE);
  await page.waitForTimeout(1500); // new front ends take their own line of progress away a moment later
  const drawn = () => {
    const { element } = app.graph._nodes[0].widgets.find(({ name }) => name === "hyworld_notes");
    return element.scrollHeight <= element.offsetHeight;
  };
  await page.waitForFunction(drawn, null, { timeout: 5000 }).catch(() => {}); // what is seen then is told below
  await page.screenshot({ path: scene.screenshot });
  const seen = await page.evaluate(async () => {
    const [node] = app.graph._nodes;
    const notes = node.widgets.find(({ name }) => name === "hyworld_notes");
    const { width, height } = notes.element.getBoundingClientRect();
    const [prompt] = Object.values((await app.graphToPrompt()).output);
    return {
      text: notes.element.textContent,
      fits: width > 0 && notes.element.scrollHeight <= notes.element.offsetHeight,
      inputs: Object.keys(prompt.inputs),
      saved: node.serialize().widgets_values.slice(0, Object.keys(prompt.inputs).length),
    };
  });
  return { before, ended: await page.evaluate(() => globalThis.ended), ...seen };
}).catch(failing);
