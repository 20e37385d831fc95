"""CLIP: the tiny model's text encoder for the core node CLIP Text Encode."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import comfy.model_management
from torch import Tensor

from ...hyworld import builtin
from ...hyworld.errors import InputError
from ...hyworld.pipeline import TextEncoder
from ...hyworld.walk import Words

AFTER, PROMPT = "hyworld_after", "hyworld_prompt"
"""What a Prompt Schedule writes beside each of its texts: the chunks that come before it, and its words."""


class TinyCLIP:
    """Prompt → CONDITIONING through the byte-level stand-in."""

    def __init__(self) -> None:
        self._encode = builtin.text_encoder()

    def tokenize(self, text: str, **_: Any) -> str:
        """The prompt itself; the core node calls this first."""
        return text

    def encode_from_tokens_scheduled(self, tokens: str, **_: Any) -> list[list[Any]]:
        """CONDITIONING with embeddings `[1, L, text_dim]`."""
        return [[self._encode(tokens).to(comfy.model_management.intermediate_device()), {"pooled_output": None}]]


def encoder_of(clip: Any, width: int, then: Callable[[], None]) -> TextEncoder:
    """Prompt → embeddings `[1, L, width]` by a CLIP socket's object, which raises `InputError` for other widths.

    then: called after each, as the encoder may have taken the GPU.
    """

    def encode(prompt: str) -> Tensor:
        conditioning = clip.encode_from_tokens_scheduled(clip.tokenize(prompt))
        then()
        text = words_of(conditioning)[0].text
        if text.shape[-1] != width:
            raise InputError(
                f"These words cannot be told: this CLIP makes {text.shape[-1]} numbers of each token, but the model "
                f"takes {width}, so wire the CLIP that the prompt comes from."
            )
        return text

    return encode


def words_of(conditioning: Any, prompt: str = "") -> dict[int, Words]:
    """What a CONDITIONING tells a walk: words by the number of chunks from which on they hold (Prompt Schedule).

    prompt: the words of a plain one, if known. Raises `InputError` for several prompts that are no schedule.
    """
    if any(text.shape[0] != 1 for text, _ in conditioning) or sum(AFTER not in more for _, more in conditioning) > 1:
        raise InputError(
            f"The conditioning holds {len(conditioning)} prompts: the walk takes one at a time, "
            "so connect a single CLIP Text Encode, or several through a Prompt Schedule."
        )
    return {more.get(AFTER, 0): Words(text, more.get(PROMPT, prompt)) for text, more in conditioning}
