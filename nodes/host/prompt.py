"""Prompts as the server receives them, before validation."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

Node = dict[str, Any]
"""A node of a prompt: class_type, inputs and perhaps _meta."""

_prompt: ContextVar[dict[str, Node] | None] = ContextVar("hyworld_prompt", default=None)


def watch_prompts(settle: Callable[[Node], None]) -> None:
    """Have every prompt remembered for validation, and `settle` change the pack's nodes in it.

    Does nothing without a server (tests, scripts).
    """
    server = getattr(sys.modules.get("server"), "PromptServer", None)
    if not hasattr(server, "instance"):
        return

    def receive(data: dict[str, Any]) -> dict[str, Any]:
        prompt = data.get("prompt")
        if isinstance(prompt, dict):
            for node in prompt.values():
                if isinstance(node, dict) and str(node.get("class_type")).startswith("HYWorld"):
                    settle(node)
            # A context variable, because the server may validate several prompts at once, each in its own task.
            _prompt.set(prompt)
        return data

    server.instance.add_on_prompt_handler(receive)


def inputs_of(node_id: str | None) -> dict[str, Any]:
    """A node's class_type and inputs in the prompt being validated; without a prompt only `class_type: None`."""
    node: Node = (_prompt.get() or {}).get(node_id, {})
    return {"class_type": node.get("class_type"), **node.get("inputs", {})}
