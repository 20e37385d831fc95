"""Rotations as unit quaternions (w, x, y, z)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def from_rotations(R: NDArray[np.float64]) -> NDArray[np.float64]:
    """Quaternions `[N, 4]`, w ≥ 0, of rotations `[N, 3, 3]`."""
    xx, yy, zz = R[:, 0, 0], R[:, 1, 1], R[:, 2, 2]
    # Four times the products of the components; the row with the largest square divides safely.
    products = np.empty((len(R), 4, 4))
    products[:, 0, 0] = 1 + xx + yy + zz
    products[:, 1, 1] = 1 + xx - yy - zz
    products[:, 2, 2] = 1 - xx + yy - zz
    products[:, 3, 3] = 1 - xx - yy + zz
    for i, j, k in ((1, 2, 3), (2, 3, 1), (3, 1, 2)):
        products[:, 0, i] = products[:, i, 0] = R[:, k - 1, j - 1] - R[:, j - 1, k - 1]
        products[:, i, j] = products[:, j, i] = R[:, i - 1, j - 1] + R[:, j - 1, i - 1]
    largest = np.einsum("nii->ni", products).argmax(1)
    q = products[np.arange(len(R)), largest]
    q /= np.linalg.norm(q, axis=1, keepdims=True)
    return np.where(q[:, :1] < 0, -q, q)


def to_rotations(q: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rotations `[N, 3, 3]` of unit quaternions `[N, 4]`."""
    w, x, y, z = q.T
    rows = (
        (1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)),
        (2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)),
        (2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)),
    )
    return np.stack([np.stack(row, -1) for row in rows], -2)


def powers(q: NDArray[np.float64], share: NDArray[np.float64]) -> NDArray[np.float64]:
    """The `share` `[N]` of each rotation `[N, 4]` about its axis, w ≥ 0: 0 none, 1 all of it."""
    length = np.linalg.norm(q[:, 1:], axis=1)
    half = np.arctan2(length, q[:, 0])
    axis = q[:, 1:] / np.where(length > 0, length, 1.0)[:, None]
    return np.concatenate((np.cos(share * half)[:, None], np.sin(share * half)[:, None] * axis), 1)
