"""A live walk on a CPU leaves a core to who shows it."""

from __future__ import annotations

import pytest
import torch

from hyworld.live.cores import one_left


@pytest.mark.parametrize(("threads", "within"), [(4, 3), (2, 1), (1, 1)])
def test_one_core_is_left_and_given_back(threads: int, within: int):
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        with pytest.raises(ZeroDivisionError), one_left(torch.device("cpu")):
            assert torch.get_num_threads() == within
            raise ZeroDivisionError
        assert torch.get_num_threads() == threads
        with one_left(torch.device("cuda")):
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
