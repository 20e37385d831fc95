"""The functions of `kernels` as Triton kernels: one pass over memory where PyTorch takes several.

Intermediate precision and rounding are those of `kernels`, except around the GELU of `feed_forward`.
Each program handles one token: a row of the residual stream or all its heads, padded to a power of two (`BLOCK`).
Shape suffixes: B batch, F frames, S tokens per frame, N = F * S, H heads, D head dim, E = H * D.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor, nn

from ..fp8 import FP8, FP8_MAX, Fp8Linear, Rounded
from . import kernels as plain
from .kernels import Attend, Kernels, RopeTables, sdpa

_FP8_MAX = tl.constexpr(FP8_MAX)

# gelu(x) = x / (1 + 2^(x (a + b x^2))), its tanh approximation: a = -2 sqrt(2 / pi) / ln 2, b = 0.044715 a.
_GELU_A, _GELU_B = tl.constexpr(-2.302208198144325), tl.constexpr(-0.10294323958002351)

_SMALLEST = tl.constexpr(1e-30)
"""Rows below it are rounded to zeros: the reciprocal of their scale may be infinite."""

WARPS = 4
"""Measured on an H200 at E = 3072; 8 is slower for the kernels that move the most data."""


def kernels(attend: Attend = sdpa) -> Kernels:
    """The fused functions with `attend`."""
    return Kernels(
        attend,
        modulated_norm,
        gated_add,
        gated_add_norm,
        add_modulated_norm,
        branches,
        project,
        camera_heads,
        feed_forward,
    )


def modulated_norm(
    x_BFSE: Tensor, shift: Tensor, scale: Tensor, eps: float, *, to_fp8: bool = False
) -> Tensor | Rounded:
    x = x_BFSE.contiguous()
    B, num_frames, S, E = x.shape
    out, scales = _like(x, to_fp8)
    _modulated_norm[(B * num_frames * S,)](
        x, shift, scale, out, scales, eps, S, shift.stride(0), shift.stride(1), num_frames, E, _block(E), to_fp8,
        num_warps=WARPS,
    )  # fmt: skip
    return Rounded(out, scales) if to_fp8 else out


def gated_add(x_BFSE: Tensor, update: Tensor, gate: Tensor) -> Tensor:
    x, update = x_BFSE.contiguous(), update.contiguous()
    B, num_frames, S, E = x.shape
    out = torch.empty_like(x)
    _gated_add[(B * num_frames * S,)](
        x, update, gate, out, S, gate.stride(0), gate.stride(1), num_frames, E, _block(E), num_warps=WARPS
    )
    return out


def gated_add_norm(
    x_BFSE: Tensor, updates: tuple[Tensor, ...], gate: Tensor, norm: nn.Module, *, to_fp8: bool = False
) -> tuple[Tensor, Tensor | Rounded]:
    if type(norm) is not nn.LayerNorm:  # a host's, as in `branches`
        x = gated_add(x_BFSE, sum(updates[1:], updates[0]), gate)
        return x, norm(x)
    assert len(updates) <= 2, "no network has more branches"
    x, first, second = x_BFSE.contiguous(), updates[0].contiguous(), updates[-1].contiguous()
    B, num_frames, S, E = x.shape
    out, (normed, scales) = torch.empty_like(x), _like(x, to_fp8)
    _gated_add_norm[(B * num_frames * S,)](
        x, first, second, gate, norm.weight, norm.bias, out, normed, scales, norm.eps,
        S, gate.stride(0), gate.stride(1), num_frames, E, _block(E), len(updates) > 1, to_fp8, num_warps=WARPS,
    )  # fmt: skip
    return out, Rounded(normed, scales) if to_fp8 else normed


def add_modulated_norm(
    x_BFSE: Tensor, update: Tensor, shift: Tensor, scale: Tensor, eps: float, *, to_fp8: bool = False
) -> tuple[Tensor, Tensor | Rounded]:
    x, update = x_BFSE.contiguous(), update.contiguous()
    B, num_frames, S, E = x.shape
    out, (normed, scales) = torch.empty_like(x), _like(x, to_fp8)
    _add_modulated_norm[(B * num_frames * S,)](
        x, update, shift, scale, out, normed, scales, eps, S, shift.stride(0), shift.stride(1), num_frames,
        E, _block(E), to_fp8, num_warps=WARPS,
    )  # fmt: skip
    return out, Rounded(normed, scales) if to_fp8 else normed


def _like(x: Tensor, to_fp8: bool) -> tuple[Tensor, Tensor]:
    """Room for rows as those of `x`, and for their scales if they are rounded."""
    if not to_fp8:
        return torch.empty_like(x), x
    return torch.empty_like(x, dtype=FP8), x.new_empty(x.numel() // x.shape[-1], 1, dtype=torch.float32)


def branches(
    x_BFSE: Tensor,
    heads: int,
    norm: nn.Module | None,
    rope: RopeTables | None,
    matrix: Tensor | None,
    out: Tensor | None = None,
    factors: Tensor | None = None,
) -> Tensor:
    """With factors, rounded to fp8: see `fp8_attention.branches`."""
    if factors is None and matrix is None and norm is None and rope is None and out is None:  # no work
        return plain.branches(x_BFSE, heads, None, None, None)
    gain, eps = None, 0.0
    if type(norm) is nn.RMSNorm:
        gain, eps = norm.weight, norm.eps or 0.0
    elif norm is not None:
        x_BFSE = norm(x_BFSE)  # a host's layer may fetch or patch its weight: only it knows how
    x = x_BFSE if even_rows(x_BFSE) else x_BFSE.contiguous()
    B, num_frames, S, E = x.shape
    D, N = E // heads, num_frames * S
    if out is None:
        # Token-major, so that attention's output for these queries can be read as rows without a copy.
        dtype = x.dtype if factors is None else FP8
        out = x.new_empty((1 if matrix is None else 2) * B, N, heads, D, dtype=dtype).transpose(1, 2)
    cos, sin = rope or (x, x)
    scaled = factors is not None
    if matrix is None:
        _rope_branch[(B * N,)](
            x, x if gain is None else gain, cos, sin, factors if scaled else x, out, eps,
            N, x.stride(2), out.stride(0), out.stride(1), out.stride(2),
            E, D, _block(E), gain is not None, rope is not None, scaled, num_warps=WARPS,
        )  # fmt: skip
        return out
    _branches[(B * N,)](
        x, x if gain is None else gain, cos, sin, matrix.contiguous(), factors if scaled else x, out, eps,
        N, S, x.stride(2), B * out.stride(0), out.stride(0), out.stride(1), out.stride(2),
        E, D, _block(E), gain is not None, rope is not None, scaled, num_warps=WARPS,
    )  # fmt: skip
    return out


def camera_heads(x_BFSE: Tensor, heads: int, norm: nn.Module | None, matrix: Tensor) -> Tensor:
    gain, eps = None, 0.0
    if type(norm) is nn.RMSNorm:
        gain, eps = norm.weight, norm.eps or 0.0
    elif norm is not None:
        x_BFSE = norm(x_BFSE)  # as in `branches`
    x = x_BFSE if even_rows(x_BFSE) else x_BFSE.contiguous()
    B, num_frames, S, E = x.shape
    D, N = E // heads, num_frames * S
    out = x.new_empty(B, N, heads, D).transpose(1, 2)
    _camera_heads[(B * N,)](
        x, x if gain is None else gain, matrix.contiguous(), out, eps,
        N, S, x.stride(2), out.stride(0), out.stride(1), out.stride(2),
        E, D, _block(E), gain is not None, num_warps=WARPS,
    )  # fmt: skip
    return out


def project(x_BHND: Tensor, matrix: Tensor, *, to_fp8: bool = False) -> Tensor | Rounded:
    x = x_BHND
    B, H, N, D = x.shape
    num_frames = matrix.shape[1]
    out = x.new_empty(B, num_frames, N // num_frames, H * D, dtype=FP8 if to_fp8 else x.dtype)
    scales = x.new_empty(B * N if to_fp8 else 0, 1, dtype=torch.float32)
    _project_heads[(B * N,)](
        x, matrix.contiguous(), out, scales, N, N // num_frames, x.stride(0), x.stride(1), x.stride(2),
        H * D, D, _block(H * D), to_fp8, num_warps=WARPS,
    )  # fmt: skip
    return Rounded(out, scales) if to_fp8 else out


def feed_forward(ffn: nn.Sequential, x_BFSE: Tensor | Rounded) -> Tensor:
    """cuBLAS applies the GELU to the first product before it is stored."""
    up, _, down = ffn
    if isinstance(up, Fp8Linear) and isinstance(down, Fp8Linear):
        hidden = up(x_BFSE)
        return down.product(*_quantise(hidden.flatten(0, 2), gelu=True)).view(x_BFSE.shape)
    assert isinstance(x_BFSE, Tensor)
    if type(up) is not nn.Linear or not x_BFSE.is_cuda:  # elsewhere torch applies another GELU
        return ffn(x_BFSE)
    hidden = torch._addmm_activation(up.bias, x_BFSE.flatten(0, 2), up.weight.t(), use_gelu=True)
    return down(hidden).view_as(x_BFSE)


def quantise_rows(x: Tensor) -> tuple[Tensor, Tensor]:
    """See `fp8.quantise_rows`."""
    return _quantise(x, gelu=False)


def _quantise(x: Tensor, *, gelu: bool) -> tuple[Tensor, Tensor]:
    x = x.contiguous()
    N, E = x.shape
    out, scale = torch.empty_like(x, dtype=FP8), x.new_empty(N, 1, dtype=torch.float32)
    _quantise_rows[(N,)](x, out, scale, E, gelu, _block(E), num_warps=WARPS)
    return out, scale


def even_rows(x_BFSE: Tensor) -> bool:
    """Whether the rows of all frames have one stride, as in a slice of wider rows."""
    B, num_frames, S, _ = x_BFSE.shape
    row = x_BFSE.stride(2)
    return x_BFSE.stride() == (num_frames * S * row, S * row, row, 1) or (
        B == 1 and x_BFSE.stride()[1:] == (S * row, row, 1)
    )


def _block(width: int) -> int:
    return triton.next_power_of_2(width)


@triton.jit
def _modulated_norm(
    x_ptr, shift_ptr, scale_ptr, out_ptr, scales_ptr, eps, tokens_per_frame, batch_stride, frame_stride, frames,
    E: tl.constexpr, BLOCK: tl.constexpr, TO_FP8: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    frame = row // tokens_per_frame
    at = _elements(BLOCK, 4)
    inside = at < E
    mod = frame // frames * batch_stride + frame % frames * frame_stride + at
    x = tl.load(x_ptr + row * E + at, mask=inside, other=0.0).to(tl.float32)
    out = _normed(x, inside, eps, E) * (1.0 + tl.load(scale_ptr + mod, mask=inside, other=0.0))
    out += tl.load(shift_ptr + mod, mask=inside, other=0.0)
    _store_row(out_ptr + row * E + at, scales_ptr + row, out.to(x_ptr.dtype.element_ty), inside, TO_FP8)


@triton.jit
def _gated_add(
    x_ptr, update_ptr, gate_ptr, out_ptr, tokens_per_frame, batch_stride, frame_stride, frames,
    E: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    frame = row // tokens_per_frame
    at = _elements(BLOCK, 4)
    inside = at < E
    x = tl.load(x_ptr + row * E + at, mask=inside).to(tl.float32)
    update = tl.load(update_ptr + row * E + at, mask=inside).to(tl.float32)
    gate = tl.load(gate_ptr + frame // frames * batch_stride + frame % frames * frame_stride + at, mask=inside)
    tl.store(out_ptr + row * E + at, (x + update * gate).to(out_ptr.dtype.element_ty), mask=inside)


@triton.jit
def _gated_add_norm(
    x_ptr, first_ptr, second_ptr, gate_ptr, weight_ptr, bias_ptr, out_ptr, normed_ptr, scales_ptr, eps,
    tokens_per_frame, batch_stride, frame_stride, frames,
    E: tl.constexpr, BLOCK: tl.constexpr, TWO: tl.constexpr, TO_FP8: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    frame = row // tokens_per_frame
    at = _elements(BLOCK, 4)
    inside = at < E
    kept = out_ptr.dtype.element_ty
    x = tl.load(x_ptr + row * E + at, mask=inside, other=0.0).to(tl.float32)
    update = tl.load(first_ptr + row * E + at, mask=inside, other=0.0).to(tl.float32)
    if TWO:
        update += tl.load(second_ptr + row * E + at, mask=inside, other=0.0).to(tl.float32)
        update = update.to(kept).to(tl.float32)
    gate = frame // frames * batch_stride + frame % frames * frame_stride + at
    x = (x + update * tl.load(gate_ptr + gate, mask=inside, other=0.0)).to(kept)
    tl.store(out_ptr + row * E + at, x, mask=inside)
    weight = tl.load(weight_ptr + at, mask=inside, other=0.0).to(tl.float32)
    normed = _normed(x.to(tl.float32), inside, eps, E) * weight
    normed += tl.load(bias_ptr + at, mask=inside, other=0.0).to(tl.float32)
    _store_row(normed_ptr + row * E + at, scales_ptr + row, normed.to(kept), inside, TO_FP8)


@triton.jit
def _add_modulated_norm(
    x_ptr, update_ptr, shift_ptr, scale_ptr, out_ptr, normed_ptr, scales_ptr, eps,
    tokens_per_frame, batch_stride, frame_stride, frames,
    E: tl.constexpr, BLOCK: tl.constexpr, TO_FP8: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    frame = row // tokens_per_frame
    at = _elements(BLOCK, 4)
    inside = at < E
    kept = out_ptr.dtype.element_ty
    x = tl.load(x_ptr + row * E + at, mask=inside, other=0.0).to(tl.float32)
    x = (x + tl.load(update_ptr + row * E + at, mask=inside, other=0.0).to(tl.float32)).to(kept)
    tl.store(out_ptr + row * E + at, x, mask=inside)
    mod = frame // frames * batch_stride + frame % frames * frame_stride + at
    normed = _normed(x.to(tl.float32), inside, eps, E) * (1.0 + tl.load(scale_ptr + mod, mask=inside, other=0.0))
    normed += tl.load(shift_ptr + mod, mask=inside, other=0.0)
    _store_row(normed_ptr + row * E + at, scales_ptr + row, normed.to(kept), inside, TO_FP8)


@triton.jit
def _elements(BLOCK: tl.constexpr, NEIGHBOURS: tl.constexpr):
    """Their numbers; a thread gets so many neighbours at a time.

    Else what is stored decides: 16 if it is fp8, and a thread reads 64 bytes of float32 vectors, far from the next's.
    """
    return tl.max_contiguous(tl.arange(0, BLOCK), NEIGHBOURS)


@triton.jit
def _normed(x, inside, eps, E: tl.constexpr):
    """`x`, zero outside, with mean 0 and variance 1."""
    centred = tl.where(inside, x - tl.sum(x) / E, 0.0)
    return centred * tl.rsqrt(tl.sum(centred * centred) / E + eps)


@triton.jit
def _branches(
    x_ptr, gain_ptr, cos_ptr, sin_ptr, matrix_ptr, factor_ptr, out_ptr, eps,
    tokens, tokens_per_frame, x_stride, branch_stride, batch_stride, head_stride, token_stride,
    E: tl.constexpr, D: tl.constexpr, BLOCK: tl.constexpr, NORM: tl.constexpr, ROPE: tl.constexpr,
    SCALED: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    batch, token = row // tokens, row % tokens
    at = tl.arange(0, BLOCK)
    inside = at < E
    kept = x_ptr.dtype.element_ty
    x = tl.load(tl.max_contiguous(x_ptr + row * x_stride + at, 4), mask=inside, other=0.0).to(tl.float32)
    if NORM:
        gain = tl.load(tl.max_contiguous(gain_ptr + at, 4), mask=inside, other=0.0).to(tl.float32)
        x = (x * tl.rsqrt(tl.sum(x * x) / E + eps) * gain).to(kept).to(tl.float32)
    x0, x1, x2, x3 = _vectors(x, BLOCK)
    p0, p1, p2, p3 = _times_matrix(matrix_ptr + row // tokens_per_frame * 16, x0, x1, x2, x3)
    if ROPE:
        pair = token * (D // 2) + tl.arange(0, BLOCK // 2) % (D // 2)
        cos, other_cos = tl.split(tl.reshape(tl.load(tl.max_contiguous(cos_ptr + pair, 2)), (BLOCK // 4, 2)))
        sin, other_sin = tl.split(tl.reshape(tl.load(tl.max_contiguous(sin_ptr + pair, 2)), (BLOCK // 4, 2)))
        x0, x1 = x0 * cos - x1 * sin, x0 * sin + x1 * cos
        x2, x3 = x2 * other_cos - x3 * other_sin, x2 * other_sin + x3 * other_cos
    here = out_ptr + batch * batch_stride + token * token_stride + at // D * head_stride + at % D
    here = tl.max_contiguous(here, 4)
    _store(here, _row(x0, x1, x2, x3, BLOCK), inside, factor_ptr, SCALED)
    _store(tl.max_contiguous(here + branch_stride, 4), _row(p0, p1, p2, p3, BLOCK), inside, factor_ptr + 1, SCALED)


@triton.jit
def _rope_branch(
    x_ptr, gain_ptr, cos_ptr, sin_ptr, factor_ptr, out_ptr, eps,
    tokens, x_stride, batch_stride, head_stride, token_stride,
    E: tl.constexpr, D: tl.constexpr, BLOCK: tl.constexpr, NORM: tl.constexpr, ROPE: tl.constexpr,
    SCALED: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    batch, token = row // tokens, row % tokens
    at = tl.arange(0, BLOCK)
    inside = at < E
    kept = x_ptr.dtype.element_ty
    x = tl.load(tl.max_contiguous(x_ptr + row * x_stride + at, 4), mask=inside, other=0.0).to(tl.float32)
    if NORM:
        gain = tl.load(tl.max_contiguous(gain_ptr + at, 4), mask=inside, other=0.0).to(tl.float32)
        x = (x * tl.rsqrt(tl.sum(x * x) / E + eps) * gain).to(kept).to(tl.float32)
    if ROPE:
        even, odd = tl.split(tl.reshape(x, (BLOCK // 2, 2)))
        pair = token * (D // 2) + tl.arange(0, BLOCK // 2) % (D // 2)
        cos, sin = tl.load(cos_ptr + pair), tl.load(sin_ptr + pair)
        x = tl.reshape(tl.join(even * cos - odd * sin, even * sin + odd * cos), (BLOCK,))
    here = out_ptr + batch * batch_stride + token * token_stride + at // D * head_stride + at % D
    here = tl.max_contiguous(here, 4)
    _store(here, x, inside, factor_ptr, SCALED)


@triton.jit
def _camera_heads(
    x_ptr, gain_ptr, matrix_ptr, out_ptr, eps,
    tokens, tokens_per_frame, x_stride, batch_stride, head_stride, token_stride,
    E: tl.constexpr, D: tl.constexpr, BLOCK: tl.constexpr, NORM: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    batch, token = row // tokens, row % tokens
    at = tl.arange(0, BLOCK)
    inside = at < E
    kept = out_ptr.dtype.element_ty
    x = tl.load(tl.max_contiguous(x_ptr + row * x_stride + at, 4), mask=inside, other=0.0).to(tl.float32)
    if NORM:
        gain = tl.load(tl.max_contiguous(gain_ptr + at, 4), mask=inside, other=0.0).to(tl.float32)
        x = (x * tl.rsqrt(tl.sum(x * x) / E + eps) * gain).to(kept).to(tl.float32)
    x0, x1, x2, x3 = _vectors(x, BLOCK)
    p0, p1, p2, p3 = _times_matrix(matrix_ptr + row // tokens_per_frame * 16, x0, x1, x2, x3)
    here = out_ptr + batch * batch_stride + token * token_stride + at // D * head_stride + at % D
    here = tl.max_contiguous(here, 4)
    tl.store(here, _row(p0, p1, p2, p3, BLOCK).to(kept), mask=inside)


@triton.jit
def _project_heads(
    x_ptr, matrix_ptr, out_ptr, scales_ptr, tokens, tokens_per_frame, batch_stride, head_stride, token_stride,
    E: tl.constexpr, D: tl.constexpr, BLOCK: tl.constexpr, TO_FP8: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    batch, token = row // tokens, row % tokens
    at = tl.arange(0, BLOCK)
    inside = at < E
    here = x_ptr + batch * batch_stride + token * token_stride + at // D * head_stride + at % D
    x0, x1, x2, x3 = _vectors(tl.load(here, mask=inside, other=0.0).to(tl.float32), BLOCK)
    p0, p1, p2, p3 = _times_matrix(matrix_ptr + row // tokens_per_frame * 16, x0, x1, x2, x3)
    projected = _row(p0, p1, p2, p3, BLOCK).to(x_ptr.dtype.element_ty)
    _store_row(out_ptr + row * E + at, scales_ptr + row, projected, inside, TO_FP8)


@triton.jit
def _quantise_rows(x_ptr, out_ptr, scale_ptr, E: tl.constexpr, GELU: tl.constexpr, BLOCK: tl.constexpr):
    # The last rows first: they were written last and may still be in the cache, as what is written last will be for
    # the product that begins with the first.
    row = (tl.num_programs(0) - 1 - tl.program_id(0)).to(tl.int64)
    at = _elements(BLOCK, 8)
    inside = at < E
    x = tl.load(x_ptr + row * E + at, mask=inside, other=0.0).to(tl.float32)
    if GELU:
        root = tl.rsqrt(1.0 + tl.exp2(x * (_GELU_A + _GELU_B * (x * x))))  # its square is quicker than a division
        x = tl.where(inside, x * root * root, 0.0)  # known to be zero, a part beyond the end is not computed
    _store_row(out_ptr + row * E + at, scale_ptr + row, x, inside, True)


@triton.jit
def _store_row(at, scale_at, x, inside, TO_FP8: tl.constexpr):
    """A row, zero outside; as fp8 with its scale, see `fp8.quantise_rows`.

    That divides; times the reciprocal, one in a million of the numbers is rounded to its other neighbour.
    """
    if TO_FP8:
        x = x.to(tl.float32)
        amax = tl.max(tl.abs(x))
        scale = tl.where(amax > _SMALLEST, amax / _FP8_MAX, 1.0)
        x *= 1.0 / scale
        tl.store(scale_at, scale)
    tl.store(at, x.to(at.dtype.element_ty), mask=inside)


@triton.jit
def _store(at, x, inside, factor_ptr, SCALED: tl.constexpr):
    """`x` in the type kept there; as fp8 times a factor and within its range."""
    if SCALED:
        x = tl.minimum(tl.maximum(x * tl.load(factor_ptr), -_FP8_MAX), _FP8_MAX)
    tl.store(at, x.to(at.dtype.element_ty), mask=inside)


@triton.jit
def _vectors(x, BLOCK: tl.constexpr):
    """Components 0..3 of every consecutive 4-vector of `x` `[BLOCK]`."""
    even, odd = tl.split(tl.reshape(x, (BLOCK // 4, 2, 2)))
    x0, x2 = tl.split(even)
    x1, x3 = tl.split(odd)
    return x0, x1, x2, x3


@triton.jit
def _row(x0, x1, x2, x3, BLOCK: tl.constexpr):
    """Inverse of `_vectors`."""
    return tl.reshape(tl.join(tl.join(x0, x2), tl.join(x1, x3)), (BLOCK,))


@triton.jit
def _times_matrix(m, x0, x1, x2, x3):
    """The row-major 4x4 matrix at `m` times the vectors whose components are x0..x3."""
    p0 = tl.load(m) * x0 + tl.load(m + 1) * x1 + tl.load(m + 2) * x2 + tl.load(m + 3) * x3
    p1 = tl.load(m + 4) * x0 + tl.load(m + 5) * x1 + tl.load(m + 6) * x2 + tl.load(m + 7) * x3
    p2 = tl.load(m + 8) * x0 + tl.load(m + 9) * x1 + tl.load(m + 10) * x2 + tl.load(m + 11) * x3
    p3 = tl.load(m + 12) * x0 + tl.load(m + 13) * x1 + tl.load(m + 14) * x2 + tl.load(m + 15) * x3
    return p0, p1, p2, p3
