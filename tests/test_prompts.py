"""Prompt schedules as text."""

from __future__ import annotations

from pathlib import Path

import pytest

from hyworld import InputError
from hyworld.prompts import parse_prompts, read_prompts, told_in_walk


def test_words_with_and_without_a_number() -> None:
    assert parse_prompts(["6: it starts to rain", "a quiet street"]) == {0: "a quiet street", 6: "it starts to rain"}
    assert parse_prompts(["12 :  night:  lamps ", "a street"], start=8) == {8: "a street", 12: "night:  lamps"}
    assert list(parse_prompts(["9: b", "2: a"])) == [2, 9]
    for ordinary in ("16:9 film of a street", "6:30 in the morning", "", "Scene 2: a street", "1234567890: x"):
        assert parse_prompts([ordinary]) == {0: ordinary}
    assert parse_prompts(["6:rain"]) == {6: "rain"}


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["-1: rain"], "is for -1 chunks"),
        (["6:  "], "'6:  ' has no words"),
        (["6: rain", "6: snow"], "two prompts for 6 chunks, the second is '6: snow'"),
        (["a street", "0: rain"], "two prompts for 0 chunks"),
    ],
)
def test_what_is_no_schedule_is_refused(texts: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse_prompts(texts)


def test_a_file_of_prompts(tmp_path: Path) -> None:
    file = tmp_path / "street.txt"
    file.write_text(
        "\ufeff# the walk of Monday\n0: eine stille Straße\n\n  # rain\n6: it starts to rain # softly\n", "utf-8"
    )
    assert read_prompts(file) == {0: "eine stille Straße", 6: "it starts to rain # softly"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"0: a street\nand rain\n", "'and rain' in line 2 of .* has no number of chunks"),
        (b"# nothing\n", "has no prompts"),
        (b"0: \xff", "no UTF-8 text"),
        (b"0: a\n0: b\n", "two prompts for 0 chunks, the second is line 2 of"),
        (b"0: " + b"a" * 1_000_000, "larger than"),
    ],
)
def test_a_file_that_is_no_schedule_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "street.txt").write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_prompts(tmp_path / "street.txt")


@pytest.mark.parametrize("name", ["absent.txt", "."])
def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        read_prompts(tmp_path / name)


def test_a_walk_is_told_what_holds_and_what_follows() -> None:
    prompts = {0: "a", 3: "b", 6: "c", 9: "d"}
    assert told_in_walk(prompts, 0, 9) == {0: "a", 3: "b", 6: "c"}
    assert told_in_walk(prompts, 4, 10) == {3: "b", 6: "c", 9: "d"}
    assert told_in_walk(prompts, 6, 8) == {6: "c"}
    assert told_in_walk({3: "b"}, 1, 3) == {}
