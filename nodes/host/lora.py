"""LoRAs: more names than the host knows, and what it does not say about a LoRA that fits in part or not at all."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import comfy.lora
import comfy.model_patcher

from ...hyworld.weights import lora_layers

OURS = "diffusion_model.blocks.0.self_attn.o_prope.weight"
"""A weight that no other network has."""


@dataclass(frozen=True)
class LoraFile:
    """How much of a LoRA file was taken: the number of its tensors, and those that have no place in the network."""

    tensors: int
    homeless: tuple[str, ...]


def know_more_names() -> None:
    """Have every LoRA loader take all names that `lora_layers` knows, for this network alone.

    The host asks a model neither for names nor tells it about the file, so its `load_lora`, which every loader ends in,
    is wrapped (once). For other networks it does what it did.
    """
    original = comfy.lora.load_lora
    if hasattr(original, "knows_hyworld"):
        return

    @functools.wraps(original)
    def load_lora(lora: Mapping[str, Any], to_load: dict[str, Any], *args: Any, **kwargs: Any) -> dict[Any, Any]:
        weights = [target for target in to_load.values() if isinstance(target, str)]
        if OURS not in weights:
            return original(lora, to_load, *args, **kwargs)
        watched = _Watched(lora)
        ours = (name for name in weights if name.startswith("diffusion_model."))
        patches = original(watched, {**lora_layers(lora, ours), **to_load}, *args, **kwargs)
        file = LoraFile(len(watched), tuple(name for name in watched if name not in watched.read))
        return {key: _of_file(patch, file) for key, patch in patches.items()}

    load_lora.knows_hyworld = True  # type: ignore[attr-defined]
    comfy.lora.load_lora = load_lora


def lora_notes(patcher: comfy.model_patcher.ModelPatcher) -> list[str]:
    """Sentences for the user on LoRAs of this MODEL that change nothing, or less than they hold."""
    notes = [
        "A LoRA changes nothing: none of its tensors has a place in this network, which is a Wan 2.2 TI2V-5B."
        for _ in _steps_without_patches(patcher)
    ]
    shapes = {name: tensor.shape for name, tensor in patcher.model.state_dict().items()}
    for file, patches in _by_file(patcher):
        if file.homeless:
            notes.append(
                f"A LoRA fits only in part: {len(file.homeless)} of its {file.tensors} tensors have no place in this "
                f"network, such as {file.homeless[0]}."
            )
        others = [(key, size) for key, patch in patches if (size := _size(patch)) and not _fits(size, shapes[key])]
        if others:
            key, size = min(others)
            notes.append(
                f"A LoRA is for a model of another size: {len(others)} of the {len(patches)} weights it names stay as "
                f"they are, such as {key.removeprefix('diffusion_model.')}, which is {list(size)} there and "
                f"{list(shapes[key])} here."
            )
        unreached = [key for key, _ in patches if key.endswith("modulation")]
        if unreached:
            notes.append(f"A LoRA changes {len(unreached)} modulation tables, which ComfyUI leaves as they are.")
    return notes


class _Watched(dict[str, Any]):
    """A LoRA file that remembers which of its tensors were read."""

    def __init__(self, lora: Mapping[str, Any]) -> None:
        super().__init__(lora)
        self.read: set[str] = set()

    def __getitem__(self, name: str) -> Any:
        self.read.add(name)
        return super().__getitem__(name)

    def get(self, name: str, default: Any = None) -> Any:
        if name in self:
            self.read.add(name)
        return super().get(name, default)


class _Change(tuple[Any, ...]):
    """The host's tuple for a plain difference, which has no room for the file it is from."""


def _of_file(patch: Any, file: LoraFile) -> Any:
    if type(patch) is tuple:
        patch = _Change(patch)
    patch.hyworld_file = file
    return patch


def _by_file(patcher: Any) -> list[tuple[LoraFile, list[tuple[str, Any]]]]:
    """The files whose patches the MODEL has, and their patches by weight."""
    found: dict[int, tuple[LoraFile, list[tuple[str, Any]]]] = {}
    for key, patches in patcher.patches.items():
        for _, patch, *_ in patches:
            file = getattr(patch, "hyworld_file", None)
            if file is not None:
                found.setdefault(id(file), (file, []))[1].append((key, patch))
    return list(found.values())


def _steps_without_patches(patcher: Any) -> Iterator[Any]:
    """The MODELs on the way to this one that were to be patched, and were not."""
    while patcher.parent is not None:
        before = patcher.parent
        counts = [sum(map(len, model.patches.values())) for model in (before, patcher)]
        if before.patches_uuid != patcher.patches_uuid and counts[0] == counts[1]:
            yield patcher
        patcher = before


def _size(patch: Any) -> tuple[int, ...] | None:
    """Shape of what a patch adds; None where it cannot be told."""
    if getattr(patch, "name", None) == "lora":
        up, down, _, middle, _, reshape = patch.weights
        return None if middle is not None or reshape is not None else (len(up), math.prod(down.shape[1:]))
    if isinstance(patch, tuple) and len(patch) == 2 and patch[0] == "diff":
        return tuple(patch[1][0].shape)
    return None


def _fits(size: tuple[int, ...], shape: tuple[int, ...]) -> bool:
    return math.prod(size) == math.prod(shape)
