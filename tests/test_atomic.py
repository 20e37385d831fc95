"""Names are given in one step, and nothing is replaced unasked."""

from __future__ import annotations

import errno
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest

from hyworld.atomic import publish, temporary_name
from hyworld.errors import InputError

AT_ONCE = 8


@pytest.fixture(params=["links", "no links"], autouse=True)
def _file_system(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """With hard links, and as on exFAT."""

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    if request.param == "no links":
        monkeypatch.setattr(os, "link", refuse)


def publish_at_once(target: Path, *, or_next: bool) -> list[Path | InputError]:
    """`AT_ONCE` different files for one name, from as many threads."""
    together = Barrier(AT_ONCE)

    def one(number: int) -> Path | InputError:
        part = temporary_name(target)
        part.write_text(str(number))
        together.wait()
        try:
            return publish(part, target, or_next=or_next)
        except InputError as error:
            assert part.read_text() == str(number)
            part.unlink()
            return error

    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(one, range(AT_ONCE)))


def test_of_several_files_for_one_name_one_gets_it(tmp_path: Path):
    for turn in range(20):
        target = tmp_path / f"{turn}.txt"
        results = publish_at_once(target, or_next=False)
        winners = [i for i, result in enumerate(results) if isinstance(result, Path)]
        assert len(winners) == 1
        assert target.read_text() == str(winners[0])
        assert all("exists already" in str(result) for i, result in enumerate(results) if i not in winners)
    assert len(list(tmp_path.iterdir())) == 20


def test_or_each_gets_a_number(tmp_path: Path):
    for turn in range(20):
        results = publish_at_once(tmp_path / f"{turn}.txt", or_next=True)
        assert {result.name for result in results} == {f"{turn}.txt", *(f"{turn}-{n}.txt" for n in range(2, 9))}
        assert [result.read_text() for result in results] == [str(i) for i in range(AT_ONCE)]
    assert len(list(tmp_path.iterdir())) == 20 * AT_ONCE


def test_only_overwrite_replaces(tmp_path: Path):
    target, part = tmp_path / "a.txt", tmp_path / "part"
    target.write_text("old")
    part.write_text("new")
    with pytest.raises(InputError, match="exists already"):
        publish(part, target)
    assert (target.read_text(), part.read_text()) == ("old", "new")
    assert publish(part, target, overwrite=True) == target
    assert (target.read_text(), part.exists()) == ("new", False)
    part.write_text("newer")
    assert publish(part, target, overwrite=True, or_next=True) == tmp_path / "a-2.txt"
    assert target.read_text() == "new"


def test_a_name_that_cannot_be_given_leaves_no_empty_file(tmp_path: Path):
    with pytest.raises(OSError, match="No such file"):
        publish(tmp_path / "not there", tmp_path / "a.txt")
    assert list(tmp_path.iterdir()) == []
