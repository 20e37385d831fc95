"""Prompts to embeddings `[1, tokens, dim]` outside ComfyUI: UMT5-XXL, ready-made files, and a stand-in.

Encoders zero the rows after the prompt. Source: WorldPlay `wan/inference/pipeline_wan_w_mem_relative_rope.py`.
"""

from __future__ import annotations

import html
import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .errors import InputError
from .weights.files import read_checkpoint

_ENCODER_FILES = ("*.safetensors", "*.safetensors.index.json", "pytorch_model*.bin")
_TOKENIZER_FILES = ("tokenizer.json", "spiece.model", "tokenizer.model")
_BYTE_TABLE_SEED = 2026


def clean_prompt(text: str) -> str:
    """`text` cleaned as in training: mojibake fixed, HTML unescaped, white space collapsed; no full stop is added."""
    import ftfy  # optional: ComfyUI does not bring it

    # Twice: scraped captions have nested entities (&amp;quot;).
    unescaped = html.unescape(html.unescape(ftfy.fix_text(text)))
    return " ".join(unescaped.split())


@torch.no_grad()
def encode_prompt(
    prompt: str,
    folder: str | Path,
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.bfloat16,
    tokens: int = 512,
) -> Tensor:
    """Embeddings `[1, tokens, dim]` of the cleaned prompt, in `dtype` on `device` (dim 4096 for UMT5-XXL).

    The encoder, larger than the video model, is loaded for this prompt only. Longer prompts are cut, with a warning.

    folder: diffusers layout with `text_encoder/` and `tokenizer/`, or one folder that holds both.

    Raises `InputError` if transformers is not installed, or the folder lacks a part or cannot be read.
    """
    encoder_folder, tokenizer_folder = _parts(Path(folder))
    _check_text(prompt)
    try:
        from transformers import AutoTokenizer

        text = clean_prompt(prompt)
    except ImportError as error:
        raise InputError(
            "Encoding a prompt needs libraries that are missing: run pip install transformers sentencepiece ftfy, "
            "or give a safetensors file of ready embeddings."
        ) from error
    with _reading(tokenizer_folder):
        tokenizer = AutoTokenizer.from_pretrained(tokenizer_folder, local_files_only=True)
    _warn_if_cut(len(tokenizer(text).input_ids), tokens)
    # Padded to full length, although the padding is masked: the shapes of the original's kernels.
    batch = tokenizer(
        text, padding="max_length", max_length=tokens, truncation=True, return_attention_mask=True, return_tensors="pt"
    )
    mask = batch.attention_mask.to(device)
    with _reading(encoder_folder):
        encoder = _load_encoder(encoder_folder, dtype)
    encoder = encoder.to(device)
    embeddings = encoder(batch.input_ids.to(device), mask).last_hidden_state
    del encoder
    if embeddings.is_cuda:
        torch.cuda.empty_cache()
    return embeddings.to(dtype).masked_fill(mask.unsqueeze(-1) == 0, 0)


def load_embeddings(path: str | Path, text_dim: int) -> Tensor:
    """Ready embeddings `[1, L, text_dim]` from a safetensors file: its only tensor, or `text` or `prompt_embeds`.

    A tensor `[L, text_dim]` gets its batch axis. Raises `InputError` if there is no such tensor, its shape is another
    or it is not finite.
    """
    state = read_checkpoint(path).state
    name = next((name for name in ("text", "prompt_embeds") if name in state), None)
    if name is None and len(state) > 1:
        raise InputError(
            f"{path} holds {len(state)} tensors and none is called text or prompt_embeds: "
            f"give a file with the embeddings alone, or under one of these names."
        )
    embeddings = state[name] if name else next(iter(state.values()))
    if embeddings.ndim == 2:
        embeddings = embeddings.unsqueeze(0)
    if embeddings.ndim != 3 or embeddings.shape[0] != 1 or embeddings.shape[1] == 0 or embeddings.shape[2] != text_dim:
        raise InputError(
            f"{path} holds embeddings of shape {list(embeddings.shape)}, expected [1, tokens, {text_dim}]: "
            f"encode the prompt with this model's text encoder."
        )
    if not embeddings.is_floating_point() or not embeddings.isfinite().all():
        raise InputError(f"{path} holds embeddings that are not finite numbers: encode the prompt again.")
    return embeddings


class ByteTextEncoder:
    """Deterministic stand-in for a text encoder, for the built-in models.

    Row i is byte i's row in a fixed pseudo-random table plus a sinusoidal code of i; rows after the prompt are zero.
    Prompts longer than `tokens` bytes are cut, with a warning.
    """

    def __init__(self, dim: int, *, tokens: int = 64) -> None:
        self.tokens = tokens
        self._table = torch.randn(256, dim, generator=torch.Generator("cpu").manual_seed(_BYTE_TABLE_SEED))
        rate = torch.exp(-math.log(10_000) * torch.arange(0, dim, 2) / dim)
        angle = torch.arange(tokens).unsqueeze(1) * rate
        self._position = torch.stack((angle.sin(), angle.cos()), dim=-1).flatten(1)[:, :dim]

    def __call__(self, prompt: str) -> Tensor:
        """Embeddings `[1, tokens, dim]`, float32, of the prompt with its white space collapsed."""
        _check_text(prompt)
        data = " ".join(prompt.split()).encode()
        _warn_if_cut(len(data), self.tokens)
        length = min(len(data), self.tokens)
        embeddings = torch.zeros_like(self._position)
        embeddings[:length] = self._table[list(data[:length])] + self._position[:length]
        return embeddings.unsqueeze(0)


def check_text_source(source: str | Path) -> None:
    """Raise `InputError` unless `source` is a text encoder's folder or a file: before a large model is loaded."""
    if Path(source).is_dir():
        _parts(Path(source))
    elif not Path(source).is_file():
        raise InputError(
            f"There is no text encoder at {source}: give a diffusers-layout folder of UMT5-XXL, "
            f"or a safetensors file of ready embeddings."
        )


def _check_text(prompt: str) -> None:
    # Command-line bytes that are not UTF-8 arrive as lone surrogates, which encoders refuse.
    if any("\ud800" <= character <= "\udfff" for character in prompt):
        raise InputError("The prompt is not valid UTF-8 text: type it again, or check the encoding of the terminal.")


@contextmanager
def _reading(folder: Path) -> Iterator[None]:
    """Turn transformers' errors about files in `folder`, of every kind, into `InputError`."""
    try:
        yield
    except (InputError, MemoryError):
        raise
    except Exception as error:
        reason = " ".join(str(error).split())
        raise InputError(
            f"{folder} cannot be read ({type(error).__name__}: {reason:.200}): "
            f"download Wan-AI/Wan2.2-TI2V-5B-Diffusers again."
        ) from error


def _warn_if_cut(length: int, tokens: int) -> None:
    if length > tokens:
        warnings.warn(
            f"The prompt has {length} tokens and the model takes {tokens}: the last {length - tokens} are cut.",
            stacklevel=3,
        )


def _parts(folder: Path) -> tuple[Path, Path]:
    """Folders of the encoder and of the tokenizer, checked for their files."""
    if not folder.is_dir():
        raise InputError(f"There is no text encoder folder at {folder}: give a diffusers-layout folder of UMT5-XXL.")
    encoder, tokenizer = (
        folder / part if (folder / part).is_dir() else folder for part in ("text_encoder", "tokenizer")
    )
    lacking = [
        part
        for part, present in (
            ("the encoder's config.json", (encoder / "config.json").is_file()),
            ("the encoder's weights", any(any(encoder.glob(pattern)) for pattern in _ENCODER_FILES)),
            ("the tokenizer", any((tokenizer / file).is_file() for file in _TOKENIZER_FILES)),
        )
        if not present
    ]
    if lacking:
        raise InputError(
            f"{folder} lacks {' and '.join(lacking)}: give a folder with text_encoder/ and tokenizer/, "
            f"such as a download of Wan-AI/Wan2.2-TI2V-5B-Diffusers."
        )
    return encoder, tokenizer


def _load_encoder(folder: Path, dtype: torch.dtype) -> Any:
    from transformers import AutoConfig, UMT5EncoderModel

    model_type = AutoConfig.from_pretrained(folder, local_files_only=True).model_type
    if model_type != "umt5":
        raise InputError(f"{folder} is a {model_type} text encoder, the model was trained with UMT5-XXL: give that.")
    # With output_loading_info it returns a pair, which its annotations do not know.
    from_pretrained: Any = UMT5EncoderModel.from_pretrained
    encoder, loading = from_pretrained(folder, local_files_only=True, torch_dtype=dtype, output_loading_info=True)
    absent = sorted(set(loading["missing_keys"]) - {"encoder.embed_tokens.weight"})
    if absent:
        raise InputError(
            f"{folder} lacks {len(absent)} of the encoder's tensors (first: {absent[0]}): download it again."
        )
    # Some transformers 5 releases leave the encoder's own embedding table zero (huggingface/transformers#43880).
    encoder.set_input_embeddings(encoder.shared)
    return encoder.eval()
