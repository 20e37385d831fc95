"""The subgraph blueprint: a whole walk as one node, on hosts that load blueprints from node packs."""

from __future__ import annotations

import json
import urllib.error
from pathlib import Path
from typing import Any

import pytest

from .browser import drive
from .client import Client
from .server import PACK_NAME, REPOSITORY, ComfyServer

pytestmark = pytest.mark.host

BLUEPRINT = REPOSITORY / "subgraphs" / "HY-World Walk.json"
VALUES = {"prompt": "a room", "path": "w-3, right-4", "width": 288, "height": 160, "seed": 7}
"""What the test sets the node's widgets to: 2 chunks, at the size of the built-in world."""


@pytest.fixture
def listed(client: Client) -> dict[str, dict[str, Any]]:
    """What the server says of its blueprints, by id."""
    try:
        entries: dict[str, dict[str, Any]] = json.loads(client.get("/global_subgraphs"))
    except urllib.error.HTTPError:
        pytest.skip("this ComfyUI knows no blueprints yet")
    return entries


def test_the_server_lists_the_blueprint(listed: dict[str, dict[str, Any]], client: Client) -> None:
    ours = {key: entry for key, entry in listed.items() if entry["info"]["node_pack"].endswith(PACK_NAME)}
    assert [entry["name"] for entry in ours.values()] == [BLUEPRINT.stem]
    (key,) = ours
    served = json.loads(client.get(f"/global_subgraphs/{key}"))["data"]
    assert json.loads(served) == json.loads(BLUEPRINT.read_text())


def test_the_blueprint_fits_the_nodes(client: Client) -> None:
    """Slots stand where the links say, inputs and values are those of the node."""
    info = client.object_info()
    (subgraph,) = json.loads(BLUEPRINT.read_text())["definitions"]["subgraphs"]
    nodes = {node["id"]: node for node in subgraph["nodes"]}
    for node in nodes.values():
        schema = info[node["type"]]["input"]
        names = [*schema["required"], *schema.get("optional", {})]
        assert {slot["name"] for slot in node["inputs"]} <= set(names), node["type"]
        assert [slot["name"] for slot in node["outputs"]] == info[node["type"]]["output_name"]
    sources = {-10: subgraph["inputs"], **{number: node["outputs"] for number, node in nodes.items()}}
    targets = {-20: subgraph["outputs"], **{number: node["inputs"] for number, node in nodes.items()}}
    for link in subgraph["links"]:
        source = sources[link["origin_id"]][link["origin_slot"]]
        target = targets[link["target_id"]][link["target_slot"]]
        assert source["type"] == target["type"] == link["type"]
        assert link["id"] in (source.get("links") or source.get("linkIds"))
        assert link["id"] == target["link"] if "link" in target else link["id"] in target["linkIds"]


@pytest.fixture
def seen(
    listed: dict[str, dict[str, Any]], node: str, chromium: str, server: ComfyServer, tmp_path: Path
) -> dict[str, Any]:
    """What happened in one session in the browser."""
    scene = {
        "url": server.url,
        "chromium": chromium,
        "profile": str(tmp_path / "profile"),
        "name": BLUEPRINT.stem,
        "values": VALUES,
        "screenshot": str(tmp_path / "blueprint.png"),
    }
    return drive(node, "blueprint.cjs", scene)


@pytest.mark.browser
def test_the_blueprint_is_added_by_its_name_and_runs(seen: dict[str, Any]) -> None:
    added, ran = seen["added"], seen["ran"]
    assert added["title"] == BLUEPRINT.stem
    assert [name for name, _ in added["outputs"]] == ["video", "images", "world"]
    assert [name for name, _ in added["inputs"]] == ["model", "clip", "vae", "picture", *VALUES]
    assert added["widgets"] == {
        "prompt": "",
        "path": "w-7, right-8, w-8, left-8",
        "width": 1280,
        "height": 704,
        "seed": 1,
    }

    inputs = {entry["class_type"]: entry["inputs"] for entry in ran["prompt"].values()}
    assert inputs["CLIPTextEncode"]["text"] == VALUES["prompt"]
    assert inputs["HYWorldCameraTrajectory"]["path"] == VALUES["path"]
    assert inputs["HYWorldStreamingSampler"]["seed"] == VALUES["seed"]
    assert (ran["ended"], ran["error"]) == ("execution_success", "")
    assert (ran["video"]["videoWidth"], ran["video"]["videoHeight"]) == (288, 160)
    assert ran["video"]["duration"] == pytest.approx(29 / 16, abs=0.1)
