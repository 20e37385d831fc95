"""Colours matched from chunk to chunk: each picture gets mean and deviation, per Lab channel, of one shown before.

That is the world's first picture for the first chunk, and for each later one the last picture of the chunk before it,
as shown. Source: DreamX-World `utils/postprocess.py`, with Lab as OpenCV has it for float32 pictures.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import product

import torch
from torch import Tensor

_TO_XYZ = (
    (0.412453, 0.357580, 0.180423),
    (0.212671, 0.715160, 0.072169),
    (0.019334, 0.119193, 0.950227),
)
_FROM_XYZ = (
    (3.240479, -1.53715, -0.498535),
    (-0.969256, 1.875991, 0.041556),
    (0.055648, -0.204043, 1.057311),
)
_WHITE = (0.950456, 1.0, 1.088754)
"""D65."""

_LEAST = 1e-6
"""Deviation below which a channel has none."""

_KNOTS = 1024
"""OpenCV reads sRGB's curve off a spline of so many pieces."""

_GRID = 33
_LEVELS = 512
_PARTS = _LEVELS // (_GRID - 1)
_UNIT = 1 << 14
"""OpenCV reads Lab off a table of so many colours a side, after cutting colours off to so many levels; the table has
Lab in whole numbers of this unit."""


class ColourMatch:
    """Matches the pictures of one chunk.

    reference: what `reference_of` gave for a picture, `[2, 3]`; None: the first picture matched is it.
    strength: 0 leaves pictures as they are, 1 matches them fully.
    """

    def __init__(self, reference: Tensor | None, strength: float) -> None:
        self._reference = reference
        self._strength = strength
        self._last: Tensor | None = None

    def __call__(self, frames: Tensor) -> Tensor:
        """`frames` `[1, 3, f, H, W]` in about [-1, 1], matched; float32 in [-1, 1]."""
        pictures = (frames[0].transpose(0, 1).float() / 2 + 0.5).clamp(0, 1)
        if self._reference is None:
            self._reference = reference_of(pictures[0])
        mean, deviation = (value[:, None, None] for value in self._reference.to(pictures.device))
        matched = [self._matched(picture, mean, deviation) for picture in pictures]
        self._last = matched[-1]
        return torch.stack(matched, dim=1).unsqueeze(0) * 2 - 1

    @property
    def after(self) -> Tensor:
        """The reference of the chunk that follows, `[2, 3]`."""
        assert self._last is not None, "no picture was matched"
        return reference_of(self._last)

    def _matched(self, picture: Tensor, mean: Tensor, deviation: Tensor) -> Tensor:
        lab = to_lab(picture)
        own_mean, own_deviation = (value[:, None, None] for value in _statistics(lab))
        scale = torch.where(own_deviation > _LEAST, deviation / own_deviation.clamp_min(_LEAST), 0.0)
        return torch.lerp(picture, to_rgb((lab - own_mean) * scale + mean), self._strength)


def reference_of(picture: Tensor) -> Tensor:
    """Mean and deviation per Lab channel, `[2, 3]`, of a picture `[3, H, W]` in [0, 1]."""
    return torch.stack(_statistics(to_lab(picture)))


def to_lab(rgb: Tensor) -> Tensor:
    """sRGB `[3, H, W]` in [0, 1] → Lab, interpolated in OpenCV's table, in whole numbers."""
    levels = (rgb * _UNIT).round().int() // (_UNIT // _LEVELS)
    cell = (levels // _PARTS).clamp_max(_GRID - 2)
    share = levels - cell * _PARTS
    table = _table(rgb.device)
    summed = torch.zeros_like(levels)
    for corner in product((0, 1), repeat=3):
        at, weight = torch.zeros_like(cell[0]), torch.ones_like(cell[0])
        for far, stride, c, part in zip(corner, (1, _GRID, _GRID**2), cell, share, strict=True):
            at += (c + far) * stride
            weight *= part if far else _PARTS - part
        summed += weight * table[:, at]
    read = (summed + _PARTS**3 // 2).div(_PARTS**3, rounding_mode="floor") / _UNIT
    return torch.stack((read[0] * 100, read[1] * 256 - 128, read[2] * 256 - 128))


def to_rgb(lab: Tensor) -> Tensor:
    """Lab `[3, H, W]` → sRGB; what lies beyond [0, 1] is cut off."""
    lightness, a, b = lab
    dark = lightness <= 8
    y = torch.where(dark, lightness / 903.3, ((lightness + 16) / 116) ** 3)
    fy = torch.where(dark, 7.787 * y + 16 / 116, (lightness + 16) / 116)
    x, z = (torch.where(f <= 6 / 29, (f - 16 / 116) / 7.787, f**3) for f in (fy + a / 500, fy - b / 200))
    linear = _times(_FROM_XYZ, torch.stack((x, y, z)) * _column(_WHITE, lab)).clamp(0, 1)
    place = linear * _KNOTS
    knot = place.long().clamp_max(_KNOTS - 1)
    a, b, c, d = _gamma(lab.device)[:, knot]
    t = place - knot
    return ((d * t + c) * t + b) * t + a


def _statistics(lab: Tensor) -> tuple[Tensor, Tensor]:
    return lab.mean(dim=(1, 2)), lab.std(dim=(1, 2), correction=0)


@lru_cache(maxsize=2)
def _table(device: torch.device) -> Tensor:
    """Lab `[3, blue * green * red]` in whole units, 0 to `_UNIT` over L from 0 to 100 and a and b from -128 to 128.

    In float32, as in OpenCV: another last bit makes other whole numbers.
    """
    side = torch.linspace(0, 1, _GRID, dtype=torch.float64)
    linear = torch.where(side <= 0.04045, side / 12.92, ((side + 0.055) / 1.055) ** 2.4).float()
    b, g, r = torch.meshgrid(linear, linear, linear, indexing="ij")
    to_xyz = tuple(tuple(m / w for m in row) for row, w in zip(_TO_XYZ, _WHITE, strict=True))
    xyz = _times(to_xyz, torch.stack((r, g, b)))
    least = (6 / 29) ** 3
    fx, fy, fz = torch.where(xyz > least, _cube_root(xyz), xyz * (29 / 6) ** 2 / 3 + 16 / 116)
    lightness = torch.where(xyz[1] > least, 116 * fy - 16, xyz[1] * (29 / 3) ** 3)
    share = torch.stack((lightness / 100, (500 * (fx - fy) + 128) / 256, (200 * (fy - fz) + 128) / 256))
    return (share * _UNIT).round().int().flatten(1).to(device)


def _cube_root(x: Tensor) -> Tensor:
    """Of positive float32 numbers, by OpenCV's quotient of polynomials, cut off to float32."""
    share, exponent = torch.frexp(x.double())
    thirds = torch.div(exponent + 2, 3, rounding_mode="floor")
    t = torch.ldexp(share, exponent - 3 * thirds)  # from 1/8 to 1
    above = torch.zeros_like(t)
    for factor in (45.25483398367758, 192.27983683550611, 119.16548242855816, 13.432501390862399, 0.16361612265857542):
        above = above * t + factor
    below = torch.zeros_like(t)
    for factor in (14.808840932191346, 151.97140510435645, 168.52544141015683, 33.99059413502156, 1.0):
        below = below * t + factor
    share, exponent = torch.frexp(torch.ldexp(above / below, thirds))
    return torch.ldexp((share * 2**24).floor(), exponent - 24).float()


@lru_cache(maxsize=2)
def _gamma(device: torch.device) -> Tensor:
    """Coefficients `[4, _KNOTS]` of a cubic spline through sRGB's curve, each over its part of 0 to 1."""
    x = torch.linspace(0, 1, _KNOTS + 1, dtype=torch.float64)
    f = torch.where(x <= 0.0031308, x * 12.92, 1.055 * x ** (1 / 2.4) - 0.055)
    # Second derivatives vanish at the first and, as in OpenCV, at the last knot but one.
    slopes = torch.diff(f)
    n = _KNOTS - 2
    matrix = torch.diag(torch.full((n,), 4.0, dtype=torch.float64))
    matrix += torch.diag(torch.ones(n - 1, dtype=torch.float64), 1) + torch.diag(
        torch.ones(n - 1, dtype=torch.float64), -1
    )
    c = torch.zeros(_KNOTS + 1, dtype=torch.float64)
    c[1:-2] = torch.linalg.solve(matrix, 3 * torch.diff(slopes)[:-1])
    b = slopes - (c[1:] + 2 * c[:-1]) / 3
    d = torch.diff(c) / 3
    return torch.stack((f[:-1], b, c[:-1], d)).float().to(device)


def _times(matrix: Sequence[Sequence[float]], channels: Tensor) -> Tensor:
    # Not a matrix product, which TF32 would round.
    x, y, z = channels
    return torch.stack([p * x + q * y + r * z for p, q, r in matrix])


def _column(values: tuple[float, ...], like: Tensor) -> Tensor:
    return torch.tensor(values, dtype=like.dtype, device=like.device)[:, None, None]
