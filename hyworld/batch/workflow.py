"""An API workflow of ComfyUI, and where the options of a line go in it."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import InputError

Prompt = dict[str, dict[str, Any]]
"""Node id → class_type and inputs; a link is [node id, output index]."""

SAMPLER = "HYWorldStreamingSampler"


class Place(NamedTuple):
    """An input of a node of that class; `above`: one that this input of the sampler comes from."""

    kind: str
    field: str
    above: str = ""


PLACES = {
    "seed": Place(SAMPLER, "seed"),
    "chunks": Place(SAMPLER, "chunks"),
    "pose": Place("HYWorldCameraTrajectory", "path", above="trajectory"),
    "prompt": Place("CLIPTextEncode", "text", above="positive"),
    "negative": Place("CLIPTextEncode", "text", above="negative"),
    "image": Place("LoadImage", "image", above="first_frame"),
}
"""Options by name; `Class.input` and `id.input` are any others."""

OTHER_NAMES = {"path": "pose", "picture": "image"}


class Workflow:
    """The workflow in `file`; `folder` is where pictures are looked for before the server's own.

    text: tells it from others.

    Raises `InputError` for a file that is no workflow in API form.
    """

    def __init__(self, file: Path, folder: Path) -> None:
        self._folder = folder
        try:
            prompt = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise InputError(f"The workflow {file} cannot be read ({error}): give one in API form.") from None
        nodes = prompt.values() if isinstance(prompt, dict) else [None]
        if not all(isinstance(node, dict) and isinstance(node.get("inputs"), dict) for node in nodes):
            raise InputError(f"{file} is not in API form: use Workflow > Export (API) in ComfyUI.")
        self._prompt: Prompt = prompt
        self.text = json.dumps(prompt, sort_keys=True)

    def filled(self, options: Mapping[str, Any]) -> Prompt:
        """The workflow with `options` in it; raises `InputError` for one that has no place, or more than one."""
        prompt = copy.deepcopy(self._prompt)
        for name, value in options.items():
            if value is not None:
                node, field = self._place(name)
                prompt[node]["inputs"][field] = value
        return prompt

    def pictures(self, prompt: Prompt) -> Iterator[tuple[dict[str, Any], Path]]:
        """Inputs of Load Image nodes whose picture is a file beside the lines, with that file."""
        for node in prompt.values():
            name = node["inputs"].get("image")
            if node.get("class_type") == "LoadImage" and isinstance(name, str) and (self._folder / name).is_file():
                yield node["inputs"], self._folder / name

    def _place(self, name: str) -> tuple[str, str]:
        """Node and input."""
        if "." in name:
            kind, _, field = name.rpartition(".")
            found = {kind} if kind in self._prompt else self._of_class(kind)
            found = {node for node in found if field in self._prompt[node]["inputs"]}
        else:
            kind, field, above = PLACES.get(OTHER_NAMES.get(name, name), Place("", ""))
            found = {node for node in self._of_class(kind) if field in self._prompt[node]["inputs"]}
            if len(found) > 1 and above:
                found &= set(self._above(above))
        found = {node for node in found if not isinstance(self._prompt[node]["inputs"][field], list)}  # not wired
        if not found:
            raise InputError(f"the workflow has no place for {name!r}: write Class.input, such as KSampler.seed.")
        if len(found) > 1:
            ids = ", ".join(f"{node}.{field}" for node in sorted(found))
            raise InputError(f"the workflow has several places for {name!r}: write one of {ids}.")
        return found.pop(), field

    def _of_class(self, kind: str) -> set[str]:
        return {name for name, node in self._prompt.items() if node.get("class_type") == kind}

    def _above(self, field: str) -> Iterator[str]:
        """Nodes that an input of the sampler comes from, directly or not."""
        samplers = [self._prompt[node]["inputs"] for node in self._of_class(SAMPLER)]
        coming = [inputs[field] for inputs in samplers if field in inputs]
        seen = set[str]()
        while coming:
            link = coming.pop()
            if not isinstance(link, list) or not link or str(link[0]) in seen or str(link[0]) not in self._prompt:
                continue
            seen.add(str(link[0]))
            yield str(link[0])
            coming += self._prompt[str(link[0])]["inputs"].values()
