"""RoPE tables against a direct computation with complex numbers."""

from __future__ import annotations

import pytest
import torch

from hyworld.dit.rope import apply_rope, rope_table


@pytest.mark.parametrize("head_dim", [12, 24, 32, 128])
def test_pairs_turn_by_position_times_frequency(head_dim: int):
    frames, height, width, start = 3, 2, 4, 5
    spatial = 2 * (head_dim // 6)
    x = torch.randn(1, frames, height * width, 2, head_dim)
    got = apply_rope(x, *rope_table(head_dim, start, frames, height, width))

    pairs = torch.view_as_complex(x.double().unflatten(-1, (-1, 2)).contiguous())
    for f in range(frames):
        for row in range(height):
            for column in range(width):
                angle = torch.cat(
                    [
                        place * 10_000.0 ** -(torch.arange(0, n, 2, dtype=torch.float64) / n)
                        for place, n in ((start + f, head_dim - 2 * spatial), (row, spatial), (column, spatial))
                    ]
                )
                turned = pairs[0, f, row * width + column] * torch.polar(torch.ones_like(angle), angle)
                want = torch.view_as_real(turned).flatten(-2).float()
                torch.testing.assert_close(got[0, f, row * width + column], want, rtol=1e-5, atol=1e-5)


def test_temporal_positions_are_relative():
    """Scores depend on the distance in time alone: what reframing relies on."""
    q, k = torch.randn(2, 1, 2, 1, 1, 32)
    scores = []
    for start in (0, 16):
        cos, sin = rope_table(32, start, 2, 1, 1)
        scores.append((apply_rope(q, cos, sin)[0, 0] * apply_rope(k, cos, sin)[0, 1]).sum())
    torch.testing.assert_close(scores[0], scores[1], rtol=1e-4, atol=1e-4)
