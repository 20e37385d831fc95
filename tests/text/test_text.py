"""Prompts: cleaned as the original cleans them, encoded as UMT5 encodes them, zero after their end."""

from __future__ import annotations

import html
import re
import shutil
import sys
import warnings
from pathlib import Path

import ftfy
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from hyworld.errors import InputError
from hyworld.text import ByteTextEncoder, clean_prompt, encode_prompt, load_embeddings

TOKENS = 16
WORDS = ["<pad>", "</s>", "<unk>", "a", "quiet", "street", "in", "the", "rain", "(", ")", "."]


@pytest.fixture(scope="module")
def encoder_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A UMT5 of random weights and a word tokenizer, in the layout of a diffusers pipeline."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast, UMT5Config, UMT5EncoderModel

    folder = tmp_path_factory.mktemp("pipeline")
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
    ).save_pretrained(folder / "tokenizer")

    torch.manual_seed(0)
    config = UMT5Config(
        vocab_size=len(WORDS), d_model=32, d_kv=8, d_ff=64, num_layers=2, num_heads=4, tie_word_embeddings=False
    )
    UMT5EncoderModel(config).save_pretrained(folder / "text_encoder")
    return folder


def directly(folder: Path, words: list[str]) -> torch.Tensor:
    """What UMT5 gives for these words and the end of the sentence, without any padding."""
    from transformers import UMT5EncoderModel

    encoder = UMT5EncoderModel.from_pretrained(folder / "text_encoder").eval()
    ids = torch.tensor([[WORDS.index(word) if word in WORDS else 2 for word in [*words, "</s>"]]])
    with torch.no_grad():
        return encoder(ids).last_hidden_state


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("  a\tquiet\n\n street ", "a quiet street"),
        ("no full stop", "no full stop"),
        ("a full stop.", "a full stop."),
        ("&amp;quot;hi&amp;quot; &lt;b&gt;", '"hi" <b>'),
        ("schÃ¶n", "schön"),
        ("a\u00a0b\u2003c", "a b c"),
        ("", ""),
    ],
)
def test_clean_prompt(text: str, cleaned: str) -> None:
    assert clean_prompt(text) == cleaned


@given(st.text())
def test_clean_prompt_equals_the_original_rule(text: str) -> None:
    basic = html.unescape(html.unescape(ftfy.fix_text(text))).strip()
    assert clean_prompt(text) == re.sub(r"\s+", " ", basic).strip()


def test_encode_prompt_equals_the_encoder_without_padding(encoder_folder: Path) -> None:
    words = ["a", "quiet", "street", "in", "the", "rain"]
    expected = directly(encoder_folder, words)
    got = encode_prompt(" a  quiet street\nin the rain ", encoder_folder, dtype=torch.float32, tokens=TOKENS)
    assert got.shape == (1, TOKENS, 32)
    assert got.dtype == torch.float32
    assert not got.requires_grad
    torch.testing.assert_close(got[:, : len(words) + 1], expected)
    assert expected.abs().amax(dim=-1).min() > 0.1
    assert not got[:, len(words) + 1 :].any()


def test_a_full_stop_is_another_prompt(encoder_folder: Path) -> None:
    plain, stopped = (
        encode_prompt(text, encoder_folder, dtype=torch.float32, tokens=TOKENS) for text in ("the rain", "the rain.")
    )
    assert plain[0].any(dim=-1).sum() == 3
    assert stopped[0].any(dim=-1).sum() == 4


def test_default_shape_and_dtype(encoder_folder: Path) -> None:
    got = encode_prompt("", encoder_folder)
    assert got.shape == (1, 512, 32)
    assert got.dtype == torch.bfloat16
    assert got[0].any(dim=-1).tolist() == [True] + [False] * 511


def test_both_parts_in_one_folder(encoder_folder: Path, tmp_path: Path) -> None:
    for part in ("text_encoder", "tokenizer"):
        shutil.copytree(encoder_folder / part, tmp_path, dirs_exist_ok=True)
    same = [encode_prompt("the rain", folder, tokens=TOKENS) for folder in (encoder_folder, tmp_path)]
    assert torch.equal(*same)


def test_long_prompts_are_cut_with_a_warning(encoder_folder: Path) -> None:
    words = ["rain"] * 20
    with pytest.warns(UserWarning, match="21 tokens and the model takes 16: the last 5 are cut"):
        got = encode_prompt(" ".join(words), encoder_folder, dtype=torch.float32, tokens=TOKENS)
    torch.testing.assert_close(got, directly(encoder_folder, words[: TOKENS - 1]))


def test_prompts_that_fit_give_no_warning(encoder_folder: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        encode_prompt(" ".join(["rain"] * (TOKENS - 1)), encoder_folder, tokens=TOKENS)


def test_the_encoder_of_some_transformers_releases_is_mended(
    encoder_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import UMT5EncoderModel

    expected = encode_prompt("the rain", encoder_folder, tokens=TOKENS)
    load = UMT5EncoderModel.from_pretrained

    def load_untied(*args: object, **kwargs: object) -> tuple[UMT5EncoderModel, dict[str, object]]:
        encoder, loading = load(*args, **kwargs)
        encoder.encoder.embed_tokens = torch.nn.Embedding(len(WORDS), 32, dtype=encoder.dtype)
        return encoder, {**loading, "missing_keys": ["encoder.embed_tokens.weight"]}

    monkeypatch.setattr(UMT5EncoderModel, "from_pretrained", load_untied)
    assert torch.equal(encode_prompt("the rain", encoder_folder, tokens=TOKENS), expected)


def test_missing_library(encoder_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(InputError, match="pip install transformers sentencepiece ftfy"):
        encode_prompt("x", encoder_folder)


@pytest.mark.parametrize(
    ("absent", "message"),
    [
        ("text_encoder/config.json", "lacks the encoder's config.json: give"),
        ("text_encoder/model.safetensors", "lacks the encoder's weights: give"),
        ("tokenizer/tokenizer.json", "lacks the tokenizer: give"),
        ("tokenizer", "lacks the tokenizer: give"),
        ("text_encoder", "lacks the encoder's config.json and the encoder's weights: give"),
    ],
)
def test_lacking_parts_are_named(encoder_folder: Path, tmp_path: Path, absent: str, message: str) -> None:
    folder = shutil.copytree(encoder_folder, tmp_path / "p")
    path = folder / absent
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.raises(InputError, match=message):
        encode_prompt("x", folder)


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="There is no text encoder folder at"):
        encode_prompt("x", tmp_path / "nowhere")


def test_incomplete_weights(encoder_folder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(encoder_folder, tmp_path / "p")
    file = folder / "text_encoder" / "model.safetensors"
    state = load_file(file)
    del state["encoder.block.1.layer.1.DenseReluDense.wo.weight"]
    save_file(state, file, {"format": "pt"})
    with pytest.raises(InputError, match=r"lacks 1 of the encoder's tensors \(first: encoder\.block\.1\."):
        encode_prompt("x", folder)


def test_another_encoder(encoder_folder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(encoder_folder, tmp_path / "p")
    config = folder / "text_encoder" / "config.json"
    config.write_text(config.read_text().replace('"umt5"', '"t5"'))
    with pytest.raises(InputError, match="is a t5 text encoder, the model was trained with UMT5-XXL"):
        encode_prompt("x", folder)


@pytest.mark.parametrize(
    "file", ["text_encoder/config.json", "text_encoder/model.safetensors", "tokenizer/tokenizer.json"]
)
def test_damaged_files_are_told_in_one_line(encoder_folder: Path, tmp_path: Path, file: str) -> None:
    folder = shutil.copytree(encoder_folder, tmp_path / "p")
    (folder / file).write_text("{ not\nthis")
    with pytest.raises(InputError, match=rf"{Path(file).parent} cannot be read \(.*\): download") as error:
        encode_prompt("x", folder)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("prompt", ["\udcff", "a street \ud83d"])
def test_prompts_that_are_no_text(encoder_folder: Path, prompt: str) -> None:
    for encode in (ByteTextEncoder(16), lambda text: encode_prompt(text, encoder_folder)):
        with pytest.raises(InputError, match="not valid UTF-8"):
            encode(prompt)


@pytest.mark.parametrize("name", ["text", "prompt_embeds", "whatever"])
@pytest.mark.parametrize("axes", [2, 3])
def test_load_embeddings(tmp_path: Path, name: str, axes: int) -> None:
    embeddings = torch.randn(1, 5, 8)
    state = {name: embeddings if axes == 3 else embeddings[0]}
    if name != "whatever":
        state["other"] = torch.zeros(3)
    save_file(state, tmp_path / "e.safetensors")
    assert torch.equal(load_embeddings(tmp_path / "e.safetensors", 8), embeddings)


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"a": torch.ones(5, 8), "b": torch.ones(5, 8)}, "holds 2 tensors and none is called text or prompt_embeds"),
        ({"text": torch.ones(1, 5, 7)}, r"shape \[1, 5, 7\], expected \[1, tokens, 8\]"),
        ({"text": torch.ones(2, 5, 8)}, r"shape \[2, 5, 8\]"),
        ({"text": torch.ones(1, 0, 8)}, r"shape \[1, 0, 8\]"),
        ({"text": torch.ones(8)}, r"shape \[8\]"),
        ({"text": torch.full((1, 5, 8), float("nan"))}, "not finite"),
        ({"text": torch.ones(1, 5, 8, dtype=torch.int64)}, "not finite"),
    ],
)
def test_embeddings_that_do_not_fit(tmp_path: Path, state: dict[str, torch.Tensor], message: str) -> None:
    save_file(state, tmp_path / "e.safetensors")
    with pytest.raises(InputError, match=message):
        load_embeddings(tmp_path / "e.safetensors", 8)


def test_missing_embeddings(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="There is no checkpoint at"):
        load_embeddings(tmp_path / "e.safetensors", 8)


def test_byte_encoder_is_deterministic_and_tells_prompts_apart() -> None:
    one, two = ByteTextEncoder(64, tokens=32), ByteTextEncoder(64, tokens=32)
    assert one("a quiet street").shape == (1, 32, 64)
    assert torch.equal(one("a quiet street"), two("  a quiet\tstreet "))
    assert not torch.equal(one("ab"), one("ba"))
    assert torch.equal(one("ab")[:, :1], one("ax")[:, :1])


@given(st.text(max_size=12), st.integers(1, 9))
def test_byte_encoder_has_a_row_per_byte_and_zeros_after(prompt: str, dim: int) -> None:
    rows = ByteTextEncoder(dim, tokens=64)(prompt)[0]
    length = len(" ".join(prompt.split()).encode())
    assert rows.any(dim=-1).tolist() == [i < length for i in range(64)]


def test_byte_encoder_of_nothing_is_zero() -> None:
    assert not ByteTextEncoder(16)("   ").any()


def test_byte_encoder_cuts_with_a_warning() -> None:
    encoder = ByteTextEncoder(16, tokens=4)
    with pytest.warns(UserWarning, match="6 tokens and the model takes 4: the last 2 are cut"):
        cut = encoder("abcdef")
    assert torch.equal(cut, encoder("abcd"))
