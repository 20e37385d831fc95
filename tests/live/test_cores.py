"""How many cores a live walk on a CPU computes on."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from hyworld import load
from hyworld.cli.play import _dtype
from hyworld.cpu import multiplies_bfloat16
from hyworld.live.cores import IN_TIME, JUDGED_BY, Cores

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(before)


def test_one_is_left_while_chunks_are_made_in_time():
    with Cores(CPU, torch.bfloat16) as cores:
        assert torch.get_num_threads() == 3
        for i in range(3 * JUDGED_BY):
            cores.made(1.5 if i % 3 == 0 else 0.9 * IN_TIME, 1.0)
        assert torch.get_num_threads() == 3, "a slow chunk now and then"
    assert torch.get_num_threads() == 4


def make(cores: Cores, chunks: int, seconds: float) -> None:
    for _ in range(chunks):
        cores.made(seconds, 1.0)


def test_all_are_taken_where_one_fewer_is_too_slow():
    with Cores(CPU, torch.bfloat16) as cores:
        make(cores, JUDGED_BY - 1, 1.1 * IN_TIME)
        assert torch.get_num_threads() == 3
        make(cores, 1, 1.1 * IN_TIME)
        assert torch.get_num_threads() == 4
        make(cores, 3 * JUDGED_BY, 0.1)
        assert torch.get_num_threads() == 4, "it would go to and fro"
    assert torch.get_num_threads() == 4


def test_one_is_left_again_where_all_are_slower_still():
    with Cores(CPU, torch.bfloat16) as cores:
        make(cores, JUDGED_BY, 0.9)
        make(cores, JUDGED_BY - 1, 2.0)
        assert torch.get_num_threads() == 4
        make(cores, 1, 2.0)
        assert torch.get_num_threads() == 3
        make(cores, 2 * JUDGED_BY - 1, 0.9)
        assert torch.get_num_threads() == 3, "and is tried again later"
        make(cores, 1, 0.9)
        assert torch.get_num_threads() == 4
    assert torch.get_num_threads() == 4


def test_none_is_left_on_a_gpu_in_float32_or_of_one():
    with Cores(CPU, torch.float32):
        assert torch.get_num_threads() == 4
    with Cores(torch.device("cuda"), torch.bfloat16):
        assert torch.get_num_threads() == 4
    torch.set_num_threads(1)
    with Cores(CPU, torch.bfloat16):
        assert torch.get_num_threads() == 1


@pytest.mark.parametrize("multiplies", [False, True])
def test_play_computes_in_bfloat16_where_the_cpu_can(monkeypatch: pytest.MonkeyPatch, multiplies: bool):
    monkeypatch.setattr("hyworld.cli.play.multiplies_bfloat16", lambda: multiplies)
    assert _dtype("auto", "cpu") == ("bfloat16" if multiplies else "auto")
    assert _dtype("float32", "cpu") == "float32"


@pytest.mark.skipif(not multiplies_bfloat16(), reason="this CPU has no instructions for bfloat16")
def test_the_number_of_cores_changes_no_latent():
    pipeline = load(dtype="bfloat16", decoder="tiny", device="cpu")

    def walked(threads: int) -> torch.Tensor:
        torch.set_num_threads(threads)
        return list(pipeline.walk(pipeline.start(seed=2), "w-3,right-4"))[-1].world.latents

    one = walked(1)
    assert all(torch.equal(one, walked(threads)) for threads in (2, 3))
