"""Prompts as the server receives them, before validation."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

from .server import server

Node = dict[str, Any]
"""A node of a prompt: class_type, inputs and perhaps _meta."""

_prompt: ContextVar[dict[str, Node] | None] = ContextVar("hyworld_prompt", default=None)


def watch_prompts(settle: Callable[[Node, set[int]], None]) -> None:
    """Have every prompt remembered for validation, and `settle` change the pack's nodes in it.

    It is given each of them, and the numbers of its outputs that are wired.

    Does nothing without a server (tests, scripts).
    """
    host = server()
    if host is None:
        return

    def receive(data: dict[str, Any]) -> dict[str, Any]:
        prompt = data.get("prompt")
        if isinstance(prompt, dict):
            nodes = {name: node for name, node in prompt.items() if isinstance(node, dict)}
            for name, node in nodes.items():
                if str(node.get("class_type")).startswith("HYWorld"):
                    settle(node, _wired(nodes, name))
            # A context variable, because the server may validate several prompts at once, each in its own task.
            _prompt.set(prompt)
        return data

    host.add_on_prompt_handler(receive)


def _wired(nodes: dict[str, Node], name: str) -> set[int]:
    """The outputs of a node that others take."""
    inputs = (node["inputs"] for node in nodes.values() if isinstance(node.get("inputs"), dict))
    links = (value for given in inputs for value in given.values() if isinstance(value, list) and len(value) == 2)
    return {output for source, output in links if source == name}


def wired_outputs(prompt: dict[str, Node] | None, node_id: str | None) -> set[int]:
    """The outputs of a node that others take."""
    return _wired(prompt or {}, str(node_id))


def inputs_of(node_id: str | None) -> dict[str, Any]:
    """A node's class_type and inputs in the prompt being validated; without a prompt only `class_type: None`."""
    node: Node = (_prompt.get() or {}).get(node_id, {})
    return {"class_type": node.get("class_type"), **node.get("inputs", {})}


def text_behind(prompt: dict[str, Node] | None, node_id: str | None, name: str) -> str:
    """The `text` of the node that an input is wired to, such as a CLIP Text Encode; "" if it has none."""
    link = (prompt or {}).get(str(node_id), {}).get("inputs", {}).get(name)
    source = (prompt or {}).get(link[0], {}) if isinstance(link, list) else {}
    text = source.get("inputs", {}).get("text", "")
    return text if isinstance(text, str) else ""
