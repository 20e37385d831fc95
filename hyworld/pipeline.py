"""From files to a pipeline: networks, VAE, text encoder and loop.

pipeline = hyworld.load("worldplay_5b.safetensors", vae="wan2.2_vae.safetensors", text_encoder="umt5")
world = pipeline.start("street.jpg", "a quiet street", seed=1)
for chunk in pipeline.walk(world, "w-15"):
    world = chunk.world  # chunk.frames: uint8 [F, H, W, 3]
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Protocol

import torch
from PIL import Image
from torch import Tensor

from . import builtin
from .config import TINY, WAN_5B, check_size
from .dit import WanDiT
from .dit.graphs import GraphedNetwork
from .errors import InputError
from .fp8 import use_fp8
from .modes import (
    Modes,
    check_modes,
    fp8_rounding,
    keeps_compact,
    network_kernels,
    set_vae_kernels,
    wants_graphs,
    wants_triton,
)
from .picture import CropChoice, open_picture, to_video_tensor
from .text import check_text_source, encode_prompt, load_embeddings
from .vae import CausalVAE, StreamingDecoder
from .walk import Chunk, Walker, Words, World
from .walk.decoding import Decoding
from .walk.walker import Foresee, OnProgress, WalkPath
from .weights import load_dit, load_tiny_decoder, load_vae

TextEncoder = Callable[[str], Tensor]
"""Prompt → embeddings `[1, L, text_dim]`."""

TEXT_ENCODER_MISSING = (
    "The model needs a text encoder: add --text-encoder with a diffusers-layout folder of UMT5-XXL "
    "(such as Wan2.2-TI2V-5B-Diffusers) or a safetensors file of ready embeddings."
)


class Encoder(Protocol):
    """What a pipeline asks of its VAE: `CausalVAE`, or a host's."""

    @property
    def latent_channels(self) -> int:
        """Channels of the latents."""

    @property
    def spatial_stride(self) -> int:
        """Pixels per latent cell along height and width."""

    def encode(self, video: Tensor) -> Tensor:
        """Video `[1, 3, f, H, W]` in [-1, 1] → normalised latents `[1, C, n, h, w]`."""


class Pipeline:
    """Loaded networks, and the way from a picture and a prompt to a walk; made by `load`.

    vae: encodes pictures.
    size: default (height, width) of a world.
    encode_text: prompt → embeddings; without it worlds start from embeddings alone.
    picture: default first frame; only the built-in model has one.

    Raises `InputError` for a VAE or decoder of other latents than the network's.
    """

    def __init__(
        self,
        walker: Walker,
        vae: Encoder,
        size: tuple[int, int],
        encode_text: TextEncoder | None = None,
        picture: Image.Image | None = None,
    ) -> None:
        channels = walker.network.config.latent_channels
        decoder = vae if walker.decoding is None else walker.decoding.decoder
        for name, part in (("VAE", vae), ("tiny decoder", decoder)):
            if part.latent_channels != channels:
                raise InputError(
                    f"The {name} has {part.latent_channels} latent channels, but this model needs {channels}: give the "
                    "one the model was trained with (wan2.2_vae.safetensors for 48, that of Tiny World for "
                    f"{TINY.vae.z_dim})."
                )
        self.walker = walker
        self.vae = vae
        self.encode_text = encode_text
        self.size = size
        self.picture = picture

    def start(
        self,
        first_frame: Image.Image | Tensor | str | Path | None = None,
        text: str | Tensor | Words = "",
        *,
        seed: int = 0,
        size: tuple[int, int] | None = None,
        crop: CropChoice = "center",
    ) -> World:
        """A new world; raises `InputError` for a size, picture or embedding that does not fit.

        first_frame: a picture of any size or its file, a normalised latent `[1, C, 1, h, w]`, or None: the pipeline's
            own picture, or text alone.
        text: the prompt, or its embeddings `[1, L, text_dim]`.
        seed: 0 or larger; the same seed gives the same world.
        size: (height, width) in pixels, see `check_size`; default: the pipeline's, or that of a latent given.
        crop: the part of a picture that is kept where it is larger: center, top, bottom, left or right.
        """
        latent_size = None
        if first_frame is None:
            first_frame = self.picture
        if isinstance(first_frame, (str, Path)):
            first_frame = open_picture(first_frame)
        if size is not None or not isinstance(first_frame, Tensor):
            height, width = _height_width(size or self.size)
            stride = self.vae.spatial_stride
            check_size(height, width, stride)
            latent_size = (height // stride, width // stride)
            if isinstance(first_frame, Image.Image):
                first_frame = self.encode_picture(first_frame, height, width, crop)
        words = self.words(text)
        return self.walker.begin(
            words.text, prompt=words.prompt, first_frame=first_frame, latent_size=latent_size, seed=seed
        )

    def words(self, text: str | Tensor | Words) -> Words:
        """A prompt, or its embeddings `[1, L, text_dim]`, as a world is told it."""
        if isinstance(text, Words):
            return text
        if not isinstance(text, str):
            return Words(text)
        if self.encode_text is None:
            raise InputError(TEXT_ENCODER_MISSING)
        return Words(self.encode_text(text), text)

    @torch.no_grad()
    def encode_picture(self, picture: Image.Image, height: int, width: int, crop: CropChoice = "center") -> Tensor:
        """Normalised latent `[1, C, 1, h, w]`, float32, of the picture scaled and cropped to height x width."""
        video = to_video_tensor(picture, height, width, crop, spatial_stride=self.vae.spatial_stride)
        if self.walker.decoding is not None:
            video = video.to(self.walker.decoding.device, self.walker.decoding.dtype)
        return self.vae.encode(video).float()

    def walk(
        self,
        world: World,
        path: WalkPath,
        chunks: int | None = 0,
        *,
        prompts: Mapping[int, str | Tensor | Words] | None = None,
        on_progress: OnProgress | None = None,
        foresee: Foresee | None = None,
    ) -> Iterator[Chunk]:
        """The chunks along `path`, from where `world` stands; see `Walker.walk`.

        prompts: new words on the way: `{6: "it starts to rain"}` holds once the world has 6 chunks.
        """
        words = {chunk: self.words(text) for chunk, text in (prompts or {}).items()}
        return self.walker.walk(world, path, chunks, words=words, on_progress=on_progress, foresee=foresee)

    def replay(self, world: World, first: int = 0) -> Iterator[Chunk]:
        """The chunks of `world` from `first` on, decoded again; see `Walker.replay`."""
        return self.walker.replay(world, first)


def _height_width(size: object) -> tuple[int, int]:
    if isinstance(size, (tuple, list)) and len(size) == 2 and all(isinstance(side, int) for side in size):
        return size[0], size[1]
    raise InputError(f"The size must be (height, width) in pixels, such as (704, 1280), got {size!r}.")


def load(
    weights: str | Path | None = None,
    *,
    preset: str | None = None,
    vae: str | Path | None = None,
    text_encoder: str | Path | None = None,
    decoder: str = "full",
    tiny_decoder: str | Path | None = None,
    device: str | torch.device = "auto",
    dtype: str | torch.dtype = "auto",
    allow_base: bool = False,
    head_dim: int | None = None,
    modes: Modes | None = None,
) -> Pipeline:
    """Load everything a walk needs.

    weights: the transformer (`model.pt`, safetensors or a folder); None is a built-in model.
    preset: the built-in one: "tiny" (default; walks through rooms) or "tiny-random" (draws noise).
    vae: the Wan 2.2 VAE; needed with `weights`.
    text_encoder: a diffusers-layout folder with UMT5-XXL, or a safetensors file of ready embeddings.
    decoder: "full" (the VAE) or "tiny" (TAEHV, faster, rougher; with `weights` it needs `tiny_decoder`).
    device: "cpu", "cuda", "cuda:1", "mps" or "auto" (the GPU if there is one).
    dtype: "float32", "bfloat16", "float16" or "auto" (bfloat16 on a GPU, float32 on a CPU).
    allow_base: accept a base Wan 2.2 model, which follows no camera.
    head_dim: channels per attention head, for small models whose file does not say.
    modes: what to trade for speed or memory; default: nothing.

    Raises `InputError` for a file that is missing, damaged or of another model, and parts that do not fit together.
    """
    device, dtype = pick_device(device), pick_dtype(dtype, pick_device(device))
    if decoder not in ("full", "tiny"):
        raise InputError(f'The decoder must be "full" or "tiny", got {decoder!r}.')
    if text_encoder is not None:
        check_text_source(text_encoder)
    modes = modes or Modes()
    check_modes(modes, device)  # before a minute goes into loading
    if weights is None:
        surplus = [name for name, file in (("VAE", vae), ("tiny decoder", tiny_decoder)) if file is not None]
        if surplus:
            raise InputError(f"A {surplus[0]} file was given without the model it belongs to: add --weights FILE.")
        return _built_in(preset or TINY.name, text_encoder, decoder, device, dtype, modes)
    if preset is not None:
        raise InputError("A preset has its weights built in: leave out --weights, or --preset.")
    if vae is None:
        raise InputError(
            "The model needs its VAE: add --vae with the path of wan2.2_vae.safetensors or Wan2.2_VAE.pth."
        )
    if decoder == "tiny" and tiny_decoder is None:
        raise InputError("The tiny decoder needs its weights: add --tiny-decoder with the path of taew2_2.pth.")
    if decoder == "full" and tiny_decoder is not None:
        raise InputError("A tiny decoder file was given but is not used: add --decoder tiny, or leave the file out.")

    wan_vae = load_vae(vae, device=device, dtype=dtype)
    frames_from: StreamingDecoder = wan_vae
    if tiny_decoder is not None:
        frames_from = load_tiny_decoder(tiny_decoder, device=device, dtype=dtype)
    dit = load_dit(
        weights, device=device, dtype=dtype, allow_base=allow_base, head_dim=head_dim, fp8=fp8_rounding(modes)
    )
    encode = text_encoder_for(text_encoder, dit.config.text_dim, device, dtype)
    return Pipeline(make_walker(dit, wan_vae, frames_from, modes, device, dtype), wan_vae, WAN_5B.size, encode)


def _built_in(
    name: str, text_encoder: str | Path | None, decoder: str, device: torch.device, dtype: torch.dtype, modes: Modes
) -> Pipeline:
    preset = builtin.preset(name)
    if preset.name != name:
        warnings.warn(builtin.NOT_TRAINED, stacklevel=3)
    dit, vae = builtin.dit(preset).to(device, dtype), builtin.vae(preset).to(device, dtype)
    fp8 = fp8_rounding(modes)
    if fp8 is not None:
        use_fp8(dit, fp8)
    frames_from: StreamingDecoder = builtin.decoder(preset).to(device, dtype) if decoder == "tiny" else vae
    encode = text_encoder_for(text_encoder, preset.dit.text_dim, device, dtype) or builtin.text_encoder()
    walker = make_walker(dit, vae, frames_from, modes, device, dtype)
    return Pipeline(walker, vae, preset.size, encode, builtin.first_frame() if preset is TINY else None)


def make_walker(
    dit: WanDiT,
    vae: CausalVAE,
    decoder: StreamingDecoder,
    modes: Modes,
    device: torch.device,
    dtype: torch.dtype,
) -> Walker:
    """A walker over both networks, run as `modes` says; raises `InputError` if that cannot run on `device`.

    fp8 linears are a matter of loading, see `fp8_rounding`.
    """
    check_modes(modes, device)
    dit.kernels = network_kernels(modes, device)
    set_vae_kernels(vae, modes.kernels, device)
    return Walker(
        GraphedNetwork(dit) if wants_graphs(modes, device) else dit,
        decoding=Decoding(decoder, device=device, dtype=dtype),
        device=device,
        dtype=dtype,
        vae=vae.fingerprint,
        compact_memory=keeps_compact(modes, fused=wants_triton(modes.kernels, device)),
    )


def text_encoder_for(
    source: str | Path | None, text_dim: int, device: torch.device, dtype: torch.dtype
) -> TextEncoder | None:
    """UMT5 from a folder, or ready embeddings from a file; None without a source. Raises `InputError` when called."""
    if source is None:
        return None

    def encode(prompt: str) -> Tensor:
        if Path(source).is_dir():
            return encode_prompt(prompt, source, device=device, dtype=dtype, tokens=WAN_5B.text_tokens)
        if prompt:
            warnings.warn(f"The embeddings in {source} are used, the prompt is not.", stacklevel=2)
        return load_embeddings(source, text_dim)

    return encode


def pick_device(device: str | torch.device) -> torch.device:
    """`auto` is the GPU if there is one, else the CPU; raises `InputError` for a device that is not here."""
    if device == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        chosen = torch.device(device)
        torch.empty(0, device=chosen)
        usable = chosen.type != "meta"  # which holds no numbers
    except (RuntimeError, AssertionError):
        usable = False
    if not usable:
        raise InputError(
            f"The device {str(device)!r} cannot be used here: give cpu, cuda, cuda:N or mps, or leave --device out."
        )
    return chosen


def pick_dtype(dtype: str | torch.dtype, device: torch.device) -> torch.dtype:
    """`auto` is bfloat16 on a GPU and float32 on a CPU; raises `InputError` for an unknown name."""
    if isinstance(dtype, torch.dtype):
        return dtype
    if dtype == "auto":
        return torch.float32 if device.type == "cpu" else torch.bfloat16
    names = {
        "float32": torch.float32,
        "fp32": torch.float32,
        "bfloat16": torch.bfloat16,
        "bf16": torch.bfloat16,
        "float16": torch.float16,
        "fp16": torch.float16,
    }
    if dtype not in names:
        raise InputError(f"The dtype must be one of auto, {', '.join(names)}, got {dtype!r}.")
    return names[dtype]
