"""Read a checkpoint file or folder of any format into named tensors, lazily: views of the memory-mapped file."""

from __future__ import annotations

import json
import pickle
import re
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ..errors import InputError

ENVELOPES = ("generator", "state_dict", "model", "gen_model")
"""Keys that may wrap the weights, one in another too; preferred first."""

EMA = "generator_ema"
"""The key of a second set of weights: the average over training."""

WINDOW_BYTES = 256 << 20
"""Bytes of a mapped file that may become resident before `stream` maps it anew."""

_SNIFFED_BYTES = 512
# The global that weights_only=True refuses, in torch's message.
_CODE_IN_PICKLE = re.compile(r"GLOBAL (\w+(?:\.\w+)+)")
# Errors of torch's unpickler for broken pickles.
_DAMAGE = (
    pickle.UnpicklingError,
    RuntimeError,
    OSError,
    EOFError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    struct.error,
    AssertionError,
)
_NO_EMA = f"has no EMA weights (no {EMA}): leave the choice to the file"
_WEIGHT_SUFFIXES = (".safetensors", ".pt", ".pth", ".bin", ".ckpt")


@dataclass(frozen=True)
class Checkpoint:
    """An opened checkpoint: `state` has the tensors by their stored names, `files` are its weight files.

    metadata: the safetensors header's, with a folder's `config.json` under the key `config`.
    envelope: the key that wrapped the tensors, `EMA` or one of `ENVELOPES`, if any.
    mapped: whether the tensors are views of `files`; those of an old-format pickle are in memory.
    """

    path: Path
    state: dict[str, Tensor] = field(repr=False)
    metadata: dict[str, str]
    envelope: str | None
    files: tuple[Path, ...]
    mapped: bool


def read_checkpoint(path: str | Path, *, ema: bool | None = False) -> Checkpoint:
    """Open a safetensors file, a torch pickle (zip or old format) or a diffusers-layout folder on the CPU.

    ema: read the weights under `EMA`; None: if there are such.

    Formats are told by content. Pickles are read with `weights_only=True`: code in them is never run.
    Raises `InputError` if it is missing, empty, cut short, damaged, not a checkpoint, holds code, or lacks EMA weights
    that were asked for.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f"There is no checkpoint at {path}: check the path.")
    if path.is_dir():
        return _read_folder(path, ema)
    state, metadata, envelope = _read_file(path, ema)
    return Checkpoint(path, state, metadata, envelope, (path,), _mapped(path))


def stream(
    open_state: Callable[[], Mapping[str, Tensor]], names: Iterable[str], *, window: int = WINDOW_BYTES
) -> Iterator[tuple[str, Tensor]]:
    """Yield `(name, tensor)` of a mapped state with little of the file resident at a time.

    Touched pages stay resident, so the state is opened anew after every `window` bytes. Do not keep yielded tensors.
    """
    state: Mapping[str, Tensor] = {}
    touched = window
    for name in names:
        if touched >= window:
            state, touched = open_state(), 0
        touched += state[name].numel() * state[name].element_size()
        yield name, state[name]


def _format(path: Path) -> str:
    """By content: "safetensors", "zip" (`torch.save`) or "pickle" (before torch 1.6); else raises `InputError`."""
    try:
        with path.open("rb") as file:
            start = file.read(_SNIFFED_BYTES)
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}): check the file and its permissions.") from error
    if not start:
        raise InputError(f"{path} is empty (0 bytes): download it again.")
    if start.startswith(b"version https://git-lfs"):
        raise InputError(f"{path} is a Git LFS pointer, not the weights: download the file itself (git lfs pull).")
    if start.lstrip().lower().startswith((b"<!doctype", b"<html", b"<?xml")):
        raise InputError(f"{path} is a web page saved under that name, not the weights: download the file itself.")
    if start.startswith(b"GGUF"):
        raise InputError(f"{path} is a GGUF file, which is not supported: give a safetensors file or model.pt.")
    if start[8:9] == b"{":
        return "safetensors"
    if start.startswith(b"PK\x03\x04"):
        return "zip"
    if start.startswith(b"\x80"):
        return "pickle"
    raise InputError(
        f"{path} is neither safetensors nor a torch checkpoint (it starts with {start[:8]!r}): "
        f"check that the download is complete and is the weight file."
    )


def _read_file(path: Path, ema: bool | None) -> tuple[dict[str, Tensor], dict[str, str], str | None]:
    """Tensors, metadata and envelope of one weight file."""
    kind = _format(path)
    if kind == "safetensors":
        if ema:
            raise InputError(f"{path} {_NO_EMA}.")
        return (*_read_safetensors(path), None)
    if path.suffix == ".safetensors":
        # torch.load goes by the suffix and would read it as safetensors.
        raise InputError(f"{path} is a torch pickle under a safetensors name: rename it to end in .pt.")
    # Only the zip format can be mapped; an old pickle is read into memory.
    state, envelope = _unwrap(_read_pickle(path, mmap=kind == "zip"), path, ema)
    return state, {}, envelope


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    _check_safetensors_size(path)
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, dict(file.metadata() or {})  # noqa: SIM118
    except SafetensorError as error:
        raise InputError(f"{path} is a damaged safetensors file ({error}): download or convert it again.") from error


def _check_safetensors_size(path: Path) -> None:
    """Raise `InputError` with the sizes if the file is cut short, or if its header is unreadable."""
    size = path.stat().st_size
    with path.open("rb") as file:
        (header_bytes,) = struct.unpack("<Q", file.read(8))
        expected = 8 + header_bytes
        if expected <= size:
            try:
                header = json.loads(file.read(header_bytes))
                expected += max(
                    (entry["data_offsets"][1] for entry in header.values() if "data_offsets" in entry), default=0
                )
            except (ValueError, TypeError, LookupError, AttributeError) as error:
                raise InputError(
                    f"{path} has an unreadable safetensors header: download or convert it again."
                ) from error
    if size < expected:
        raise InputError(
            f"{path} is cut short: its header promises {expected:,} bytes and the file has {size:,}; download it again."
        )


def _mapped(*files: Path) -> bool:
    return all(_format(file) != "pickle" for file in files)


def _read_pickle(path: Path, *, mmap: bool) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
    except _DAMAGE as error:
        if code := _CODE_IN_PICKLE.search(str(error)):
            raise InputError(
                f"{path} needs code to open ({code[1]}), which is refused: give a file that holds tensors only "
                f"(safetensors, or torch.save of a state dict)."
            ) from error
        raise InputError(
            f"{path} ({path.stat().st_size:,} bytes) is not a complete torch checkpoint: it is cut short, damaged "
            f"or another kind of archive; download it again."
        ) from error


def _unwrap(loaded: Any, path: Path, ema: bool | None) -> tuple[dict[str, Tensor], str | None]:
    """The state dict inside a pickle, and the envelope key it was under."""
    if not isinstance(loaded, Mapping):
        raise InputError(f"{path} holds a {type(loaded).__name__}, not a dictionary of tensors: give a state dict.")
    keys = ENVELOPES if ema is False else (EMA, *ENVELOPES)
    envelope = next((key for key in keys if isinstance(loaded.get(key), Mapping)), None)
    if ema and envelope != EMA:
        raise InputError(f"{path} {_NO_EMA}.")
    inner = loaded if envelope is None else loaded[envelope]
    while (deeper := next((key for key in ENVELOPES if isinstance(inner.get(key), Mapping)), None)) is not None:
        inner = inner[deeper]
    state = {name: value for name, value in inner.items() if isinstance(name, str) and isinstance(value, Tensor)}
    if not state:
        found = ", ".join(map(str, list(inner)[:3])) or "nothing"
        raise InputError(
            f"{path} holds no tensors at the top or under {', '.join(ENVELOPES)} (found: {found}): "
            f"give the released model.pt or a state dict."
        )
    return state, envelope


def _read_folder(folder: Path, ema: bool | None) -> Checkpoint:
    files, names = _weight_files(folder)
    state: dict[str, Tensor] = {}
    metadata: dict[str, str] = {}
    envelope = None
    for file in files:
        part, metadata, envelope = _read_file(file, ema)
        state.update(part)
    absent = [name for name in names if name not in state]
    if absent:
        raise InputError(
            f"{folder} is incomplete: {len(absent)} tensors of its index are in none of its files "
            f"(first: {absent[0]}); download it again."
        )
    config = folder / "config.json"
    if config.is_file():
        metadata = {"config": config.read_text(encoding="utf-8"), **metadata}
    return Checkpoint(folder, state, metadata, envelope, files, _mapped(*files))


def _weight_files(folder: Path) -> tuple[tuple[Path, ...], tuple[str, ...]]:
    """The weight files of a folder, and the tensor names its index promises (none without an index)."""
    indices = sorted(folder.glob("*.safetensors.index.json"))
    if len(indices) == 1:
        try:
            weight_map = json.loads(indices[0].read_text(encoding="utf-8"))["weight_map"]
            shards = tuple(folder / shard for shard in sorted(set(weight_map.values())))
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise InputError(f"{indices[0]} is not a weight index (no weight_map): download it again.") from error
        absent = [shard.name for shard in shards if not shard.is_file()]
        if absent:
            raise InputError(
                f"{folder} lacks {len(absent)} of its {len(shards)} weight files (first: {absent[0]}): download them."
            )
        return shards, tuple(weight_map)
    files = sorted(file for file in folder.iterdir() if file.suffix in _WEIGHT_SUFFIXES and file.is_file())
    if len(files) == 1:
        return (files[0],), ()
    if files:
        raise InputError(
            f"{folder} holds {len(files)} weight files and no single index ({files[0].name}, {files[1].name}, …): "
            f"give the path of the one to load."
        )
    parts = [name for name in ("transformer", "vae", "text_encoder") if (folder / name).is_dir()]
    if parts:
        raise InputError(f"{folder} is a whole pipeline: give one of its parts ({', '.join(parts)}).")
    raise InputError(f"{folder} holds no weights: expected a .safetensors file, or shards with their index.json.")
