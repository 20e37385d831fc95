"""How Ray's workers are spread over machines, and addresses that are no cluster's; needs no Ray."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from typing import Any

import pytest

from hyworld.batch.workers import _require_answer, _shares
from hyworld.errors import InputError


@pytest.mark.parametrize(
    ("machines", "asked", "workers", "cores"),
    [
        ([{"CPU": 8}], None, 1, 8),
        ([{"CPU": 8}], 3, 3, 2),
        ([{"CPU": 1}, {"CPU": 1}], None, 2, 1),
        ([{"CPU": 1}, {"CPU": 1}], 1, 1, 1),  # two cores are on no machine
        ([{"CPU": 3}, {"CPU": 1}], 2, 2, 1),
        ([{"CPU": 0}, {"CPU": 4}], None, 1, 4),  # a head that computes nothing
    ],
)
def test_workers_fit_on_machines(machines: list[Mapping[str, float]], asked: int, workers: int, cores: int):
    count, options = _shares(machines, asked)
    assert (count, options["num_cpus"], options["num_gpus"]) == (workers, cores, 0)
    assert options["runtime_env"]["env_vars"] == {"OMP_NUM_THREADS": str(cores)}


def test_each_gpu_has_a_worker():
    count, options = _shares([{"CPU": 16, "GPU": 2}, {"CPU": 16, "GPU": 2}], None)
    assert (count, options["num_gpus"], options["num_cpus"]) == (4, 1, 1)
    assert options["runtime_env"]["env_vars"] == {"OMP_NUM_THREADS": "8"}


@pytest.mark.parametrize(
    ("machines", "asked", "said"),
    [([{"CPU": 2}], 3, "3 workers need as many cores, but there are 2"), ([{"CPU": 9, "GPU": 1}], 2, "there is 1")],
)
def test_more_workers_than_there_is_room_for_are_refused(machines: list[Mapping[str, Any]], asked: int, said: str):
    with pytest.raises(InputError, match=said):
        _shares(machines, asked)


def test_an_address_where_nobody_listens_is_told_at_once():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    for address, said in [
        (f"127.0.0.1:{port}", "No Ray cluster answers"),
        ("ray://127.0.0.1:10001", "Ray Client"),
        ("head", "no address"),
    ]:
        with pytest.raises(InputError, match=said):
            _require_answer(address)
    _require_answer("auto")
