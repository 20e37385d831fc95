"""What counts as equal: nothing passes that was not compared."""

from __future__ import annotations

import math

import pytest
import torch

from hyworld.verify.report import compare, compare_exactly

A = torch.tensor([3.0, 4.0])


def test_relative_error_is_the_norm_of_the_difference_over_that_of_the_reference():
    item = compare("x", A + torch.tensor([0.0, 0.5]), A, 0.1)
    assert (item.max_abs, item.relative, item.passed) == (0.5, pytest.approx(0.1), True)
    assert not compare("x", A + torch.tensor([0.0, 0.6]), A, 0.1).passed


@pytest.mark.parametrize(
    ("got", "want", "note"),
    [
        (torch.zeros(2, 1), torch.zeros(1, 2), "shape"),
        (torch.zeros(0), torch.zeros(0), "nothing"),
        (torch.tensor([math.nan, 1.0]), A, "NaN"),
        (A, torch.tensor([math.inf, 1.0]), "NaN"),
    ],
)
def test_what_cannot_be_compared_fails_with_an_infinite_error(got: torch.Tensor, want: torch.Tensor, note: str):
    item = compare("x", got, want, 1.0)
    assert not item.passed
    assert item.relative == math.inf
    assert note in item.note


@pytest.mark.parametrize(
    ("got", "want", "share"),
    [
        ([1, 2, 3, 4], [1, 2, 3, 4], 0),
        ([], [], 0),
        (torch.tensor([1, 2, 3, 4]), [1, 2, 3, 5], 0.25),
        ([[], [0, 1], [0, 1, 2]], [[], [0, 1], [0, 1, 2]], 0),
        # Rows of different lengths, the first empty: each number is compared.
        ([[], [0, 1], [0, 1, 2]], [[], [0, 1], [0, 1, 7]], 0.2),
        ([[], [0, 1]], [[0, 1], []], math.inf),
        ([1, 2], [1, 2, 3], math.inf),
        ([1], [1.5], 1),
    ],
)
def test_whole_numbers_must_all_be_equal(got: object, want: object, share: float):
    item = compare_exactly("x", got, want)
    assert item.relative == pytest.approx(share)
    assert item.passed == (share == 0)
