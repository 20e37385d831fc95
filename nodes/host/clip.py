"""CLIP: the tiny model's text encoder for the core node CLIP Text Encode."""

from __future__ import annotations

from typing import Any

import comfy.model_management
from torch import Tensor

from ...hyworld import builtin
from ...hyworld.errors import InputError


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


def embeddings(conditioning: Any) -> Tensor:
    """The prompt embeddings `[1, L, text_dim]` of a CONDITIONING; raises `InputError` for several prompts."""
    if len(conditioning) != 1 or conditioning[0][0].shape[0] != 1:
        raise InputError(
            f"The conditioning holds {len(conditioning)} prompts: the walk takes one, "
            "so connect a single CLIP Text Encode."
        )
    text: Tensor = conditioning[0][0]
    return text
