"""What the leading process makes of errors, without other processes."""

from __future__ import annotations

import pytest
import torch

from hyworld.errors import InputError
from hyworld.parallel import RankLostError
from hyworld.parallel.job import Job, own_device


@pytest.fixture
def job() -> Job:
    job = Job.__new__(Job)
    job.lost, job.noticed, job._out_of_step = None, False, False
    return job


def test_a_lost_process_is_told_once_it_is_known(job: Job):
    job.lost = "Process 2 of the 2 has ended."
    with pytest.raises(RankLostError, match="Process 2"), job.watched():
        raise AssertionError("nothing is shared any more")
    job.lost = None
    with pytest.raises(RankLostError, match="Process 2"), job.watched():
        job.lost = "Process 2 of the 2 has ended."
        raise RuntimeError("Connection closed by peer")
    assert job.noticed


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("full"), InputError("no"), KeyboardInterrupt()])
def test_an_error_in_shared_work_ends_it(job: Job, error: BaseException):
    """The others wait in the middle of it: who goes on would wait for them."""
    with pytest.raises(type(error)), job.watched():
        raise error
    with pytest.raises(RankLostError, match="out of step"), job.watched():
        raise AssertionError("nothing is shared any more")


def test_each_process_has_its_own_gpu(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("LOCAL_RANK", "3")
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    assert own_device("auto") == own_device(torch.device("cuda")) == "cuda:3"
    assert own_device("cpu") == "cpu"
    with pytest.raises(InputError, match="leave --device out"):
        own_device("cuda:1")
