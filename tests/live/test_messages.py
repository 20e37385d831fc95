"""What a client may say."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hyworld import InputError
from hyworld.live import messages
from hyworld.live.controls import Held
from hyworld.live.messages import GoBack, GoesOn, Input, Playing, Say, Stop
from hyworld.live.pictures import pack

KINDS = st.sampled_from(["input", "goes_on", "words", "back", "playing", "stop", "state"])
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(["w", "left", "d", "x", "\ud800"])
VALUES = SCALARS | st.lists(SCALARS, max_size=3) | st.lists(st.lists(SCALARS, max_size=1), max_size=1)
NAMES = ("at", "keys", "move", "turn", "on", "text", "chunks", "chunk", "left")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"type": "input", "at": 1500.5, "keys": ["w", "left"], "move": [0, -0.5], "turn": [2, 0]},
            Input(Held(1.5005, ("w", "left"), (0.0, -0.5), (1.0, 0.0)), 1500.5),
        ),
        ({"type": "input", "at": 0}, Input(Held(0.0), 0)),
        ({"type": "goes_on", "on": True}, GoesOn(True)),
        ({"type": "words", "text": ""}, Say("")),
        ({"type": "back", "chunks": 0}, GoBack(0)),
        ({"type": "playing", "chunk": 5, "left": 1.25}, Playing(5, 1.25)),
        ({"type": "stop", "more": 1}, Stop()),
    ],
)
def test_every_message(fields: dict, message: object):
    assert messages.read(json.dumps(fields)) == message


@given(KINDS, st.dictionaries(st.sampled_from(NAMES), VALUES))
def test_anything_else_is_refused_in_a_sentence(kind: str, fields: dict):
    try:
        messages.read(json.dumps({**fields, "type": kind}))
    except InputError as problem:
        said = str(problem)
    else:
        return
    assert said.startswith("The message ")
    assert len(said) < 300


@given(st.text(st.characters(codec="latin-1")))
def test_any_text_is_refused(text: str):
    with pytest.raises(InputError):
        messages.read(text)


def test_a_chunk_without_its_frames():
    header = {"type": "chunk", "chunk": 3, "format": "jpeg", "pictures": [2, 3], "thumbnail": 4, "path": [[0]]}
    light = messages.without_frames(pack(header, [b"aa", b"bbb", b"tiny"]))
    assert light == pack({**header, "pictures": []}, [b"tiny"])
