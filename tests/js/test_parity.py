"""The editor in the node (web/js) and the engine read texts alike, to the letter of what they complain about."""

from __future__ import annotations

import itertools
import json
import random
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hyworld import InputError, Trajectory
from hyworld.camera import KEYS, label_from_keys
from hyworld.camera.keys import ARROWS, parse_keys, trajectory_from_keys
from hyworld.camera.tokens import DREAMX_SPEEDS, compatible

HERE = Path(__file__).parent
LETTERS = ["i", "k", "j", "l", "wj", "DI", "wasd", "lk"]
WORDS = [
    *KEYS,
    *ARROWS,
    *LETTERS,
    "W",
    "Right",
    "idle",
    "none",
    "jump",
    "will",
    "forward",
    "rigt",
    "orbit_rigth",
    "x" * 50,
]
COUNTS = ["1", "3", "12", "2.5", "0", ".9", "1e1", "1_0", "-2", "x", "nan", "inf", "1e9", "99999", "+4", "0x4", ""]


@pytest.fixture(scope="module")
def node() -> str:
    """Node.js."""
    return shutil.which("node") or pytest.skip("no Node.js")


def test_the_editors_own_tests_pass(node: str) -> None:
    files = [str(file) for file in sorted(HERE.glob("*.test.mjs"))]
    run = subprocess.run([node, "--test", *files], capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stdout[-6000:]


def read_by_editor(node: str, notation: str, texts: list[str]) -> list[dict[str, Any]]:
    asked = json.dumps([{"notation": notation, "text": text} for text in texts])
    run = subprocess.run([node, HERE / "read_paths.mjs"], input=asked, capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stderr
    answers: list[dict[str, Any]] = json.loads(run.stdout)
    return answers


def texts(count_sign: str, separators: list[str]) -> list[str]:
    """Paths as people write and mistype them."""
    dice = random.Random(6)

    def entry() -> str:
        right = dice.random() < 0.8
        keys = dice.sample([*KEYS, *LETTERS] if right else WORDS, dice.choice([1, 1, 1, 2, 2, 3]))
        count = str(dice.randint(1, 9)) if right else dice.choice(COUNTS)
        sign = count_sign if dice.random() < 0.97 else dice.choice(["", "--", "–", "**"])
        return dice.choice(["", "", " ", "\n"]) + dice.choice(["+", " + "]).join(keys) + sign + count

    paths = [[entry() for _ in range(dice.choice([1, 2, 2, 3, 6]))] for _ in range(600)]
    return ["", " ", separators[0], *(dice.choice(separators).join(path) for path in paths)]


def compare(answer: dict[str, Any], path: Trajectory, text: str) -> None:
    poses = np.array(answer["poses"])
    np.testing.assert_allclose(poses[:, :9].reshape(-1, 3, 3), path.c2w[:, :3, :3], rtol=0, atol=1e-9)
    np.testing.assert_allclose(poses[:, 9:], path.c2w[:, :3, 3], rtol=0, atol=1e-9)
    assert answer["labels"] == path.labels.tolist()
    assert answer["written"] == text


def outcome(read: Callable[[str], Any], text: str) -> tuple[Any, str | None]:
    """What the engine reads, or what it complains about."""
    try:
        return read(text), None
    except InputError as error:
        return None, str(error)


def test_pose_tokens(node: str) -> None:
    asked = texts("-", [",", ", ", ",,"])
    right = 0
    for text, answer in zip(asked, read_by_editor(node, "tokens", asked), strict=True):
        path, complaint = outcome(Trajectory.from_tokens, text)
        assert answer.get("error") == complaint, text
        if complaint is None:
            compare(answer, path, text)
            assert answer["notes"] == list(path.notes)
            right += 1
    assert 100 < right < len(asked) - 100


def test_keys_held_together(node: str) -> None:
    """Live keys combine as in the editor: of opposed ones the last pressed counts."""
    held = [list(keys) for count in range(5) for keys in itertools.permutations(KEYS, count)]
    keys_js = (HERE.parents[1] / "web/js/camera/keys.js").as_uri()
    program = (
        f"import {{ compatible }} from {json.dumps(keys_js)}; import {{ readFileSync }} from 'node:fs';"
        "process.stdout.write(JSON.stringify(JSON.parse(readFileSync(0, 'utf8')).map(compatible)));"
    )
    command = [node, "--input-type=module", "--eval", program]
    run = subprocess.run(command, input=json.dumps(held), capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stderr
    assert json.loads(run.stdout) == [list(compatible(keys)) for keys in held]


def test_key_presses(node: str) -> None:
    asked = texts("*", [",", ", ", "\n", ";"])
    right = 0
    for text, answer in zip(asked, read_by_editor(node, "presses", asked), strict=True):
        sequence, complaint = outcome(parse_keys, text)
        assert answer.get("error") == complaint, text
        if complaint is None:
            compare(answer, trajectory_from_keys(sequence), text)
            assert answer["told"] == [label_from_keys(keys) for keys in sequence]
            right += 1
    assert 100 < right < len(asked) - 100


def test_paths_at_another_models_pace(node: str) -> None:
    """DreamX-World's: in steps, from a world's beginning and onwards; its share of a chunk is tested in JavaScript."""
    asked = ["w-3, w+left-2, up-1", "d-1", "orbit_left-2, right+s-2"]
    for continued in (False, True):
        told = json.dumps(
            [{"notation": "tokens", "text": x, "pace": "DreamX-World", "continued": continued} for x in asked]
        )
        run = subprocess.run([node, HERE / "read_paths.mjs"], input=told, capture_output=True, text=True, timeout=120)
        assert run.returncode == 0, run.stderr
        for text, answer in zip(asked, json.loads(run.stdout), strict=True):
            path = Trajectory.from_tokens(text, DREAMX_SPEEDS)
            want = path.onwards if continued else path.c2w
            poses = np.array(answer["poses"])
            np.testing.assert_allclose(poses[:, 9:], want[:, :3, 3], rtol=0, atol=1e-9)
            np.testing.assert_allclose(poses[:, :9].reshape(-1, 3, 3), want[:, :3, :3], rtol=0, atol=1e-9)
