"""LoRAs: more names than the host knows, and what it does not say about a LoRA that fits in part or not at all."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import comfy.lora
import comfy.model_patcher

from ...hyworld.config import Wan21VAEConfig
from ...hyworld.weights import lora_layers
from .model import WorldPlayModel

MARK = "hyworld"
"""Among the names of a network's layers: it is one of ours. No file has such a layer."""


@dataclass(frozen=True)
class LoraFile:
    """How much of a LoRA file was taken: the number of its tensors, and those that have no place in the network."""

    tensors: int
    homeless: tuple[str, ...]


def know_more_names() -> None:
    """Have every LoRA loader take all names that `lora_layers` knows, for this network alone.

    The host asks a model neither for names nor tells it about the file, so its `load_lora`, which every loader ends in,
    and the function that lists a network's layers for it are wrapped (once). For other networks they do what they did.
    """
    original, list_layers = comfy.lora.load_lora, comfy.lora.model_lora_keys_unet
    if hasattr(original, "knows_hyworld"):
        return

    @functools.wraps(list_layers)
    def model_lora_keys_unet(model: Any, key_map: Any = None) -> Any:
        layers = list_layers(model, {} if key_map is None else key_map)
        if isinstance(model, WorldPlayModel):
            layers[MARK] = "diffusion_model.patch_embedding.weight"
        return layers

    @functools.wraps(original)
    def load_lora(lora: Mapping[str, Any], to_load: dict[str, Any], *args: Any, **kwargs: Any) -> dict[Any, Any]:
        if MARK not in to_load:
            return original(lora, to_load, *args, **kwargs)
        to_load = {name: target for name, target in to_load.items() if name != MARK}
        weights = [target for target in to_load.values() if isinstance(target, str)]
        watched = _Watched(lora)
        ours = (name for name in weights if name.startswith("diffusion_model."))
        patches = original(watched, {**lora_layers(lora, ours), **to_load}, *args, **kwargs)
        file = LoraFile(len(watched), tuple(name for name in watched if name not in watched.read))
        return {key: _of_file(patch, file) for key, patch in patches.items()}

    load_lora.knows_hyworld = True  # type: ignore[attr-defined]
    comfy.lora.load_lora, comfy.lora.model_lora_keys_unet = load_lora, model_lora_keys_unet


def lora_notes(patcher: comfy.model_patcher.ModelPatcher) -> list[str]:
    """Sentences for the user on LoRAs of this MODEL that change nothing, or less than they hold."""
    notes = [
        f"A LoRA changes nothing: none of its tensors has a place in this network, which is {_kind(patcher)}."
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


def _kind(patcher: Any) -> str:
    config = patcher.model.diffusion_model.config
    if config.latent_channels != Wan21VAEConfig.z_dim:
        return "a Wan 2.2 TI2V-5B"
    return f"a Wan 2.1 of {config.num_layers} blocks {config.dim} wide"


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
