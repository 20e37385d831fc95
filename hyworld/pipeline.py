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
from .config import TINY, WAN_5B, check_size, frames_in
from .dit import WanDiT
from .dit.graphs import GraphedNetwork
from .errors import InputError
from .fp8 import use_fp8
from .image_encoder import clip_vision
from .modes import (
    Modes,
    check_modes,
    fp8_rounding,
    keeps_compact,
    keeps_fp8,
    network_kernels,
    remembering,
    set_vae_kernels,
    wants_graphs,
    wants_triton,
)
from .picture import CropChoice, open_picture, to_video_tensor
from .recipe_choice import adjusted, recipe_for
from .text import check_text_source, encode_prompt, load_embeddings
from .vae import CausalVAE, StreamingDecoder
from .vae.fp8_convolution import use_fp8_convolutions
from .walk import WORLDPLAY, Chunk, Network, Recipe, Walker, Words, World
from .walk.decoding import Decoding
from .walk.recipes import NEGATIVE_PROMPT
from .walk.walker import Foresee, OnProgress, WalkPath
from .weights import load_decoder, load_dit, load_vae, open_dit

TextEncoder = Callable[[str], Tensor]
"""Prompt → embeddings `[1, L, text_dim]`."""

ImageEncoder = Callable[[Tensor], Tensor]
"""Video `[1, 3, 1, H, W]` of a picture in [-1, 1] → CLIP tokens `[1, K, clip_dim]`."""

IMAGE_ENCODER_MISSING = (
    "The model reads CLIP tokens of the picture: add --image-encoder with a diffusers-layout folder of its CLIP vision "
    "model (such as Wan2.1-I2V-14B-480P-Diffusers)."
)

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
    encode_image: for networks that read CLIP tokens of the picture.

    Raises `InputError` for a VAE or decoder of other latents than the network's.
    """

    def __init__(
        self,
        walker: Walker,
        vae: Encoder,
        size: tuple[int, int],
        encode_text: TextEncoder | None = None,
        picture: Image.Image | None = None,
        encode_image: ImageEncoder | None = None,
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
        self.encode_image = encode_image
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
        negative: str | Tensor | Words | None = None,
    ) -> World:
        """A new world; raises `InputError` for a size, picture or embedding that does not fit.

        first_frame: a picture of any size or its file, a normalised latent `[1, C, 1, h, w]`, or None: the pipeline's
            own picture, or text alone.
        text: the prompt, or its embeddings `[1, L, text_dim]`.
        seed: 0 or larger; the same seed gives the same world.
        size: (height, width) in pixels, see `check_size`; default: the pipeline's, or that of a latent given.
        crop: the part of a picture that is kept where it is larger: center, top, bottom, left or right.
        negative: what a guided recipe is led away from, as `text`; default: Wan's own negative prompt.
        """
        recipe, clip = self.walker.recipe, None
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
                if self.walker.network.config.clip_dim:
                    clip = self._clip_tokens(first_frame, height, width, crop)
                first_frame = self.encode_picture(first_frame, height, width, crop)
        words = self.words(text)
        if negative is None and recipe.is_guided:
            negative = NEGATIVE_PROMPT
        return self.walker.begin(
            words.text,
            prompt=words.prompt,
            first_frame=first_frame,
            latent_size=latent_size,
            seed=seed,
            negative=self.words(negative) if negative is not None and recipe.is_guided else None,
            clip=clip,
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
        """Normalised latent `[1, C, 1, h, w]`, float32, of the picture scaled and cropped to height x width.

        For a recipe with the picture in channels `[1, C, n, h, w]`: of a chunk's video of the picture, then black.
        """
        video = to_video_tensor(picture, height, width, crop, spatial_stride=self.vae.spatial_stride)
        if self.walker.recipe.picture == "channels":
            after = frames_in(self.walker.recipe.chunk_latents) - 1
            video = torch.cat((video, video.new_zeros(1, 3, after, height, width)), dim=2)
        if self.walker.decoding is not None:
            video = video.to(self.walker.decoding.device, self.walker.decoding.dtype)
        return self.vae.encode(video).float()

    def _clip_tokens(self, picture: Image.Image, height: int, width: int, crop: CropChoice) -> Tensor:
        if self.encode_image is None:
            raise InputError(IMAGE_ENCODER_MISSING)
        return self.encode_image(
            to_video_tensor(picture, height, width, crop, spatial_stride=self.vae.spatial_stride)
        ).float()

    def walk(
        self,
        world: World,
        path: WalkPath | None = None,
        chunks: int | None = 0,
        *,
        prompts: Mapping[int, str | Tensor | Words] | None = None,
        on_progress: OnProgress | None = None,
        foresee: Foresee | None = None,
    ) -> Iterator[Chunk]:
        """The chunks along `path`, from where `world` stands; see `Walker.walk`.

        path: None for a model that follows no camera; `chunks` then says how far.

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
    recipe: str | None = None,
    low_weights: str | Path | None = None,
    image_encoder: str | Path | None = None,
    ema: bool | None = None,
    steps: int | None = None,
    shift: float | None = None,
    guidance: float | None = None,
    colour_match: float | None = None,
) -> Pipeline:
    """Load everything a walk needs.

    weights: the transformer (`model.pt`, safetensors or a folder); None is a built-in model.
    preset: the built-in one: "tiny" (default; walks through rooms) or "tiny-random" (draws noise).
    vae: the Wan VAE of the model; needed with `weights`.
    text_encoder: a diffusers-layout folder with UMT5-XXL, or a safetensors file of ready embeddings.
    decoder: "full" (the VAE) or "tiny" (faster, rougher; with `weights` it needs `tiny_decoder`, the file of a TAEHV
        or of a Wan VAE with a narrower decoder).
    device: "cpu", "cuda", "cuda:1", "mps" or "auto" (the GPU if there is one).
    dtype: "float32", "bfloat16", "float16" or "auto" (bfloat16 on a GPU, float32 on a CPU).
    allow_base: walk a base Wan 2.2 TI2V-5B by WorldPlay's recipe, although it follows no camera.
    head_dim: channels per attention head, for small models whose file does not say.
    modes: what to trade for speed or memory; default: nothing.
    recipe: how the checkpoint is walked, a name of `walk.recipes.RECIPES`; None: see `recipe_choice.recipe_for`.
    low_weights: the low-noise network of a model of two (Wan 2.2 14B); `weights` is then the high-noise one.
    image_encoder: diffusers-layout folder of the CLIP vision model, for models that read CLIP tokens of the picture.
    ema: of a file with two sets of weights the averaged one, see `weights.open_dit`.
    steps, shift, guidance: instead of the recipe's, where the checkpoint leaves them open.
    colour_match: instead of the recipe's, how much colours are matched from chunk to chunk, 0 to 1.

    Raises `InputError` for a file that is missing, damaged or of another model, and parts that do not fit together.
    """
    device, dtype = pick_device(device), pick_dtype(dtype, pick_device(device))
    if decoder not in ("full", "tiny"):
        raise InputError(f'The decoder must be "full" or "tiny", got {decoder!r}.')
    if text_encoder is not None:
        check_text_source(text_encoder)
    modes = modes or Modes()
    check_modes(modes, device, decoder)  # before a minute goes into loading
    if weights is None:
        given = {
            "VAE": vae, "tiny decoder": tiny_decoder, "low-noise network": low_weights, "image encoder": image_encoder
        }  # fmt: skip
        surplus = [name for name, file in given.items() if file is not None]
        if surplus:
            raise InputError(f"A {surplus[0]} file was given without the model it belongs to: add --weights FILE.")
        if (recipe, steps, shift, guidance, colour_match) != (None,) * 5:
            raise InputError(
                "The built-in world has its recipe built in: leave recipe, steps, shift, guidance and colour match out."
            )
        return _built_in(preset or TINY.name, text_encoder, decoder, device, dtype, modes)
    if preset is not None:
        raise InputError("A preset has its weights built in: leave out --weights, or --preset.")
    if vae is None:
        raise InputError(
            "The model needs its VAE: add --vae with the path of wan2.2_vae.safetensors or Wan2.2_VAE.pth (models of "
            "16 latent channels: Wan2.1_VAE.pth)."
        )
    if decoder == "tiny" and tiny_decoder is None:
        raise InputError("The tiny decoder needs its weights: add --tiny-decoder with the path of taew2_2.pth.")
    if decoder == "full" and tiny_decoder is not None:
        raise InputError("A tiny decoder file was given but is not used: add --decoder tiny, or leave the file out.")

    opened = open_dit(weights, allow_base=allow_base, head_dim=head_dim, ema=ema)
    chosen = recipe_for(opened.config, weights, asked=recipe, two=low_weights is not None)
    chosen = adjusted(chosen, steps=steps, shift=shift, guidance=guidance, colour_match=colour_match)
    wan_vae = load_vae(vae, device=device, dtype=dtype, latent_channels=opened.config.latent_channels)
    frames_from: StreamingDecoder = wan_vae
    if tiny_decoder is not None:
        channels = opened.config.latent_channels
        frames_from = load_decoder(tiny_decoder, device=device, dtype=dtype, latent_channels=channels)
    dit, low = (
        None
        if file is None
        else load_dit(
            file,
            device=device,
            dtype=dtype,
            allow_base=allow_base,
            head_dim=head_dim,
            ema=ema,
            fp8=fp8_rounding(modes),
        )
        for file in (weights, low_weights)
    )
    assert dit is not None
    return Pipeline(
        make_walker(dit, wan_vae, frames_from, modes, device, dtype, recipe=chosen, second=low),
        wan_vae,
        chosen.size,
        text_encoder_for(text_encoder, dit.config.text_dim, device, dtype),
        encode_image=None if image_encoder is None else clip_vision(image_encoder, device, dtype),
    )


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
    *,
    recipe: Recipe = WORLDPLAY,
    second: WanDiT | None = None,
) -> Walker:
    """A walker over the networks, run as `modes` says; raises `InputError` if that cannot run on `device`.

    second: the low-noise network of a recipe with two.

    fp8 linears are a matter of loading, see `fp8_rounding`; fp8 convolutions replace the VAE's exact ones. Where
    another decoder makes the frames, the VAE's forgets its weights.
    """
    check_modes(modes, device)
    recipe = remembering(recipe, modes)
    graphs = wants_graphs(modes, device)
    networks: list[Network] = []
    for network in (dit,) if second is None else (dit, second):
        network.kernels = network_kernels(modes, device)
        networks.append(GraphedNetwork(network) if graphs else network)
    if decoder is not vae:
        vae.forget_decoder()
    if isinstance(decoder, CausalVAE):
        if modes.convolutions == "fp8":
            use_fp8_convolutions(decoder)
        set_vae_kernels(decoder, modes.kernels, device)
    return Walker(
        networks[0],
        recipe=recipe,
        second=networks[1] if second is not None else None,
        decoding=Decoding(decoder, device=device, dtype=dtype),
        device=device,
        dtype=dtype,
        vae=vae.fingerprint,
        compact_memory=keeps_compact(modes, fused=wants_triton(modes.kernels, device), device=device),
        fp8_memory=keeps_fp8(modes),
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
