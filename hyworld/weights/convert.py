"""Any checkpoint, such as `model.pt` (49 GB), to one safetensors file of the dtype and layout asked for.

Tensors go through one at a time, within 1 GB of memory (docs/benchmarks.md). The file is written under a temporary
name beside the target, read back and compared, then renamed.
"""

from __future__ import annotations

import errno
import json
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor

from ..atomic import check_new_file, discard, publish, temporary_name
from ..config import DiTConfig, VAEConfig
from ..errors import InputError
from ..fp8 import FP8, FP8_DTYPES, MARKER, dequantise, is_quantised_layer, marker, quantise, scale_name
from .files import Checkpoint, read_checkpoint, stream
from .load import OpenedDiT, OpenedVAE, open_dit, open_vae
from .recognise import UnknownHeadSizeError, is_vae
from .remap import clean_key, dit_to_diffusers
from .writer import SafetensorsWriter, Spec, data_bytes

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32, "fp8": torch.bfloat16}
"""With fp8, tensors that are not quantised are bfloat16."""

LAYOUTS = ("native", "diffusers")

CONVERTER = "hyworld 1"
"""Written to the metadata; raise the number when older files should be converted again."""

_SAMPLES = 16

_ANY_HEAD_DIM = 4
"""Placeholder for a head size that no file states; every width is a multiple of it."""


@dataclass(frozen=True)
class ConvertReport:
    """What `convert` wrote; `bytes` is the file's size, `base` says that the camera tensors are zeros."""

    source: Path
    target: Path
    kind: str
    dtype: str
    layout: str
    config: DiTConfig | VAEConfig
    tensors: int
    bytes: int
    base: bool


def convert(
    source: str | Path,
    target: str | Path,
    *,
    dtype: str = "bf16",
    layout: str = "native",
    allow_base: bool = False,
    head_dim: int | None = None,
    ema: bool | None = None,
    overwrite: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> ConvertReport:
    """Write the transformer or VAE at `source` to the safetensors file `target`.

    source: anything `read_checkpoint` opens.
    target: ends in .safetensors, in an existing folder.
    dtype: "bf16", "fp16", "fp32", or (transformer only) "fp8", see `fp8`.
    layout: "native" (Wan names) or (transformer only) "diffusers" (the released names).
    allow_base, head_dim, ema: see `open_dit`.
    overwrite: replace an existing target.
    progress: called with (bytes written, total bytes) after every tensor.

    Raises `InputError` for an unreadable source or another model, a target that cannot be written, too little disk
    space, or numbers beyond the dtype. The target is then unchanged.
    """
    source, target = Path(source), Path(target)
    if dtype not in DTYPES:
        raise InputError(f"There is no dtype {dtype!r} to convert to: choose one of {', '.join(DTYPES)}.")
    if layout not in LAYOUTS:
        raise InputError(f"There is no layout {layout!r} to convert to: choose one of {', '.join(LAYOUTS)}.")
    opened, head_size_known = _open(source, allow_base=allow_base, head_dim=head_dim, ema=ema)
    if isinstance(opened, OpenedVAE) and (dtype == "fp8" or layout == "diffusers"):
        raise InputError(
            f"{source} is a VAE, which is written in the native layout and not in fp8: choose bf16 or fp32."
        )
    _check_target(opened.checkpoint, target, overwrite)

    recipe = _Recipe(opened, dtype, layout, head_size_known)
    total = data_bytes(recipe.specs)
    _check_space(target, total)
    part = temporary_name(target)
    try:
        with SafetensorsWriter(part, recipe.specs, recipe.metadata()) as writer:
            done = 0
            for name, tensor in recipe.tensors(opened.state):
                writer.write(name, tensor)
                done += tensor.numel() * tensor.element_size()
                if progress is not None:
                    progress(done, total)
        _verify(part, recipe)
        size = part.stat().st_size
        publish(part, target, overwrite=overwrite)
    except OSError as error:
        raise InputError(f"{target} could not be written ({_reason(error, total)}): choose another folder.") from error
    finally:
        discard(part)
    return ConvertReport(
        source=source,
        target=target,
        kind="transformer" if isinstance(opened, OpenedDiT) else "vae",
        dtype=dtype,
        layout=layout,
        config=opened.config,
        tensors=len(recipe.specs),
        bytes=size,
        base=isinstance(opened, OpenedDiT) and opened.base,
    )


def _open(
    source: Path, *, allow_base: bool = False, head_dim: int | None = None, ema: bool | None = None
) -> tuple[OpenedDiT | OpenedVAE, bool]:
    """The checkpoint, and whether its head size is known; no shape depends on it, so copying works without it."""
    if is_vae(map(clean_key, read_checkpoint(source, ema=ema).state)):
        return open_vae(source), True
    try:
        return open_dit(source, allow_base=allow_base, head_dim=head_dim, ema=ema), True
    except UnknownHeadSizeError:
        return open_dit(source, allow_base=allow_base, head_dim=_ANY_HEAD_DIM, ema=ema), False


class _Recipe:
    """How source tensors become target tensors: names, dtypes, values."""

    def __init__(self, opened: OpenedDiT | OpenedVAE, dtype: str, layout: str, head_size_known: bool) -> None:
        self.opened = opened
        self._head_size_known = head_size_known
        self._scales = opened.scales if isinstance(opened, OpenedDiT) else {}
        self._dtype = DTYPES[dtype]
        self._fp8 = dtype == "fp8"
        specs: dict[str, Spec] = {}
        for name, tensor in opened.state.items():
            specs[name] = (FP8 if self._quantises(name) else self._dtype, tuple(tensor.shape))
            if self._quantises(name):
                specs[scale_name(name)] = (torch.float32, ())
        if self._fp8:
            specs[MARKER] = (FP8, tuple(marker().shape))
        native = {name: name for name in specs}
        self._target_names = (
            {ours: theirs for theirs, ours in dit_to_diffusers(native).items()} if layout == "diffusers" else native
        )
        self.specs = {self._target_names[name]: spec for name, spec in specs.items()}

    def tensors(self, names: Iterable[str]) -> Iterator[tuple[str, Tensor]]:
        """Target names and tensors made of the source tensors of these native names."""
        for source_name, tensor in stream(self.opened.reopen, names):
            for name, made in self._made(source_name, tensor):
                yield self._target_names[name], made
        if self._fp8:
            yield MARKER, marker()

    def metadata(self) -> dict[str, str]:
        """Metadata in the target's header."""
        return {
            "format": "pt",
            "config": json.dumps(self._stated_sizes()),
            "source": self.opened.checkpoint.path.name,
            "converter": CONVERTER,
        }

    def _stated_sizes(self) -> dict[str, object]:
        unknown = () if self._head_size_known else ("heads", "hd")
        return {name: size for name, size in _stated(self.opened.config).items() if name not in unknown}

    def _quantises(self, name: str) -> bool:
        return self._fp8 and is_quantised_layer(name)

    def _made(self, name: str, tensor: Tensor) -> Iterator[tuple[str, Tensor]]:
        wide = tensor
        if tensor.dtype in FP8_DTYPES:
            wide = dequantise(tensor, self._scales.get(name), torch.float32)
        if not _is_finite(wide):
            raise InputError(
                f"{self.opened.checkpoint.path} is damaged, {name} holds NaN or infinity: download it again."
            )
        if self._quantises(name):
            weight, scale = quantise(wide)
            yield name, weight
            yield scale_name(name), scale
            return
        narrow = wide.to(self._dtype)
        if not _is_finite(narrow):
            raise InputError(
                f"{name} of {self.opened.checkpoint.path} holds {wide.abs().max().item():.6g}, beyond what "
                f"{str(self._dtype).removeprefix('torch.')} can hold: convert to bf16 instead."
            )
        yield name, narrow


def _is_finite(tensor: Tensor) -> bool:
    # Unlike isfinite(), aminmax() needs no memory; its results are NaN if any element is.
    return bool(torch.stack(tensor.aminmax()).isfinite().all())


def _stated(config: DiTConfig | VAEConfig) -> dict[str, object]:
    """The sizes under the original programs' names."""
    if isinstance(config, DiTConfig):
        return {
            "heads": config.num_heads,
            "hd": config.head_dim,
            "cin": config.latent_channels,
            "text_dim": config.text_dim,
            "freq": config.freq_dim,
            "ffn": config.ffn_dim,
            "layers": config.num_layers,
        }
    return {
        "dim": config.encoder_dim,
        "dec_dim": config.decoder_dim,
        "z_dim": config.z_dim,
        "dim_mult": config.dim_mult,
        "num_res_blocks": config.num_res_blocks,
        "temperal_downsample": config.temporal_downsample,
        "latents_mean": config.latents_mean,
        "latents_std": config.latents_std,
    }


def _check_target(checkpoint: Checkpoint, target: Path, overwrite: bool) -> None:
    if target.resolve() in {file.resolve() for file in checkpoint.files}:
        raise InputError(f"The target {target} is the source itself: choose another name.")
    check_new_file(target, ".safetensors", overwrite=overwrite)


def _check_space(target: Path, needed: int) -> None:
    free = shutil.disk_usage(target.parent).free
    if free < needed:
        raise InputError(
            f"There is not enough disk space in {target.parent}: {needed / 1e9:.2f} GB are needed "
            f"and {free / 1e9:.2f} GB are free; free some, or choose another folder."
        )


def _reason(error: OSError, needed: int) -> str:
    full = error.errno == errno.ENOSPC
    return f"the disk filled up, {needed / 1e9:.2f} GB are needed" if full else str(error.strerror or error)


def _verify(written: Path, recipe: _Recipe) -> None:
    """Open the file as users would, and compare a sample of its tensors with the source."""
    stored = {name: (tensor.dtype, tuple(tensor.shape)) for name, tensor in read_checkpoint(written).state.items()}
    opened, _ = _open(written)
    if stored != recipe.specs or opened.config != recipe.opened.config:
        raise RuntimeError(f"{written} does not hold the tensors that were written to it.")

    names = list(opened.state)
    for name, made in recipe.tensors(names[:: max(1, len(names) // _SAMPLES)]):
        with safe_open(written, framework="pt") as file:
            same = torch.equal(_raw(file.get_tensor(name)), _raw(made))
        if not same:
            raise RuntimeError(
                f"{name} reads back from {written} otherwise than it was written: check disk and memory."
            )


def _raw(tensor: Tensor) -> Tensor:
    """Bytes, because fp8 tensors have no comparison."""
    return tensor.contiguous().reshape(-1).view(torch.uint8)
