"""Sizes of the networks and of the walk: frozen values, checked on construction.

`PRESETS`: `wan_5b` (HY-World 1.5, WAN-5B) and, of the same architecture for a laptop CPU, `tiny` (trained here, draws
rooms) and `tiny-random` (draws noise, for tests).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from .errors import InputError

CHUNK_LATENTS = 4
"""Latents denoised together by WorldPlay: 16 video frames, 13 in the first chunk."""

VAE_SPATIAL_STRIDE = 16
"""Pixels per latent cell along height and width: of WorldPlay and everything else behind the Wan 2.2 VAE."""

VAE_TEMPORAL_STRIDE = 4
"""Video frames per latent; a video's first latent holds one frame."""

PATCH = 2
"""The transformer's patch is (1, 2, 2): one token covers 2 x 2 latent cells."""

PIXEL_MULTIPLE = VAE_SPATIAL_STRIDE * PATCH
"""Picture sides must be multiples of this many pixels; see `pixel_multiple` for other VAEs."""

FRAMES_PER_SECOND = 16
"""Frame rate the model was trained at."""


def pixel_multiple(spatial_stride: int) -> int:
    """What picture sides must be multiples of, for a VAE of so many pixels per latent cell."""
    return spatial_stride * PATCH


def frames_in(latents: int) -> int:
    """Video frames that the first `latents` latents of a video decode to."""
    return 0 if latents == 0 else 1 + VAE_TEMPORAL_STRIDE * (latents - 1)


@dataclass(frozen=True)
class DiTConfig:
    """Sizes of the transformer, and which of Wan's variants it is. Defaults: WorldPlay WAN-5B.

    cameras: it follows a camera; Wan itself does not.
    image_channels: input channels beside the latents': 20 for Wan's image-to-video, 4 of a mask and 16 of the image.
    clip_dim: width of the CLIP tokens of a picture that cross-attention reads, too; 0: none.
    camera_width: of a camera branch with projections of its own, DreamX-World's; 0: cameras are WorldPlay's way, an
        action embedding and a second branch (PRoPE) over shared q, k and v.
    """

    num_heads: int = 24
    head_dim: int = 128
    num_layers: int = 30
    ffn_dim: int = 14336
    latent_channels: int = 48
    text_dim: int = 4096
    freq_dim: int = 256
    eps: float = 1e-6
    cameras: bool = True
    image_channels: int = 0
    clip_dim: int = 0
    camera_width: int = 0

    def __post_init__(self) -> None:
        for name in ("num_heads", "head_dim", "num_layers", "ffn_dim", "latent_channels", "text_dim", "freq_dim"):
            value = getattr(self, name)
            if not isinstance(value, int) or value < 1:
                raise InputError(f"DiTConfig.{name} must be a positive whole number, got {value!r}.")
        for name in ("image_channels", "clip_dim", "camera_width"):
            value = getattr(self, name)
            if not isinstance(value, int) or value < 0:
                raise InputError(f"DiTConfig.{name} must be 0 or a positive whole number, got {value!r}.")
        if self.camera_width % (4 * self.num_heads) or (self.camera_width and not self.cameras):
            raise InputError(
                f"DiTConfig.camera_width must be 0, or with cameras a multiple of {4 * self.num_heads} (heads of "
                f"4-vectors, as many as self-attention has), got {self.camera_width}."
            )
        if self.is_worldplay and self.head_dim % 4:
            raise InputError(
                f"DiTConfig.head_dim must be divisible by 4 (PRoPE rotates 4-vectors), got {self.head_dim}."
            )
        if self.head_dim % 2:
            raise InputError(f"DiTConfig.head_dim must be even (RoPE rotates pairs), got {self.head_dim}.")
        if self.freq_dim % 2:
            raise InputError(f"DiTConfig.freq_dim must be even (half sine, half cosine), got {self.freq_dim}.")

    @property
    def dim(self) -> int:
        """Width of the residual stream."""
        return self.num_heads * self.head_dim

    @property
    def is_worldplay(self) -> bool:
        """Whether it has WorldPlay's action embedding and second branch."""
        return self.cameras and not self.camera_width

    @property
    def branches(self) -> int:
        """Branches over shared q, k and v: RoPE, and WorldPlay's PRoPE."""
        return 2 if self.is_worldplay else 1


# Per-channel statistics of the released Wan 2.2 VAE's latents (Wan2.2 `wan/modules/vae2_2.py`).
# fmt: off
WAN22_LATENTS_MEAN = (
    -0.2289, -0.0052, -0.1323, -0.2339, -0.2799, 0.0174, 0.1838, 0.1557, -0.1382, 0.0542, 0.2813, 0.0891,
    0.1570, -0.0098, 0.0375, -0.1825, -0.2246, -0.1207, -0.0698, 0.5109, 0.2665, -0.2108, -0.2158, 0.2502,
    -0.2055, -0.0322, 0.1109, 0.1567, -0.0729, 0.0899, -0.2799, -0.1230, -0.0313, -0.1649, 0.0117, 0.0723,
    -0.2839, -0.2083, -0.0520, 0.3748, 0.0152, 0.1957, 0.1433, -0.2944, 0.3573, -0.0548, -0.1681, -0.0667,
)
WAN22_LATENTS_STD = (
    0.4765, 1.0364, 0.4514, 1.1677, 0.5313, 0.4990, 0.4818, 0.5013, 0.8158, 1.0344, 0.5894, 1.0901,
    0.6885, 0.6165, 0.8454, 0.4978, 0.5759, 0.3523, 0.7135, 0.6804, 0.5833, 1.4146, 0.8986, 0.5659,
    0.7069, 0.5338, 0.4889, 0.4917, 0.4069, 0.4999, 0.6866, 0.4093, 0.5709, 0.6065, 0.6415, 0.4944,
    0.5726, 1.2042, 0.5458, 1.6887, 0.3971, 1.0600, 0.3943, 0.5537, 0.5444, 0.4089, 0.7468, 0.7744,
)

# Those of the released Wan 2.1 VAE (Wan2.1 `wan/modules/vae.py`).
WAN21_LATENTS_MEAN = (
    -0.7571, -0.7089, -0.9113, 0.1075, -0.1745, 0.9653, -0.1517, 1.5508,
    0.4134, -0.0715, 0.5517, -0.3632, -0.1922, -0.9497, 0.2503, -0.2921,
)
WAN21_LATENTS_STD = (
    2.8184, 1.4541, 2.3275, 2.6558, 1.2196, 1.7708, 2.6052, 2.0743,
    3.2687, 2.1526, 2.8652, 1.5579, 1.6382, 1.1253, 2.8251, 1.9160,
)
# fmt: on


@dataclass(frozen=True)
class VAEConfig:
    """Sizes of the causal 3-D VAE and statistics of its latents. Defaults: the released Wan 2.2 VAE.

    temporal_downsample: whether the encoder's stage i halves time; the decoder mirrors it.
    """

    encoder_dim: int = 160
    decoder_dim: int = 256
    z_dim: int = 48
    dim_mult: tuple[int, ...] = (1, 2, 4, 4)
    num_res_blocks: int = 2
    temporal_downsample: tuple[bool, ...] = (False, True, True)
    latents_mean: tuple[float, ...] = field(default=WAN22_LATENTS_MEAN, repr=False)
    latents_std: tuple[float, ...] = field(default=WAN22_LATENTS_STD, repr=False)

    def __post_init__(self) -> None:
        for name in ("encoder_dim", "decoder_dim", "z_dim", "num_res_blocks"):
            value = getattr(self, name)
            if not isinstance(value, int) or value < 1:
                raise InputError(f"VAEConfig.{name} must be a positive whole number, got {value!r}.")
        if len(self.temporal_downsample) != len(self.dim_mult) - 1:
            raise InputError(
                f"VAEConfig.temporal_downsample needs one entry per resolution change: "
                f"{len(self.dim_mult) - 1}, got {len(self.temporal_downsample)}."
            )
        for name in ("latents_mean", "latents_std"):
            if len(getattr(self, name)) != self.z_dim:
                raise InputError(
                    f"VAEConfig.{name} needs one number per latent channel: {self.z_dim}, "
                    f"got {len(getattr(self, name))}."
                )
        if min(self.latents_std) <= 0:
            raise InputError("VAEConfig.latents_std must be positive in every channel.")

    @property
    def spatial_stride(self) -> int:
        """Pixels per latent cell along height and width; the first halving is that of the patches."""
        return 2 ** len(self.dim_mult)


@dataclass(frozen=True)
class Wan21VAEConfig(VAEConfig):
    """Sizes of a VAE as that of Wan 2.1, without patches. Defaults: the released one."""

    encoder_dim: int = 96
    decoder_dim: int = 96
    z_dim: int = 16
    latents_mean: tuple[float, ...] = field(default=WAN21_LATENTS_MEAN, repr=False)
    latents_std: tuple[float, ...] = field(default=WAN21_LATENTS_STD, repr=False)

    @property
    def spatial_stride(self) -> int:
        """Pixels per latent cell along height and width."""
        return 2 ** (len(self.dim_mult) - 1)


TINY_DECODER_WIDTHS = {"base": (256, 128, 64, 64), "super": (512, 256, 128, 64), "small": (128, 96, 48, 16)}
"""`TinyDecoderConfig.widths` by layout."""


@dataclass(frozen=True)
class TinyDecoderConfig:
    """Sizes of a tiny decoder (TAEHV).

    layout: "base" or "super", the released ones, or "small", the built-in world's.
    widths: channels of the three stages and of what the last layer reads; () stands for the layout's own.
    blocks: memory blocks of each stage of the small layout.
    patch: the last layer's channels are the colours of so many pixels squared: 2, and 1 for Wan 2.1.
    latents_mean, latents_std: per channel, where the decoder was trained on latents as the VAE makes them; () where on
        normalised ones.
    """

    latent_channels: int = 48
    layout: str = "base"
    widths: tuple[int, ...] = ()
    blocks: tuple[int, int, int] = (1, 3, 4)
    patch: int = 2
    latents_mean: tuple[float, ...] = field(default=(), repr=False)
    latents_std: tuple[float, ...] = field(default=(), repr=False)

    def __post_init__(self) -> None:
        if self.layout not in TINY_DECODER_WIDTHS:
            raise InputError(f'TinyDecoderConfig.layout must be "base", "super" or "small", got {self.layout!r}.')
        if not self.widths:
            object.__setattr__(self, "widths", TINY_DECODER_WIDTHS[self.layout])
        for name, count in (("widths", 4), ("blocks", 3)):
            numbers = getattr(self, name)
            if len(numbers) != count or min(numbers) < 1:
                raise InputError(f"TinyDecoderConfig.{name} must be {count} positive whole numbers, got {numbers!r}.")
        if {len(self.latents_mean), len(self.latents_std)} not in ({0}, {self.latent_channels}):
            raise InputError(
                f"TinyDecoderConfig.latents_mean and latents_std need one number per latent channel or none: "
                f"{self.latent_channels}, got {len(self.latents_mean)} and {len(self.latents_std)}."
            )

    @property
    def spatial_stride(self) -> int:
        """Pixels per latent cell along height and width."""
        return 8 * self.patch


@dataclass(frozen=True)
class MemoryConfig:
    """Reconstituted context memory: a chunk remembers up to `frames` latents, the last `recent` and one older clip.

    The clip is chosen by field-of-view overlap (HY-World 1.5 technical report; original
    `wan/models/utils.py::select_mem_frames_wan`).
    """

    frames: int = 16
    recent: int = 12
    fov_horizontal_deg: float = 60.0
    fov_vertical_deg: float = 35.0
    radius: float = 8.0
    points: int = 50_000

    def __post_init__(self) -> None:
        if self.clip < 2 or self.clip % 2 or self.recent % self.clip:
            raise InputError(
                "MemoryConfig must keep one older clip of an even number of latents beside recent ones whose number "
                f"that divides: got frames={self.frames}, recent={self.recent}."
            )

    @property
    def clip(self) -> int:
        """Latents of the older clip."""
        return self.frames - self.recent


@dataclass(frozen=True)
class Preset:
    """Sizes that go together; `size` is the default picture (height, width) in pixels."""

    name: str
    dit: DiTConfig
    vae: VAEConfig
    text_tokens: int
    size: tuple[int, int]


WAN_5B = Preset(name="wan_5b", dit=DiTConfig(), vae=VAEConfig(), text_tokens=512, size=(704, 1280))

DREAMX_5B = replace(WAN_5B, name="dreamx_5b", dit=DiTConfig(camera_width=768))

TINY = Preset(
    name="tiny",
    dit=DiTConfig(num_heads=8, head_dim=32, num_layers=8, ffn_dim=768, latent_channels=24, text_dim=64, freq_dim=64),
    vae=VAEConfig(
        encoder_dim=24,
        decoder_dim=32,
        z_dim=24,
        dim_mult=(1, 2, 2, 2),
        num_res_blocks=1,
        latents_mean=(0.0,) * 24,
        latents_std=(1.0,) * 24,
    ),
    text_tokens=64,
    size=(160, 288),
)
"""The world that training/tiny_world trains; its VAE's file has the measured latent statistics."""

TINY_RANDOM = Preset(
    name="tiny-random",
    dit=DiTConfig(num_heads=4, head_dim=32, num_layers=4, ffn_dim=384, latent_channels=24, text_dim=64, freq_dim=64),
    vae=VAEConfig(
        encoder_dim=16,
        decoder_dim=16,
        z_dim=24,
        latents_mean=(0.0,) * 24,
        latents_std=(1.0,) * 24,
    ),
    text_tokens=64,
    size=(160, 288),
)
"""As many latent channels as `TINY`, so that its VAE and text encoder fit either network."""

PRESETS = {preset.name: preset for preset in (WAN_5B, TINY, TINY_RANDOM)}


def check_size(height: int, width: int, spatial_stride: int = VAE_SPATIAL_STRIDE) -> None:
    """Raise `InputError` unless both sides are positive multiples of 32 pixels (16 for Wan 2.1: `pixel_multiple`)."""
    multiple = pixel_multiple(spatial_stride)
    for name, value in (("width", width), ("height", height)):
        if value < multiple or value % multiple:
            below = value // multiple * multiple
            choices = f"{below} or {below + multiple}" if below > 0 else f"{multiple}"
            raise InputError(f"The {name} must be a multiple of {multiple} pixels, got {value}: choose {choices}.")
