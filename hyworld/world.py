"""From files to a world one can walk: the networks, the VAE, the text encoder and the engine, loaded together.

world = hyworld.load("worldplay_5b.safetensors", vae="wan2.2_vae.safetensors", text_encoder="Wan2.2-TI2V-5B-Diffusers")
world.start(first_frame=Image.open("street.jpg"), text="a quiet street", seed=1)
for chunk in world.run(Trajectory.from_tokens("w-15")):
    ...  # chunk.frames: uint8 [F, H, W, 3]
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from .camera import Trajectory
from .config import TINY, VAE_SPATIAL_STRIDE, WAN_5B, check_size
from .errors import InputError
from .fp8 import use_fp8
from .modes import Modes, check_modes, fp8_rounding, make_engine
from .picture import to_video_tensor
from .rollout import Chunk, Progress, RolloutEngine, RolloutState
from .text import check_text_source, encode_prompt, load_embeddings
from .tiny import NOT_TRAINED, built_in, tiny_dit, tiny_text_encoder, tiny_vae
from .tiny import first_frame as built_in_first_frame
from .tiny import tiny_decoder as built_in_tiny_decoder
from .vae import StreamingDecoder, WanVAE
from .weights import load_dit, load_tiny_decoder, load_vae

TextEncoder = Callable[[str], Tensor]
"""Prompt → embeddings `[1, L, text_dim]`."""

TEXT_ENCODER_MISSING = (
    "The model needs a text encoder: add --text-encoder with a diffusers-layout folder of UMT5-XXL "
    "(such as Wan2.2-TI2V-5B-Diffusers) or a safetensors file of ready embeddings."
)


class World:
    """Loaded networks and the rollout that walks through one world at a time; made by `load`.

    `start`, `step`, `run`, `state` and `resume` are the engine's (`hyworld.rollout.RolloutEngine`), taking
    pictures and prompts where the engine takes latents and embeddings.

    Attributes:
        size: (height, width) it is at home at.
        picture: what a walk starts from when nothing else is given; only the built-in world has one.
    """

    def __init__(
        self,
        engine: RolloutEngine,
        vae: WanVAE,
        encode_text: TextEncoder,
        size: tuple[int, int],
        picture: Image.Image | None = None,
    ) -> None:
        self.engine = engine
        self.vae = vae
        self.encode_text = encode_text
        self.size = size
        self.picture = picture

    def start(
        self,
        first_frame: Image.Image | Tensor | None = None,
        text: str | Tensor = "",
        *,
        seed: int = 0,
        size: tuple[int, int] | None = None,
    ) -> None:
        """Begin a new world.

        Args:
            first_frame: a picture of any size, a normalised latent `[1, C, 1, h, w]`, or None: the world's own
                picture, or text alone where it has none.
            text: the prompt, or its embeddings `[1, L, text_dim]`.
            seed: 0 or larger; the same seed gives the same world.
            size: (height, width) in pixels, multiples of 32; default: the preset's.

        Raises:
            InputError: a size, picture or embedding that does not fit.
        """
        height, width = size or self.size
        check_size(height, width)
        if first_frame is None:
            first_frame = self.picture
        if isinstance(first_frame, Image.Image):
            first_frame = self.encode_picture(first_frame, height, width)
        self.engine.start(
            self.encode_text(text) if isinstance(text, str) else text,
            first_frame=first_frame,
            latent_size=(height // VAE_SPATIAL_STRIDE, width // VAE_SPATIAL_STRIDE),
            seed=seed,
        )

    @torch.no_grad()
    def encode_picture(self, picture: Image.Image, height: int, width: int) -> Tensor:
        """Normalised latent `[1, C, 1, h, w]`, float32, of the picture scaled and cropped to height x width."""
        video = to_video_tensor(picture, height, width)
        return self.vae.encode(video.to(self.engine.device, self.engine.decoder_dtype)).float()

    def step(
        self,
        cameras: Trajectory,
        *,
        noise: Tensor | None = None,
        following: Trajectory | None = None,
        on_progress: Callable[[Progress], None] | None = None,
    ) -> Chunk:
        """Generate the next chunk; see `RolloutEngine.step`."""
        return self.engine.step(cameras, noise=noise, following=following, on_progress=on_progress)

    def run(
        self, trajectory: Trajectory, chunks: int = 0, *, on_progress: Callable[[Progress], None] | None = None
    ) -> Iterator[Chunk]:
        """Yield the chunks along the trajectory; see `RolloutEngine.run`."""
        return self.engine.run(trajectory, chunks, on_progress=on_progress)

    def state(self) -> RolloutState:
        """The world so far, as an immutable value."""
        return self.engine.state()

    def resume(self, state: RolloutState) -> None:
        """Go on from a state."""
        self.engine.resume(state)


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
) -> World:
    """Load everything a rollout needs.

    Args:
        weights: the transformer (`model.pt`, safetensors or a folder); None is a built-in model, which needs no file.
        preset: which one: "tiny" (default), trained to walk through rooms, or "tiny-random", which draws noise.
        vae: the Wan 2.2 VAE; needed with `weights`.
        text_encoder: a diffusers-layout folder with UMT5-XXL, or a safetensors file of ready embeddings.
            Without it the world can only be started with embeddings.
        decoder: "full" (the VAE) or "tiny" (TAEHV, faster and rougher; needs `tiny_decoder` with `weights`; the
            preset "tiny" has none).
        device: "cpu", "cuda", "cuda:1", "mps" or "auto" (the GPU if there is one).
        dtype: "float32", "bfloat16", "float16" or "auto" (bfloat16 on a GPU, float32 on a CPU).
        allow_base: accept a base Wan 2.2 model, which follows no camera.
        head_dim: channels per attention head, for small models whose file does not say.
        modes: what to trade for speed or memory; default: nothing, at the best speed this machine allows.

    Raises:
        InputError: a file that is missing, damaged or of another model; parts that do not fit together.
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
        return _built_in_world(preset or TINY.name, text_encoder, decoder, device, dtype, modes)
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
    fp8 = fp8_rounding(modes)
    dit = load_dit(weights, device=device, dtype=dtype, allow_base=allow_base, head_dim=head_dim, fp8=fp8)
    channels = dit.config.latent_channels
    for name, part in (("VAE", wan_vae), ("tiny decoder", frames_from)):
        if part.latent_channels != channels:
            raise InputError(
                f"The {name} has {part.latent_channels} latent channels, the model has {channels}: "
                "give the one the model was trained with."
            )
    engine = make_engine(dit, wan_vae, frames_from, modes=modes, device=device, dtype=dtype)
    return World(engine, wan_vae, text_encoder_for(text_encoder, dit.config.text_dim, device, dtype), WAN_5B.size)


def _built_in_world(
    name: str, text_encoder: str | Path | None, decoder: str, device: torch.device, dtype: torch.dtype, modes: Modes
) -> World:
    preset = built_in(name)
    if preset.name != name:
        warnings.warn(NOT_TRAINED, stacklevel=3)
    dit, vae = tiny_dit(preset).to(device, dtype), tiny_vae(preset).to(device, dtype)
    fp8 = fp8_rounding(modes)
    if fp8 is not None:
        use_fp8(dit, fp8)
    frames_from: StreamingDecoder = built_in_tiny_decoder(preset).to(device, dtype) if decoder == "tiny" else vae
    encode: TextEncoder = tiny_text_encoder()
    if text_encoder is not None:
        encode = text_encoder_for(text_encoder, preset.dit.text_dim, device, dtype)
    engine = make_engine(dit, vae, frames_from, modes=modes, device=device, dtype=dtype)
    return World(engine, vae, encode, preset.size, built_in_first_frame() if preset is TINY else None)


def text_encoder_for(source: str | Path | None, text_dim: int, device: torch.device, dtype: torch.dtype) -> TextEncoder:
    """A function from prompt to embeddings: UMT5 from a folder, or ready embeddings from a file.

    Raises (when called):
        InputError: no source, or one that lacks parts.
    """

    def encode(prompt: str) -> Tensor:
        if source is None:
            raise InputError(TEXT_ENCODER_MISSING)
        if Path(source).is_dir():
            return encode_prompt(prompt, source, device=device, dtype=dtype, tokens=WAN_5B.text_tokens)
        if prompt:
            warnings.warn(f"The embeddings in {source} are used, the prompt is not.", stacklevel=2)
        return load_embeddings(source, text_dim)

    return encode


def pick_device(device: str | torch.device) -> torch.device:
    """`auto` is the GPU if there is one, else the CPU.

    Raises:
        InputError: an unknown device, or one this machine does not have.
    """
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
    """`auto` is bfloat16 on a GPU and float32 on a CPU.

    Raises:
        InputError: another name than float32, bfloat16, float16 (or fp32, bf16, fp16).
    """
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
