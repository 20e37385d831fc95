"""Prompts, before the host looks at them."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextvars import copy_context
from typing import Any

import pytest

LINK = ["elsewhere", 0]


@pytest.fixture
def settled(pack: Callable[[str], Any], server: list[Callable[[dict], dict]]) -> Callable[[dict], dict]:
    """`settled(node)`: the node as the host gets to see it."""
    pack("nodes.host.prompt").watch_prompts(pack("nodes.idle_inputs").settle)
    (handler,) = server
    return lambda node: copy_context().run(handler, {"prompt": {"1": node}})["prompt"]["1"]


def sampler(**inputs: Any) -> dict[str, Any]:
    return {"class_type": "HYWorldStreamingSampler", "inputs": inputs}


def test_seed_and_size_do_not_matter_beside_a_world(settled: Callable[[dict], dict]) -> None:
    one = settled(sampler(world=LINK, seed=5, width=64, height=32, chunks=2))
    two = settled(sampler(world=LINK, seed=6, width=0, height=0, chunks=2))
    assert one == two
    assert one["inputs"]["chunks"] == 2
    alone = settled(sampler(seed=5, width=64))["inputs"]
    assert (alone["seed"], alone["width"]) == (5, 64)
    assert settled(sampler(world=LINK, seed=LINK))["inputs"]["seed"] == LINK


def test_the_preview_is_told_beside_the_inputs(settled: Callable[[dict], dict]) -> None:
    shown, hidden = settled(sampler(preview=True)), settled(sampler(preview=False))
    assert shown["inputs"] == hidden["inputs"]
    assert shown["_meta"] != hidden["_meta"]
    titled = settled({**sampler(preview=False), "_meta": {"title": "mine"}})
    assert titled["_meta"]["title"] == "mine"
    assert settled(sampler(preview=LINK))["inputs"]["preview"] == LINK


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_what_is_no_number_becomes_text_that_the_host_refuses(settled: Callable[[dict], dict], value: float) -> None:
    node = settled({"class_type": "HYWorldCameraTrajectory", "inputs": {"path": "w-3", "move_speed": value}})
    json.dumps(node, allow_nan=False)
    with pytest.raises(ValueError, match="not a finite number"):
        float(node["inputs"]["move_speed"])


@pytest.mark.parametrize("prompt", [None, [], {"1": None}, {"1": {"class_type": "HYWorldStreamingSampler"}}])
def test_prompts_that_are_none_are_left_to_the_host(
    pack: Callable[[str], Any], server: list[Callable[[dict], dict]], prompt: Any
) -> None:
    pack("nodes.host.prompt").watch_prompts(pack("nodes.idle_inputs").settle)
    data = {"prompt": prompt}
    assert copy_context().run(server[0], data) is data


def test_nodes_of_others_are_left_alone(settled: Callable[[dict], dict]) -> None:
    node = {"class_type": "KSampler", "inputs": {"world": LINK, "seed": 5, "preview": False}}
    assert settled(node) == {"class_type": "KSampler", "inputs": {"world": LINK, "seed": 5, "preview": False}}


def test_what_is_wired_decides_which_large_outputs_are_made(
    pack: Callable[[str], Any], server: list[Callable[[dict], dict]]
) -> None:
    idle = pack("nodes.idle_inputs")
    pack("nodes.host.prompt").watch_prompts(idle.settle)
    (handler,) = server

    def settled(*outputs: int) -> dict[str, Any]:
        others = {str(9 + n): {"class_type": "X", "inputs": {"a": ["1", n], "b": 3}} for n in outputs}
        prompt = {"1": sampler(), "5": {"class_type": "Y"}, **others}
        return copy_context().run(handler, {"prompt": prompt})["prompt"]

    assert idle.kept_outputs(settled(3, 4), "1") == {4}
    assert idle.kept_outputs(settled(0, 1, 2), "1") == {0, 1}
    assert idle.kept_outputs(settled(), "1") == set()
    assert settled(0)["1"]["inputs"] != settled(4)["1"]["inputs"], "wiring one more needs another run"
    assert settled(4)["1"]["inputs"] == settled(3, 4)["1"]["inputs"]
    assert idle.kept_outputs(None, "1") == idle.kept_outputs({}, "1") == {0, 1, 4}, "nobody said what is wired"
