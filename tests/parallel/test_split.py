"""Weights that are split over processes: less memory, the same walk."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from hyworld.config import TINY
from hyworld.errors import InputError
from hyworld.parallel.split import split_feed_forwards

sys.path.insert(0, str(Path(__file__).parent))
import processes
import splits

BLOCKS = TINY.dit.num_layers - 2
"""Whose weights are split."""


def compare(tmp_path: Path, device: str, ranks: int, itemsize: int, *all_linears: str) -> None:
    saved = tmp_path / "walked.pt"
    assert processes.run(ranks, Path(splits.__file__), saved, device, *all_linears) == [0] * ranks
    found = torch.load(saved)
    for linears in all_linears:
        whole, whole_bytes = found[linears, "off"]
        two = 2 * TINY.dit.dim * TINY.dit.ffn_dim * (1 if linears == "fp8" else itemsize)
        room = 1 if ranks == 2 else 2  # of two processes each has one of the two weights where it needs it
        saved_bytes = BLOCKS * two * (ranks - 1) // ranks - room * two
        for kind in splits.KINDS[device][1:]:
            latents, by_process = found[linears, kind]
            assert torch.equal(latents, whole), (linears, kind)
            assert latents.isfinite().all()
            less = 0 if (device, kind) == ("cpu", "auto") else saved_bytes
            assert by_process == [bytes - less for bytes in whole_bytes], (linears, kind)


@pytest.mark.slow
@pytest.mark.parametrize(("ranks", "linears"), [(2, ("exact", "fp8")), (4, ("exact",))])
def test_split_weights_walk_as_whole_ones(tmp_path: Path, ranks: int, linears: tuple[str, ...]):
    compare(tmp_path, "cpu", ranks, 4, *linears)


@pytest.mark.gpu
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")
def test_split_weights_walk_as_whole_ones_on_gpus(tmp_path: Path):
    """Recorded forwards among them."""
    compare(tmp_path, "cuda", 2, 2, "exact", "fp8")


def test_an_unknown_choice_is_refused():
    with pytest.raises(InputError, match="auto, read, send, off, got 'half'"):
        split_feed_forwards([], "half", torch.device("cpu"))  # type: ignore[arg-type]
