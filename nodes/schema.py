"""Socket types, category and schema of all nodes."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection
from typing import Any

from comfy_api.latest import io

CATEGORY = "HY-WorldPlay"

Trajectory = io.Custom("HYWORLD_TRAJECTORY")
Actions = io.Custom("HYWORLD_ACTIONS")
World = io.Custom("HYWORLD_WORLD")

_KNOWN = {field.name for field in dataclasses.fields(io.Schema)}


def schema(advanced_inputs: Collection[str] = (), **fields: Any) -> io.Schema:
    """An `io.Schema` in our category, without fields that an old host does not know (search_aliases).

    advanced_inputs: names of those that new front ends show only when asked to.
    """
    for entry in fields.get("inputs", ()):
        if entry.id in advanced_inputs:
            entry.extra_dict["advanced"] = True  # the oldest hosts have no argument for it
    return io.Schema(category=CATEGORY, **{name: value for name, value in fields.items() if name in _KNOWN})
