"""What lies around the nodes fits them: help pages, translations and example workflows (read without ComfyUI)."""

from __future__ import annotations

import ast
import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "web" / "docs"
WORKFLOWS = sorted((ROOT / "example_workflows").glob("*.json"))
PASSED_BY = (2, 4)
"""Modes of muted and bypassed nodes: they stand in the graph and not in the API form."""


@dataclass
class Node:
    """What a schema says: texts by field, and the inputs (by id) and outputs (by place) with their tooltips."""

    texts: dict[str, str] = field(default_factory=dict)
    inputs: dict[str, str] = field(default_factory=dict)
    outputs: list[tuple[str, str]] = field(default_factory=list)


SHARED = ast.parse((ROOT / "nodes" / "shared_inputs.py").read_text(encoding="utf-8"))

# Inputs and outputs of the host's own nodes that the examples use, as ComfyUI 0.3.64 has them; newer ones add to them.
CORE = {
    "CLIPLoader": ({"clip_name", "type", "device"}, 1),
    "CLIPTextEncode": ({"text", "clip"}, 1),
    "CreateVideo": ({"images", "fps", "audio"}, 1),
    "LoadImage": ({"image"}, 2),
    "LoraLoaderModelOnly": ({"model", "lora_name", "strength_model"}, 1),
    "PreviewImage": ({"images"}, 0),
    "SaveLatent": ({"samples", "filename_prefix"}, 0),
    "SaveVideo": ({"video", "filename_prefix", "format", "codec"}, 0),
    "VAELoader": ({"vae_name"}, 1),
}


def schemas() -> dict[str, Node]:
    """The schema of every node in `nodes/*.py`, by node id."""
    found: dict[str, Node] = {}
    for file in sorted((ROOT / "nodes").glob("*.py")):
        module = ast.parse(file.read_text(encoding="utf-8"))
        for call in ast.walk(module):
            if isinstance(call, ast.Call) and ast.unparse(call.func) == "schema":
                fields = {keyword.arg: keyword.value for keyword in call.keywords if keyword.arg}
                if "node_id" in fields:
                    found[text(fields["node_id"], module)] = read_schema(fields, module)
    return found


def read_schema(fields: dict[str, ast.expr], module: ast.Module) -> Node:
    node = Node({name: text(fields[name], module) for name in ("display_name", "description")})
    inputs, outputs = fields["inputs"], fields["outputs"]
    assert isinstance(inputs, ast.List)
    assert isinstance(outputs, ast.List)
    for entry in (each for element in inputs.elts for each in shared_inputs(element)):
        if isinstance(entry, ast.Starred):
            node.inputs.update(table_inputs(entry, module))
        else:
            assert isinstance(entry, ast.Call)
            node.inputs[text(entry.args[0], module)] = keyword(entry, "tooltip", module)
    for entry in outputs.elts:
        assert isinstance(entry, ast.Call)
        node.outputs.append((keyword(entry, "display_name", module), keyword(entry, "tooltip", module)))
    return node


def shared_inputs(entry: ast.expr) -> list[ast.expr]:
    """The inputs that `shared.name()` stands for, or else the entry itself."""
    call = entry.value if isinstance(entry, ast.Starred) else entry
    module, _, name = ast.unparse(call).removesuffix("()").partition(".")
    if module != "shared":
        return [entry]
    functions = (x for x in SHARED.body if isinstance(x, ast.FunctionDef) and x.name == name)
    returned = next(x.value for x in ast.walk(next(functions)) if isinstance(x, ast.Return))
    return list(returned.elts) if isinstance(returned, ast.Tuple) else [returned]


def table_inputs(entry: ast.Starred, module: ast.Module) -> dict[str, str]:
    """Inputs that a helper makes from a table at the top of its module: rows of (id, …, tooltip)."""
    helper = ast.unparse(entry.value).removesuffix("()")
    function = next(x for x in module.body if isinstance(x, ast.FunctionDef) and x.name == helper)
    names = {x.id for x in ast.walk(function) if isinstance(x, ast.Name)}
    for statement in module.body:
        if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) in names:
            assert isinstance(statement.value, ast.Tuple)
            rows = [row.elts for row in statement.value.elts if isinstance(row, ast.Tuple)]
            return {text(row[0], module): text(row[-1], module) for row in rows}
    raise AssertionError(f"{helper} has no table")


def keyword(call: ast.Call, name: str, module: ast.Module) -> str:
    return text(next(k.value for k in call.keywords if k.arg == name), module)


def text(value: ast.expr, module: ast.Module) -> str:
    """A string, written out or under a name of the module."""
    if isinstance(value, ast.Name):
        assigned = (s.value for s in module.body if isinstance(s, ast.Assign) and ast.unparse(s.targets[0]) == value.id)
        return text(next(assigned), module)
    assert isinstance(value, ast.Constant), ast.unparse(value)
    assert isinstance(value.value, str)
    return value.value


NODES = schemas()


def read(file: Path) -> Any:
    return json.loads(file.read_text(encoding="utf-8"))


def active(workflow: dict[str, Any]) -> list[dict[str, Any]]:
    """The nodes of a graph that run."""
    return [node for node in workflow["nodes"] if node["type"] != "MarkdownNote" and node["mode"] not in PASSED_BY]


def inputs_of(node_type: str) -> set[str]:
    return set(NODES[node_type].inputs) if node_type in NODES else CORE[node_type][0]


def outputs_of(node_type: str) -> int:
    return len(NODES[node_type].outputs) if node_type in NODES else CORE[node_type][1]


def test_all_nodes_are_found() -> None:
    listed = re.search(r"return \[(.*?)\]", (ROOT / "nodes" / "__init__.py").read_text(encoding="utf-8"), re.DOTALL)
    assert listed is not None
    assert len(NODES) == listed[1].count(",") > 0


def test_every_node_has_a_help_page_and_every_page_a_node() -> None:
    assert {page.stem for page in DOCS.glob("*.md")} == set(NODES)


@pytest.mark.parametrize("node_id", NODES)
def test_help_page_names_every_input_and_output(node_id: str) -> None:
    page = (DOCS / f"{node_id}.md").read_text(encoding="utf-8")
    node = NODES[node_id]
    assert page.startswith(f"# {node.texts['display_name']}\n")
    missing = [name for name in (*node.inputs, *(name for name, _ in node.outputs)) if f"**{name}**" not in page]
    assert not missing
    for picture in re.findall(r"!\[.*?\]\((.*?)\)", page):
        with Image.open(DOCS / picture) as opened:
            opened.verify()


@pytest.mark.parametrize("language", ["en", "zh"])
def test_translations_name_what_the_schemas_have(language: str) -> None:
    translated = read(ROOT / "locales" / language / "nodeDefs.json")
    assert set(translated) == set(NODES)
    for node_id, node in NODES.items():
        entry = translated[node_id]
        assert entry["display_name"]
        assert entry["description"]
        assert set(entry.get("inputs", {})) == set(node.inputs), node_id
        assert list(entry["outputs"]) == [str(i) for i in range(len(node.outputs))], node_id
        for part in (*entry.get("inputs", {}).values(), *entry["outputs"].values()):
            assert part["name"]
            assert part["tooltip"]


def test_english_is_what_the_schemas_say() -> None:
    """The front end shows the translation in place of the schema's text, so they must not drift apart."""
    for node_id, entry in read(ROOT / "locales" / "en" / "nodeDefs.json").items():
        node = NODES[node_id]
        assert {name: entry[name] for name in node.texts} == node.texts
        assert {name: part["tooltip"] for name, part in entry.get("inputs", {}).items()} == node.inputs
        assert [(part["name"], part["tooltip"]) for part in entry["outputs"].values()] == node.outputs


def test_only_graphs_are_offered_as_templates() -> None:
    """ComfyUI offers every JSON file in this folder itself; API forms lie one folder deeper."""
    assert [file.stem for file in WORKFLOWS] == [
        "dreamx_5b",
        "live_walk",
        "lora_fp8_low_vram",
        "quick_start",
        "self_forcing_stream",
        "ti2v_5b",
        "walk_and_save",
        "walk_back",
        "wan_5b",
    ]
    assert all("nodes" in read(file) for file in WORKFLOWS)


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.stem)
def test_graph_fits_the_nodes(file: Path) -> None:
    workflow = read(file)
    nodes = {node["id"]: node for node in workflow["nodes"]}
    for node in nodes.values():
        if node["type"] != "MarkdownNote":
            assert {slot["name"] for slot in node["inputs"]} <= inputs_of(node["type"])
            assert len(node["outputs"]) <= outputs_of(node["type"])
    for link, source, out, target, into, kind in workflow["links"]:
        assert nodes[target]["inputs"][into]["link"] == link
        assert nodes[target]["inputs"][into]["type"] == kind == nodes[source]["outputs"][out]["type"]
        assert link in nodes[source]["outputs"][out]["links"]


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.stem)
def test_api_form_is_the_graph(file: Path) -> None:
    workflow, api = read(file), read(file.parent / "api" / file.name)
    assert {str(node["id"]): node["type"] for node in active(workflow)} == {i: n["class_type"] for i, n in api.items()}
    links = {link[0]: link for link in workflow["links"]}
    for node in active(workflow):
        written = api[str(node["id"])]["inputs"]
        assert set(written) <= inputs_of(node["type"])
        wired = {slot["name"]: slot["link"] for slot in node["inputs"] if slot["link"] is not None}
        expected = {name: [str(links[link][1]), links[link][2]] for name, link in wired.items()}
        assert {name: value for name, value in written.items() if isinstance(value, list)} == expected
        values = [value for value in written.values() if not isinstance(value, list)]
        # A seed is followed by what happens to it after a run, a picture by its upload button: the front end's own.
        assert [value for value in node["widgets_values"] if value not in ("fixed", "image")] == values


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.stem)
def test_thumbnail(file: Path) -> None:
    picture = file.with_suffix(".jpg")
    assert picture.stat().st_size <= 60_000
    with Image.open(picture) as opened:
        assert opened.format == "JPEG"
        assert opened.width == 480
