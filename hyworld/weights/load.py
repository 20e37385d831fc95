"""Load networks from checkpoints.

Modules are built on the meta device and take the tensors one by one (assigned, strict), so peak memory stays near the
model's size. On the CPU, tensors that need no cast stay views of the mapped file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from ..config import DiTConfig, VAEConfig, Wan21VAEConfig
from ..dit import WanDiT
from ..errors import InputError
from ..fingerprint import Fingerprint, fingerprint
from ..fp8 import FP8, FP8_DTYPES, QuantiseRows, dequantise, is_quantised_layer, rows_of, split_scales, use_fp8
from ..vae import CausalVAE, TinyDecoder, make_vae
from .files import EMA, Checkpoint, read_checkpoint, stream
from .recognise import check_dit, dit_config_from, dit_shapes, is_base, is_camera_tensor, refuse_misfit, shapes_of
from .remap import dit_to_native
from .remap_tiny import tiny_config_from, tiny_to_native
from .remap_vae import is_vae, refuse_other_vae, vae_config_from, vae_to_native

Module = TypeVar("Module", bound=nn.Module)


@dataclass(frozen=True)
class OpenedDiT:
    """A complete transformer checkpoint, recognised but not read yet.

    state: tensors by native name, in their stored dtypes.
    scales: fp8 scales by weight name.
    base: a Wan model without the camera tensors, which are zeros here (no memory until copied).
    """

    checkpoint: Checkpoint
    config: DiTConfig
    state: dict[str, Tensor] = field(repr=False)
    scales: dict[str, Tensor] = field(repr=False)
    base: bool

    @property
    def fingerprint(self) -> Fingerprint:
        """See `fingerprint`."""
        return fingerprint(self.state, self.scales)

    def reopen(self) -> dict[str, Tensor]:
        """`state` over a fresh mapping of the file, so that pages read so far can be freed."""
        if not self.checkpoint.mapped:
            return self.state
        ema = self.checkpoint.envelope == EMA
        return open_dit(self.checkpoint.path, allow_base=self.base, head_dim=self.config.head_dim, ema=ema).state


def open_dit(
    path: str | Path, *, allow_base: bool = False, head_dim: int | None = None, ema: bool | None = None
) -> OpenedDiT:
    """Open the transformer at `path` (see `read_checkpoint`) and check it.

    allow_base: make a base Wan 2.2 TI2V-5B a network with cameras, with zeros for action and camera control.
    head_dim: channels per attention head, for small models whose file does not say.
    ema: of a file with two sets of weights the averaged one; None: so where there is one, but for HY-WorldPlay's, whose
        few-step model is the other.

    Raises `InputError` as `read_checkpoint`, `dit_config_from` and `check_dit`.
    """
    checkpoint = read_checkpoint(path, ema=ema)
    try:
        state, scales = split_scales(dit_to_native(checkpoint.state))
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    if ema is None and checkpoint.envelope == EMA and any(map(is_camera_tensor, state)):
        return open_dit(path, allow_base=allow_base, head_dim=head_dim, ema=False)
    config = dit_config_from(state, checkpoint.metadata, head_dim=head_dim, name=str(path))
    check_dit(state, config, name=str(path))
    base = allow_base and is_base(config)
    if base:
        config = replace(config, cameras=True)
    zero = torch.zeros((), dtype=state["patch_embedding.weight"].dtype)
    complete = {key: state.get(key, zero.expand(shape)) for key, shape in dit_shapes(config).items()}
    return OpenedDiT(checkpoint, config, complete, scales, base)


def load_dit(
    path: str | Path,
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype | None = torch.bfloat16,
    operations: Any = torch.nn,
    allow_base: bool = False,
    head_dim: int | None = None,
    ema: bool | None = None,
    fp8: QuantiseRows | None = None,
) -> WanDiT:
    """The transformer at `path`, in eval mode and without gradients; errors and other arguments as `open_dit`.

    dtype: None keeps the stored one, except that fp8 becomes bfloat16.
    operations: namespace of the layer classes.
    fp8: rounds the inputs of the blocks' Linears, which then multiply in fp8. Weights that are not float8_e4m3fn in the
        file are rounded while loading, one at a time.
    """
    opened = open_dit(path, allow_base=allow_base, head_dim=head_dim, ema=ema)
    state: dict[str, Tensor] = {}
    row_scales: dict[str, Tensor] = {}
    for name, tensor in stream(opened.reopen, opened.state):
        scale = opened.scales.get(name)
        if fp8 is not None and is_quantised_layer(name):
            if tensor.dtype != FP8:
                tensor, scale = _placed(tensor, scale, device, torch.float32), None
            state[name], row_scales[name] = rows_of(tensor.to(device), scale)
        else:
            state[name] = _placed(tensor, scale, device, dtype)
    model = _filled(WanDiT(opened.config, operations=operations, device="meta", dtype=dtype), state)
    model.fingerprint = opened.fingerprint
    if fp8 is not None:
        state.clear()
        use_fp8(model, fp8, row_scales)
    return model


@dataclass(frozen=True)
class OpenedVAE:
    """A complete Wan VAE checkpoint under native names, recognised but not read yet."""

    checkpoint: Checkpoint
    config: VAEConfig
    state: dict[str, Tensor] = field(repr=False)

    def reopen(self) -> dict[str, Tensor]:
        """See `OpenedDiT.reopen`."""
        return open_vae(self.checkpoint.path).state if self.checkpoint.mapped else self.state


def open_vae(path: str | Path, *, latent_channels: int | None = None) -> OpenedVAE:
    """Open the VAE at `path` (native or diffusers names).

    latent_channels: those of the network that the VAE is for.

    Raises `InputError` unless it is a complete Wan 2.2 or Wan 2.1 VAE, and of so many channels if they are given.
    """
    checkpoint = read_checkpoint(path)
    try:
        state = vae_to_native(checkpoint.state)
        config = vae_config_from(state, checkpoint.metadata)
        if latent_channels is not None:
            refuse_other_vae(config, latent_channels)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    version = "2.1" if isinstance(config, Wan21VAEConfig) else "2.2"
    _refuse_misfit(make_vae(config, device="meta"), state, path, f"the Wan {version} VAE")
    return OpenedVAE(checkpoint, config, state)


def load_vae(
    path: str | Path,
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype | None = None,
    operations: Any = torch.nn,
    latent_channels: int | None = None,
) -> CausalVAE:
    """The VAE at `path`, in eval mode, without gradients; `dtype` None keeps the stored one. Raises as `open_vae`."""
    opened = open_vae(path, latent_channels=latent_channels)
    state = {name: _placed(tensor, None, device, dtype) for name, tensor in opened.state.items()}
    vae = _filled(make_vae(opened.config, operations=operations, device="meta", dtype=dtype), state)
    vae.fingerprint = fingerprint(opened.state)
    return vae


def load_decoder(
    path: str | Path,
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype | None = None,
    latent_channels: int | None = None,
) -> TinyDecoder | CausalVAE:
    """The decoder at `path`: a tiny one, or that of a Wan VAE, such as a narrower one, whose encoder is left out.

    Otherwise as `load_vae` and `load_tiny_decoder`.
    """
    if not is_vae(read_checkpoint(path).state):
        return load_tiny_decoder(path, device=device, dtype=dtype)
    vae = load_vae(path, device=device, dtype=dtype, latent_channels=latent_channels)
    vae.forget_encoder()
    return vae


def load_tiny_decoder(
    path: str | Path,
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype | None = None,
    operations: Any = torch.nn,
    raw_latents: bool | None = None,
) -> TinyDecoder:
    """The decoder of TAEHV at `path`, otherwise as `load_vae`; an encoder in the file is left out.

    raw_latents: see `tiny_config_from`.
    """
    stored = read_checkpoint(path).state
    try:
        config = tiny_config_from(stored, Path(path).name, raw_latents=raw_latents)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    decoder = TinyDecoder(config, operations=operations, device="meta", dtype=dtype)
    native = tiny_to_native(stored, shapes_of(decoder))
    state = {name: _placed(tensor, None, device, dtype) for name, tensor in native.items()}
    _refuse_misfit(decoder, state, path, "the tiny decoder")
    return _filled(decoder, state)


def _refuse_misfit(module: nn.Module, state: Mapping[str, Tensor], path: str | Path, network: str) -> None:
    refuse_misfit(state, shapes_of(module), str(path), network)


def _placed(tensor: Tensor, scale: Tensor | None, device: torch.device | str, dtype: torch.dtype | None) -> Tensor:
    """`tensor` on `device` in `dtype`; cast there, where it is fast."""
    if dtype is None:
        dtype = torch.bfloat16 if tensor.dtype in FP8_DTYPES else tensor.dtype
    return dequantise(tensor.to(device), scale, dtype).contiguous()


def _filled(module: Module, state: Mapping[str, Tensor]) -> Module:
    module.load_state_dict(state, strict=True, assign=True)
    return module.eval().requires_grad_(False)
