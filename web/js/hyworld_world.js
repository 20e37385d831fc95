/**
 * A button in Load World that puts a file of this computer into ComfyUI's input folder and chooses it.
 */

import { app } from "../../../scripts/app.js";
import { api } from "../../../scripts/api.js";

app.registerExtension({
  name: "HYWorld.LoadWorld",

  nodeCreated(node) {
    if (node.comfyClass !== "HYWorldLoadWorld") return;
    const chosen = node.widgets.find(({ name }) => name === "file");
    const button = node.addWidget("button", "choose file to upload", null, () => choose(chosen), { serialize: false });
    // Of the two, this one keeps it out of the saved workflow, the option out of the prompt.
    button.serialize = false;
  },
});

function choose(widget) {
  const input = Object.assign(document.createElement("input"), { type: "file", accept: ".world" });
  input.onchange = () => input.files.length && upload(input.files[0], widget);
  input.click();
}

async function upload(file, widget) {
  const body = new FormData();
  body.append("image", file); // the host's one route for files of any kind
  const answer = await api.fetchApi("/upload/image", { method: "POST", body });
  if (!answer.ok) {
    const detail = `${file.name} could not be uploaded (${answer.status} ${answer.statusText}).`;
    app.extensionManager.toast.add({ severity: "error", summary: "Load World", detail, life: 8000 });
    return;
  }
  const { name, subfolder } = await answer.json();
  const value = subfolder ? `${subfolder}/${name}` : name;
  if (!widget.options.values.includes(value)) widget.options.values.unshift(value);
  widget.value = value;
  widget.callback?.(value);
}
