"""VAE: our streaming encoder and decoder over the host's VAE, without a second copy of its weights."""

from __future__ import annotations

from typing import Any

import comfy.model_management
import comfy.model_patcher
import comfy.ops
import comfy.utils
import folder_paths
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...hyworld import builtin
from ...hyworld.config import TINY, VAE_SPATIAL_STRIDE, VAE_TEMPORAL_STRIDE, VAEConfig
from ...hyworld.errors import InputError
from ...hyworld.fingerprint import Fingerprint, fingerprint
from ...hyworld.gpu import fp8_convolutions_missing
from ...hyworld.modes import set_vae_kernels
from ...hyworld.vae import CausalVAE, TinyDecoder, Wan22VAE, make_vae
from ...hyworld.vae.fp8_convolution import use_fp8_convolutions
from ...hyworld.vae.layers import HISTORY
from ...hyworld.vae.stream import Past, VAECache, check_latents
from ...hyworld.walk.decoding import DecoderCaches
from ...hyworld.weights import load_decoder, vae_config_from
from .files import listed_file, names_alone
from .resident import Resident
from .run import memory_for_decoding, raise_if_interrupted

FULL_DECODER = "full (the VAE)"
FP8_DECODER = "full, convolutions in fp8"
BUILT_IN_DECODER = "tiny (built-in world)"
AUTO_DECODER = "auto"

TINY_DECODER_FILES = ("taew2_2", "taew2_1", "lighttae", "lightvae")
"""What the names of tiny and narrower decoders in models/vae_approx hold."""

LOAD_VAE = (
    "load wan2.2_vae.safetensors (for WorldPlay and TI2V-5B) or wan_2.1_vae.safetensors (for the other Wan models) "
    "with the core node Load VAE"
)


class TinyHostVAE:
    """The built-in world's VAE with the host's interface, for core VAE Encode and VAE Decode too."""

    def __init__(self) -> None:
        self.first_stage_model = builtin.vae(builtin.preset(TINY.name))
        self.latent_channels = self.first_stage_model.latent_channels
        self.device = comfy.model_management.vae_device()
        self.output_device = comfy.model_management.intermediate_device()
        self.vae_dtype = torch.float32
        self.patcher = comfy.model_patcher.ModelPatcher(
            self.first_stage_model,
            load_device=self.device,
            offload_device=comfy.model_management.vae_offload_device(),
        )

    def encode(self, pixels: Tensor) -> Tensor:
        """IMAGE `[F, H, W, 3]` in 0..1 → raw latents `[1, C, n, h, w]`."""
        frames = pixels[: 1 + (len(pixels) - 1) // VAE_TEMPORAL_STRIDE * VAE_TEMPORAL_STRIDE, ..., :3]
        height, width = (side // VAE_SPATIAL_STRIDE * VAE_SPATIAL_STRIDE for side in frames.shape[1:3])
        video = frames[:, :height, :width].movedim(-1, 0)[None] * 2 - 1
        host = HostVAE(self)
        return host.denormalise(host.encode(video)).to(self.output_device)

    def decode(self, samples: Tensor, **_: Any) -> Tensor:
        """Raw latents `[1, C, n, h, w]` → IMAGE frames `[1, F, H, W, 3]` in 0..1."""
        comfy.model_management.load_models_gpu([self.patcher])
        latents = HostVAE(self).normalise(samples.to(self.device, self.vae_dtype))
        video = self.first_stage_model.decode(latents)
        return (video.movedim(1, -1).float() / 2 + 0.5).clamp(0, 1).to(self.output_device)

    def decode_tiled(self, samples: Tensor, **_: Any) -> Tensor:
        return self.decode(samples)

    def spacial_compression_encode(self) -> int:
        """Pixels per latent cell."""
        return VAE_SPATIAL_STRIDE

    spacial_compression_decode = spacial_compression_encode

    def temporal_compression_decode(self) -> int:
        """Frames per latent."""
        return VAE_TEMPORAL_STRIDE


class HostVAE:
    """A streaming encoder and decoder with the weights of a VAE socket's object.

    Our module shares the host's Parameter objects, so it moves with them. With dynamic memory the host does not move
    them; our module then consists of the host's layers, which fetch their weights in every call. If the VAE is loaded
    only in part, the host's own decoder makes the same frames, one latent at a time and slower.

    Raises:
        InputError: a VAE of another model.
    """

    def __init__(self, vae: Any) -> None:
        self._vae = vae
        source = getattr(vae, "first_stage_model", None)
        if not isinstance(source, nn.Module):
            raise InputError(f"There is no VAE: {LOAD_VAE}.")
        self.patcher = vae.patcher
        self._fetches_weights = False
        if isinstance(source, CausalVAE):
            self._ours = source
        elif getattr(vae.patcher, "is_dynamic", bool)():
            self._ours, self.patcher = _made_of_host_layers(vae)
            self._fetches_weights = True
        else:
            self._ours = make_vae(vae_config_from(source.state_dict(), {}), device="meta").eval()
            _share_parameters(source, self._ours)
        set_vae_kernels(self._ours, "auto", self.device, shared=True)
        self._resident = Resident(self.device, _without_weights)

    @property
    def config(self) -> VAEConfig:
        return self._ours.config

    @property
    def latent_channels(self) -> int:
        return self._ours.latent_channels

    @property
    def spatial_stride(self) -> int:
        return self._ours.spatial_stride

    @property
    def fingerprint(self) -> Fingerprint:
        if not hasattr(self._vae, "_hyworld_fingerprint"):
            self._vae._hyworld_fingerprint = fingerprint(self._vae.first_stage_model.state_dict())
        return self._vae._hyworld_fingerprint

    @property
    def reach(self) -> int:
        return self._ours.reach

    @property
    def tiny(self) -> bool:
        return False

    def in_fp8(self) -> OwnDecoder:
        """The decoder with convolutions in fp8, on weights of its own; made once for a device and a dtype."""
        made: OwnDecoder | None = getattr(self._vae, "_hyworld_in_fp8", None)
        if made is None or (made.device, made.dtype) != (self.device, self.dtype):
            decoder = make_vae(self.config, device="meta").eval().requires_grad_(False)
            decoder.forget_encoder()
            # Rounded where they wait, so that the card holds no second set.
            waiting = comfy.model_management.vae_offload_device()
            state = {name: self.weigh(name, waiting).to(self.dtype, copy=True) for name in decoder.state_dict()}
            decoder.load_state_dict(state, strict=True, assign=True)
            use_fp8_convolutions(decoder)
            set_vae_kernels(decoder, "auto", self.device)
            made = self._vae._hyworld_in_fp8 = OwnDecoder(decoder, self.device, self.dtype)
        return made

    @property
    def caches(self) -> DecoderCaches:
        """Decoder caches kept on the VAE between runs, so that a continued world decodes without a seam."""
        if not hasattr(self._vae, "_hyworld_caches"):
            self._vae._hyworld_caches = DecoderCaches()
        return self._vae._hyworld_caches

    @property
    def device(self) -> torch.device:
        return self._vae.device

    @property
    def dtype(self) -> torch.dtype:
        return self._vae.vae_dtype

    @property
    def module(self) -> CausalVAE:
        """The decoder; to be called only while the weights are in place."""
        return self._ours

    def weights_in_place(self) -> bool:
        """Whether all weights are where they are needed, or come there by themselves."""
        return self._fetches_weights or all(
            p.device == self.device and p.dtype == self.dtype for p in self._ours.parameters()
        )

    def weigh(self, name: str, device: torch.device) -> Tensor:
        """The weight of that name on `device`."""
        return comfy.utils.get_attr(self._ours, name).detach().to(device)

    def encode(self, video: Tensor) -> Tensor:
        """Video `[1, 3, f, H, W]` in [-1, 1] → normalised latents `[1, C, n, h, w]`, float32."""
        comfy.model_management.load_models_gpu([self.patcher])
        if self.weights_in_place():
            return self._ours.encode(video.to(self.device, self.dtype)).float()
        raw = self._vae.encode(video[0].movedim(0, -1) / 2 + 0.5)
        return self.normalise(raw.to(self.device).float())

    def decode_stream(self, latents: Tensor, cache: Any = None) -> tuple[Tensor, Any]:
        """See `StreamingDecoder.decode_stream`; raises the host's interrupt."""
        raise_if_interrupted()
        latents = latents.to(self.device, self.dtype)
        if not self.weights_in_place():
            return self._decode_with_host_layers(latents, cache)
        if not (self._fetches_weights and self._has_room(latents)):
            return self._ours.decode_stream(latents, cache)
        with self._resident.of(self._ours, self.dtype) as plain:
            return (plain or self._ours).decode_stream(latents, cache)

    def _has_room(self, latents: Tensor) -> bool:
        """Whether there is memory to decode while no weight can leave."""
        height, width = (side * self.spatial_stride for side in latents.shape[-2:])
        needed = memory_for_decoding(self.latent_channels, self.spatial_stride, (height, width), self.dtype)
        return comfy.model_management.get_free_memory(self.device) > needed

    def normalise(self, raw: Tensor) -> Tensor:
        """Raw VAE latents (LATENT sockets) → normalised latents (the network's)."""
        mean, std = self._statistics(raw)
        return (raw - mean) / std

    def denormalise(self, latents: Tensor) -> Tensor:
        mean, std = self._statistics(latents)
        return latents * std + mean

    def _statistics(self, like: Tensor) -> Tensor:
        statistics = torch.tensor((self.config.latents_mean, self.config.latents_std), device=like.device)
        return statistics.view(2, 1, -1, 1, 1, 1).to(like.dtype)

    def _decode_with_host_layers(self, latents: Tensor, cache: Past | None) -> tuple[Tensor, VAECache]:
        source = self._vae.first_stage_model
        check_latents(latents, self.latent_channels)
        x = source.conv2(self.denormalise(latents.float()).to(self.dtype))
        memory = list(cache or ())
        memory += [None] * (_causal_convolutions(source.decoder) - len(memory))
        pieces: list[Tensor] = []
        for i, latent in enumerate(x.split(1, dim=2)):
            before = list(memory)
            first = {"first_chunk": cache is None and i == 0} if isinstance(self._ours, Wan22VAE) else {}
            made = source.decoder(latent, feat_cache=memory, feat_idx=[0], **first)
            pieces += [made] if isinstance(made, Tensor) else made  # a newer host's Wan 2.1 VAE gives a list
            # And it keeps one frame where it was given one, though the next may reach back to two.
            memory[:] = [_longer(now, then) for now, then in zip(memory, before, strict=True)]
        return self._ours._to_pixels(torch.cat(pieces, dim=2)), _as_streams_keep_it(memory)


class OwnDecoder:
    """A decoder with weights of its own, under the host's memory management: a tiny one, or the VAE's in fp8.

    decoder: in `dtype`, but for weights in fp8.
    """

    def __init__(self, decoder: TinyDecoder | CausalVAE, device: torch.device, dtype: torch.dtype) -> None:
        self.dtype = dtype
        self.device = device
        self.latent_channels = decoder.latent_channels
        self.spatial_stride = decoder.spatial_stride
        self.reach = decoder.reach
        self.tiny = isinstance(decoder, TinyDecoder)
        self.caches = DecoderCaches()
        self._decoder = decoder
        self.patcher = comfy.model_patcher.ModelPatcher(
            decoder, load_device=device, offload_device=comfy.model_management.vae_offload_device()
        )

    def decode_stream(self, latents: Tensor, cache: Any = None) -> tuple[Tensor, Any]:
        """See `StreamingDecoder.decode_stream`; raises the host's interrupt."""
        raise_if_interrupted()
        return self._decoder.decode_stream(latents.to(self.device, self.dtype), cache)


HostDecoder = HostVAE | OwnDecoder


def decoder_names() -> list[str]:
    """The VAE itself, also in fp8, the built-in world's tiny decoder, and the decoders in `models/vae_approx`."""
    names = folder_paths.get_filename_list("vae_approx")
    return [
        FULL_DECODER,
        BUILT_IN_DECODER,
        FP8_DECODER,
        *(name for name in names if any(known in name.lower() for known in TINY_DECODER_FILES)),
    ]


def live_decoder_names() -> list[str]:
    """For walking live: first `auto`, the built-in world's tiny decoder with its VAE, else the VAE."""
    return [AUTO_DECODER, *decoder_names()]


def pick_decoder(name: str, vae: HostVAE) -> HostDecoder:
    """The decoder of that name.

    Raises:
        InputError: the file is missing or holds no decoder for these latents; the built-in one with another model's
            VAE; fp8 on a device that has none.
    """
    world = builtin.preset(TINY.name)
    if name == AUTO_DECODER:
        lively = vae.latent_channels == world.vae.z_dim and builtin.live_decoder(world) == "tiny"
        name = BUILT_IN_DECODER if lively else FULL_DECODER
    if name == FULL_DECODER:
        return vae
    if name == FP8_DECODER:
        missing = fp8_convolutions_missing(vae.device)
        if missing is not None:
            raise InputError(f"The decoder {FP8_DECODER} cannot run: {missing}; choose {FULL_DECODER}.")
        return vae.in_fp8()
    tiny_device = comfy.model_management.vae_device()
    if name == BUILT_IN_DECODER:
        if vae.latent_channels != world.vae.z_dim:
            raise InputError(
                f"The decoder {BUILT_IN_DECODER} reads latents of {world.vae.z_dim} channels, and this VAE's have "
                f"{vae.latent_channels}: choose {FULL_DECODER}, or a file taew2_2 in models/vae_approx."
            )
        return OwnDecoder(builtin.decoder(world).to(vae.dtype), tiny_device, vae.dtype)
    path = listed_file("vae_approx", name, f"choose {FULL_DECODER}")
    with names_alone(path, name):
        decoder = load_decoder(path, latent_channels=vae.latent_channels).to(vae.dtype)
    if isinstance(decoder, CausalVAE):
        set_vae_kernels(decoder, "auto", tiny_device)
    return OwnDecoder(decoder, tiny_device, vae.dtype)


def _without_weights(ours: CausalVAE) -> CausalVAE:
    plain = make_vae(ours.config, device="meta").eval().requires_grad_(False)
    plain.kernels = ours.kernels
    return plain


def _share_parameters(source: nn.Module, target: nn.Module) -> None:
    """Put the Parameters of `source` into `target` by name; raises `InputError` if a name or shape differs."""
    ours = dict(target.named_parameters())
    theirs = dict(source.named_parameters())
    misfits = [name for name in ours if name not in theirs or theirs[name].shape != ours[name].shape]
    if misfits:
        raise InputError(
            f"This VAE is none of Wan's ({len(misfits)} tensors differ, such as {misfits[0]}): {LOAD_VAE}."
        )
    for name in ours:
        module_name, _, leaf = name.rpartition(".")
        target.get_submodule(module_name)._parameters[leaf] = theirs[name]


def _made_of_host_layers(vae: Any) -> tuple[CausalVAE, Any]:
    """Our module over the storage of the host's weights, and its patcher; made once per VAE object."""
    made = getattr(vae, "_hyworld_streaming", None)
    if made is None:
        state = vae.first_stage_model.state_dict()
        operations = comfy.ops.pick_operations(vae.vae_dtype, vae.vae_dtype)
        ours = make_vae(vae_config_from(state, {}), operations=operations, device="meta", dtype=vae.vae_dtype).eval()
        ours.load_state_dict(state, strict=True, assign=True)
        ours.requires_grad_(False)
        patcher = comfy.model_patcher.CoreModelPatcher(
            ours, load_device=vae.patcher.load_device, offload_device=vae.patcher.offload_device
        )
        made = vae._hyworld_streaming = (ours, patcher)
    return made


def _as_streams_keep_it(memory: list[Any]) -> VAECache:
    """The host's feature cache as ours: each layer's last inputs in running order, ours always `HISTORY` frames."""
    kept: list[Tensor] = []
    for entry in memory:
        if isinstance(entry, Tensor):
            kept.append(F.pad(entry, (0, 0, 0, 0, HISTORY - entry.shape[2], 0)))
        elif entry is not None:
            # A string marks an upsampling that passed the first frame through, as wide as the layer before it.
            kept.append(torch.zeros_like(kept[-1]))
    return tuple(kept)


def _longer(now: Any, then: Any) -> Any:
    """A layer's last inputs `now`, with those it had before `then` in front, as far as it looks back."""
    if not isinstance(now, Tensor) or now.shape[2] >= HISTORY or now is then:
        return now
    earlier = then if isinstance(then, Tensor) else torch.zeros_like(now)
    return torch.cat((earlier, now), dim=2)[:, :, -HISTORY:]


def _causal_convolutions(decoder: nn.Module) -> int:
    return sum(type(module).__name__ == "CausalConv3d" for module in decoder.modules())
