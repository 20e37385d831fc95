"""Streaming building blocks of the Wan VAEs under their parameter names. Source: Wan 2.2 `wan/modules/vae2_2.py`.

Where the names count the layers of a Sequential (`residual.2`), a ModuleDict holds only the layers with weights.
Tensors are `[B, C, T, H, W]` unless said otherwise; `stream` carries what a layer keeps between calls.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from ..fp8 import FP8
from .convolution import by_onednn
from .kernels import Cells, per_frame, regular, rms_norm
from .stream import StreamStep

HISTORY = 2
"""Past frames that a causal convolution with three taps reads."""


@dataclass(frozen=True)
class LayerFactory:
    """Creates layers with weights from `torch.nn` or a host's namespace with the same names."""

    operations: Any
    device: Any
    dtype: torch.dtype | None

    def conv2d(self, in_dim: int, out_dim: int, kernel: int, **options: int) -> Any:
        return self.operations.Conv2d(in_dim, out_dim, kernel, device=self.device, dtype=self.dtype, **options)

    def conv3d(self, in_dim: int, out_dim: int, kernel: int | tuple[int, int, int], **options: Any) -> Any:
        layer = by_onednn(self.operations.Conv3d)
        return layer(in_dim, out_dim, kernel, device=self.device, dtype=self.dtype, **options)

    def causal_conv3d(self, in_dim: int, out_dim: int) -> Any:
        """3x3x3 convolution that pads space only; `causal` supplies its past."""
        return self.conv3d(in_dim, out_dim, 3, padding=(0, 1, 1))


def causal(conv: nn.Module, x: Tensor, stream: StreamStep) -> Tensor:
    """Apply a convolution with three taps in time: frame t sees frames t-2, t-1 and t."""
    return conv(stream.extend(x, HISTORY))


def normed(norm: Any, x: Tensor, stream: StreamStep, bias: Tensor | None = None) -> Tensor:
    """RMS norm and SiLU of `x` (`+ bias` `[C]`), preceded by its past: the input of a causal convolution."""
    past = stream.past(x, HISTORY, dtype=x.dtype if norm.factor is None else FP8)
    extended = stream.kernels.norm_silu_extend(x, norm.gain(x), past, bias, factor=norm.factor)
    stream.keep(extended, HISTORY)
    return extended


class RMSNorm(nn.Module):
    """RMS norm over the channels (axis 1), scaled by `gamma`.

    factor: of a norm whose convolution multiplies in fp8, see `kernels.norm_silu_extend`.
    """

    factor: float | None = None

    def __init__(self, dim: int, spatial_axes: int, make: LayerFactory) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(dim, *[1] * spatial_axes, device=make.device, dtype=make.dtype))

    def gain(self, x: Tensor) -> Tensor:
        """`gamma` `[C]` on the device and in the dtype of `x`."""
        return self.gamma.to(x).flatten()

    def forward(self, x: Tensor) -> Tensor:
        return rms_norm(x, self.gain(x))


class ResidualBlock(nn.Module):
    """Twice norm, SiLU and causal convolution, added to the input."""

    def __init__(self, in_dim: int, out_dim: int, make: LayerFactory) -> None:
        super().__init__()
        self.residual = nn.ModuleDict(
            {
                "0": RMSNorm(in_dim, 3, make),
                "2": make.causal_conv3d(in_dim, out_dim),
                "3": RMSNorm(out_dim, 3, make),
                "6": make.causal_conv3d(out_dim, out_dim),
            }
        )
        self.shortcut = None if in_dim == out_dim else make.conv3d(in_dim, out_dim, 1)

    def forward(self, x: Tensor, stream: StreamStep) -> Tensor:
        norm1, conv1, norm2, conv2 = self.residual.values()
        kernels = stream.kernels
        hidden, bias = kernels.convolve(conv1, normed(norm1, x, stream))
        hidden, bias = kernels.convolve(conv2, normed(norm2, hidden, stream, bias))
        shortcut, shortcut_bias = (x, None) if self.shortcut is None else kernels.convolve(self.shortcut, x)
        return kernels.add(shortcut, shortcut_bias, hidden, bias)


class AttentionBlock(nn.Module):
    """Single-head self-attention within each frame."""

    def __init__(self, dim: int, make: LayerFactory) -> None:
        super().__init__()
        self.norm = RMSNorm(dim, 2, make)
        self.to_qkv = make.conv2d(dim, 3 * dim, 1)
        self.proj = make.conv2d(dim, dim, 1)

    def forward(self, x: Tensor, stream: StreamStep) -> Tensor:
        return x + per_frame(partial(self._attend, stream), x)

    def _attend(self, stream: StreamStep, frames: Tensor) -> Tensor:
        qkv = self.to_qkv(regular(self.norm(frames)))
        q, k, v = rearrange(qkv, "N (three C) H W -> three N 1 (H W) C", three=3)
        attended = stream.kernels.attend(q, k, v)
        return self.proj(regular(rearrange(attended, "N 1 (H W) C -> N C H W", H=frames.shape[2])))


class Middle(nn.ModuleList):
    """Residual, attention, residual, at the lowest resolution."""

    def __init__(self, dim: int, make: LayerFactory) -> None:
        super().__init__([ResidualBlock(dim, dim, make), AttentionBlock(dim, make), ResidualBlock(dim, dim, make)])

    def forward(self, x: Tensor, stream: StreamStep) -> Tensor:
        before, attention, after = self
        return after(attention(before(x, stream), stream), stream)


class Head(nn.ModuleDict):
    """Norm, SiLU and the last causal convolution."""

    def __init__(self, in_dim: int, out_dim: int, make: LayerFactory) -> None:
        super().__init__({"0": RMSNorm(in_dim, 3, make), "2": make.causal_conv3d(in_dim, out_dim)})

    def forward(self, x: Tensor, stream: StreamStep) -> Tensor:
        norm, conv = self.values()
        out, bias = stream.kernels.convolve(conv, normed(norm, x, stream))
        return out if bias is None else out + bias.view(-1, 1, 1, 1)


class Downsample(nn.Module):
    """Halve height and width and, if `in_time`, the frames after the stream's first."""

    def __init__(self, dim: int, in_time: bool, make: LayerFactory) -> None:
        super().__init__()
        self.resample = nn.ModuleDict({"1": make.conv2d(dim, dim, 3, stride=2)})
        self.time_conv = make.conv3d(dim, dim, (3, 1, 1), stride=(2, 1, 1)) if in_time else None

    def forward(self, x: Tensor, stream: StreamStep) -> Tensor:
        x = per_frame(lambda frames: self.resample["1"](F.pad(frames, (0, 1, 0, 1))), x)
        if self.time_conv is None:
            return x
        if not stream.begins:
            return self.time_conv(stream.extend(x, 1))
        stream.keep(x, 1)
        first = x[:, :, :1]
        return first if x.shape[2] == 1 else torch.cat((first, self.time_conv(x)), dim=2)


class Upsample(nn.Module):
    """Double height, width and, if `in_time`, the frames after the stream's first.

    spread: how `source`, the input of the stage, is added (`Cells`); None where nothing is.
    """

    def __init__(
        self,
        in_dim: int,
        out_dim: int,
        in_time: bool,
        make: LayerFactory,
        spread: tuple[int, int, int] | None = None,
    ) -> None:
        super().__init__()
        self.time, self.spread = 2 if in_time else 1, spread
        self.resample = nn.ModuleDict({"1": make.conv2d(in_dim, out_dim, 3, padding=1)})
        self.time_conv = make.conv3d(in_dim, 2 * in_dim, (3, 1, 1)) if in_time else None

    def forward(self, x: Tensor, stream: StreamStep, source: Tensor | None = None) -> Tensor:
        if self.time_conv is not None:
            x = self._upsample_time(x, stream)
        cells = None
        if self.spread is not None and source is not None:
            # The first frame of a stream stays one frame: the last of those its source would have grown into.
            cells = Cells(source, self.time, self.spread, skip=self.time - 1 if stream.begins else 0)
        return stream.kernels.double(self.resample["1"], x, cells)

    def _upsample_time(self, x: Tensor, stream: StreamStep) -> Tensor:
        if not stream.begins:
            return self._double_frames(stream.extend(x, HISTORY))
        # As trained: the first frame passes unchanged, and the convolution after it sees zeros as its past.
        past = stream.past(x, HISTORY)
        if x.shape[2] == 1:
            stream.keep(past, HISTORY)
            return x
        extended = torch.cat((past, x[:, :, 1:]), dim=2)
        stream.keep(extended, HISTORY)
        return torch.cat((x[:, :, :1], self._double_frames(extended)), dim=2)

    def _double_frames(self, extended: Tensor) -> Tensor:
        assert self.time_conv is not None
        # Channels last while copying, so that a channels_last tensor stays one.
        doubled = rearrange(self.time_conv(extended), "B (pair C) T H W -> B (T pair) H W C", pair=2)
        return doubled.contiguous().movedim(-1, 1)
