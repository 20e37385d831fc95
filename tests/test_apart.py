"""Work on threads that end with it."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
import torch

from hyworld.apart import apart
from hyworld.camera import Trajectory
from hyworld.cli import play
from hyworld.walk import Chunk, Step, World
from hyworld.walk.autosave import Autosave


def test_it_gives_what_the_work_gave_and_raises_what_it_raised():
    assert apart(divmod, 7, 2).result(10) == (3, 1)
    with pytest.raises(ZeroDivisionError):
        apart(divmod, 7, 0).result(10)


def test_the_thread_ends_with_the_work():
    thread = apart(threading.current_thread).result(10)
    assert thread is not threading.current_thread()
    thread.join(10)
    assert not thread.is_alive()


def test_every_autosave_has_a_thread_that_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    threads: list[threading.Thread] = []
    save = Autosave._save_part

    def saving(self: Autosave, chunk: Chunk) -> None:
        threads.append(threading.current_thread())
        save(self, chunk)

    monkeypatch.setattr(Autosave, "_save_part", saving)
    still = Trajectory.from_tokens("w-3")
    world = World(torch.zeros(1, 2, 4), 0, (2, 2, 2))
    with Autosave(tmp_path / "walk.part.world", every=1, keeps=True) as autosave:
        for index in range(2):
            world = world.and_then(Step(torch.zeros(1, 2, 4, 2, 2), still, ()))
            autosave.keep(Chunk(index, None, world))
            for thread in threads:
                thread.join(10)
                assert thread is not threading.main_thread()
                assert not thread.is_alive()
    assert autosave.path is not None
    assert autosave.chunks == 2
    assert len(threads) == 2


def test_the_models_are_loaded_apart(monkeypatch: pytest.MonkeyPatch):
    """A thread that has computed in parallel slows the walk as long as it lives."""
    seen: list[threading.Thread] = []

    class Loaded(Exception):  # noqa: N818 - no error
        pass

    def load(*_: object, **__: object) -> None:
        seen.append(threading.current_thread())
        raise Loaded

    monkeypatch.setattr("hyworld.pipeline.load", load)
    with pytest.raises(Loaded):
        play.play()
    assert seen[0] is not threading.main_thread()
