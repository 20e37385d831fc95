"""The streaming decoder over a real VAE of the host's: full size (705 million random weights), tiny pictures.

One VAE serves all checks here; with the Python that runs them it goes.
"""

from __future__ import annotations

import functools
from types import SimpleNamespace
from typing import Any

import comfy.ldm.models.autoencoder
import comfy.model_management
import comfy.sd
import torch
from torch import Tensor
from workbench import (
    close,
    differ,
    encoded,
    load,
    model_file,
    pack,
    random_file,
    refused,
    require,
    same,
    small_config,
    walk,
    write_state,
)

CELLS = 2
"""Latent cells along each side: pictures of 32 x 32 pixels."""

LATENTS = 3
EXACT = 2e-5


@functools.cache
def full_size_vae() -> Any:
    """The core VAE object, as Load VAE builds it from a Wan 2.2 file, with random weights in it."""
    layout = pack("hyworld.vae").Wan22VAE(pack("hyworld.config").VAEConfig(), device="meta").state_dict()
    require(len(layout) == 196, f"the layout has 196 tensors, found {len(layout)}")
    # Tensors of one number each: the host recognises the file by its names and copies it, and then they are filled.
    file = {name: torch.zeros(()).expand(tensor.shape) for name, tensor in layout.items()}
    with torch.inference_mode():
        vae = comfy.sd.VAE(sd=file)
        pack("hyworld.weights.random").randomise(vae.first_stage_model, 8)
    size = sum(parameter.numel() for parameter in vae.first_stage_model.parameters())
    require(size > 700e6 and vae.latent_channels == 48, f"the host took it for the Wan 2.2 VAE: {size} weights")
    return vae


def host_vae() -> Any:
    return pack("nodes.host.vae").HostVAE(full_size_vae())


@functools.cache
def raw_latents() -> Tensor:
    """Latents as LATENT sockets carry them."""
    return torch.randn(1, 48, LATENTS, CELLS, CELLS, generator=torch.Generator().manual_seed(6)) * 0.7


@functools.cache
def hosts_frames() -> Tensor:
    """What the host's own VAE Decode makes of them: `[1, F, H, W, 3]` in 0..1."""
    with torch.inference_mode():
        return full_size_vae().decode(raw_latents().clone()).float()


def as_host_shows(frames: Tensor) -> Tensor:
    """Our frames `[1, 3, F, H, W]` in [-1, 1] → the host's form."""
    return (frames.float().movedim(1, -1) / 2 + 0.5).clamp(0, 1)


def decoded(decode: Any, pieces: list[int]) -> Tensor:
    """The frames of the latents when they come in pieces of these sizes."""
    normalised, cache, frames = host_vae().normalise(raw_latents()), None, []
    with torch.inference_mode():
        comfy.model_management.load_models_gpu([full_size_vae().patcher])
        for piece in normalised.split(pieces, dim=2):
            part, cache = decode(piece, cache)
            frames.append(part)
    return as_host_shows(torch.cat(frames, dim=2))


def check_the_weights_are_the_hosts_own() -> str:
    ours = dict(host_vae()._ours.named_parameters())
    theirs = dict(full_size_vae().first_stage_model.named_parameters())
    require(ours.keys() == theirs.keys() and len(ours) == 196, f"the same 196 names, found {len(ours)}")
    return require(all(ours[name] is theirs[name] for name in ours), "all 196 parameters are the host's own objects")


def check_streamed_frames_equal_the_hosts() -> str:
    frames = hosts_frames()
    require(frames.shape == (1, 1 + 4 * (LATENTS - 1), 16 * CELLS, 16 * CELLS, 3), f"9 frames: {list(frames.shape)}")
    require(0.05 < float(frames.std()) < 0.45, f"pictures, not one colour: deviation {float(frames.std()):.2f}")
    vae = host_vae()
    require(vae.weights_in_place(), "the weights are where they compute")
    return " ".join(
        close(decoded(vae.decode_stream, pieces), frames, EXACT, f"streamed as {pieces} and the host's decode")
        for pieces in ([1, 1, 1], [3])
    )


def check_frames_from_the_hosts_layers_equal_the_hosts() -> str:
    """The way round where the weights wait elsewhere."""
    frames = decoded(host_vae()._decode_with_host_layers, [1, 2])
    return close(frames, hosts_frames(), EXACT, "one latent, then two, by the host's layers and the host's decode")


def check_the_engines_decoder_over_layers_that_fetch_their_weights() -> str:
    """As the host's dynamic memory has them, played on a CPU, where all weights lie in place."""
    if not hasattr(pack("nodes.host.vae").comfy.model_patcher, "CoreModelPatcher"):
        return "not on this host, which has no dynamic memory"
    module, vae = pack("nodes.host.vae"), full_size_vae()
    patcher, decoders, made = vae.patcher, [], module._without_weights
    places = {"load_device": patcher.load_device, "offload_device": patcher.offload_device}
    module._without_weights = lambda ours: decoders.append(made(ours)) or decoders[-1]
    try:
        vae.patcher = SimpleNamespace(is_dynamic=lambda: True, **places)
        with torch.inference_mode():
            hosted, short = module.HostVAE(vae), module.HostVAE(vae)
        vae.patcher = patcher
        short._has_room = lambda _: False
        frames, layers = decoded(hosted.decode_stream, [1, 1, 1]), decoded(short.decode_stream, [3])
    finally:
        vae.patcher, module._without_weights = patcher, made
        vars(vae).pop("_hyworld_streaming", None)
    require(hosted._fetches_weights and len(decoders) == 1, f"one plain decoder for the stream: {len(decoders)}")
    kinds = {type(layer).__module__ for layer in decoders[0].modules() if isinstance(layer, torch.nn.Conv3d)}
    require(not any(kind.startswith("comfy") for kind in kinds), f"of torch's own layers: {kinds}")
    found = close(frames, hosts_frames(), EXACT, "frames of the plain decoder and of the host's decode")
    return f"{found} " + close(layers, hosts_frames(), EXACT, "where memory is short, of the host's layers")


def check_a_stream_may_change_its_way() -> str:
    """Memory may run short, or come free, between two chunks: the cache of one way must do for the other."""
    vae = host_vae()
    evidence = []
    for first, then, order in (
        (vae.decode_stream, vae._decode_with_host_layers, "ours, then the host's layers"),
        (vae._decode_with_host_layers, vae.decode_stream, "the host's layers, then ours"),
    ):
        for pieces in ([1, 2], [2, 1]):
            ways = iter((first, then))
            frames = decoded(lambda piece, cache, ways=ways: next(ways)(piece, cache), pieces)
            evidence.append(close(frames, hosts_frames(), EXACT, f"{order}, {pieces}"))
    return " ".join(evidence)


def check_encoding_equals_the_hosts() -> str:
    video = torch.rand(1, 3, 5, 32, 32, generator=torch.Generator().manual_seed(7)) * 2 - 1
    with torch.inference_mode():
        vae = host_vae()
        ours = vae.encode(video)
        host = full_size_vae().encode(video[0].movedim(0, -1) / 2 + 0.5)
        require(ours.shape == host.shape == (1, 48, 2, 2, 2), f"5 frames are 2 latents: {list(ours.shape)}")
        evidence = close(vae.denormalise(ours), host.float(), EXACT, "encode and the host's encode")
        vae.weights_in_place = lambda: False
        return evidence + " " + close(vae.encode(video), ours, EXACT, "encode by the host where weights wait elsewhere")


def check_a_walk_ends_in_the_hosts_frames() -> str:
    """The Streaming Sampler with the core VAE: its frames are what VAE Decode makes of its latents."""
    config = small_config()
    model = load(random_file("for_vae.safetensors", config))
    vae = full_size_vae()
    image = torch.rand(1, 40, 40, 3, generator=torch.Generator().manual_seed(3))
    first, cropped = encoded(image, vae, (32, 32))
    with torch.inference_mode():
        require(torch.allclose(first["samples"], vae.encode(cropped).float(), atol=1e-4), "LATENT is the host's own")
    out = walk(model, "w-3", vae=vae, first_frame=first)
    with torch.inference_mode():
        expected = vae.decode(out.latents["samples"]).float()
    there_and_back = host_vae().denormalise(host_vae().normalise(first["samples"]))
    held = same(out.latents["samples"][:, :, :1], there_and_back, "the first latent, which is held,")
    off = float((out.images - expected[0]).abs().max()) * 255
    differ(out.images[0], out.images[-1], "the first frame and the last")
    return f"{held} " + require(
        out.images.shape == expected[0].shape and off <= 0.51,
        f"13 frames within half a grey level of VAE Decode's: {off:.3f} levels, {list(out.images.shape)}",
    )


def check_unloaded_weights_come_back() -> str:
    exact, kept = hosts_frames(), host_vae()
    comfy.model_management.unload_all_models()
    require(not comfy.model_management.current_loaded_models, "the host holds no model")
    again = close(decoded(kept.decode_stream, [1, 2]), exact, EXACT, "frames after the VAE was unloaded and before")
    return f"{check_the_weights_are_the_hosts_own()}; {again}"


def check_other_vaes_are_refused_by_name() -> str:
    sizes = {"double_z": True, "z_channels": 4, "resolution": 32, "in_channels": 3, "out_ch": 3, "ch": 32}
    sizes |= {"ch_mult": [1, 1], "num_res_blocks": 1, "attn_resolutions": [], "dropout": 0.0}
    images = SimpleNamespace(
        first_stage_model=comfy.ldm.models.autoencoder.AutoencoderKL(ddconfig=sizes, embed_dim=4), patcher=None
    )
    hosted = pack("nodes.host.vae").HostVAE
    config = small_config()
    model = load(random_file("for_another_vae.safetensors", config))
    return " | ".join(
        (
            refused(
                lambda: walk(model, "w-3", vae=wan21()), "This is a Wan 2.1 VAE (16 channels)", "give the Wan 2.2 VAE"
            ),
            refused(lambda: hosted(images), "VAE"),
            refused(lambda: hosted(SimpleNamespace(first_stage_model=None)), "There is no VAE", "Load VAE"),
            refused(lambda: hosted(object()), "There is no VAE", "Load VAE"),
        )
    )


@functools.cache
def wan21() -> Any:
    """The core VAE object of a Wan 2.1 file of full size (127 million weights), with random weights in it."""
    layout = pack("hyworld.vae").Wan21VAE(pack("hyworld.config").Wan21VAEConfig(), device="meta").state_dict()
    require(len(layout) == 194, f"the layout has 194 tensors, found {len(layout)}")
    file = {name: torch.zeros(()).expand(tensor.shape) for name, tensor in layout.items()}
    file["decoder.head.0.gamma"] = torch.zeros(layout["decoder.head.0.gamma"].shape)
    with torch.inference_mode():
        vae = comfy.sd.VAE(sd=file)
        pack("hyworld.weights.random").randomise(vae.first_stage_model, 8)
    require(vae.latent_channels == 16, "the host took it for the Wan 2.1 VAE")
    return vae


def check_the_wan_21_vae_streams_as_the_host_decodes() -> str:
    """By our decoder and by the host's layers, in any split and in turns; and it encodes as the host does."""
    source, evidence = wan21(), []
    vae = pack("nodes.host.vae").HostVAE(source)
    require((vae.latent_channels, vae.spatial_stride) == (16, 8), "16 channels, 8 pixels a cell")
    raw = torch.randn(1, 16, 4, 2, 4, generator=torch.Generator().manual_seed(6))
    video = torch.rand(1, 3, 9, 16, 32, generator=torch.Generator().manual_seed(7)) * 2 - 1
    with torch.inference_mode():
        expected = source.decode(raw.clone()).float()
        require(expected.shape == (1, 13, 16, 32, 3), f"13 frames: {list(expected.shape)}")
        comfy.model_management.load_models_gpu([source.patcher])
        ours, hosts = vae.decode_stream, vae._decode_with_host_layers
        for pieces, ways in (
            ((1, 1, 1, 1), (ours,) * 4),
            ((2, 2), (ours, ours)),
            ((1, 1, 1, 1), (hosts,) * 4),
            ((3, 1), (hosts, hosts)),
            ((1, 1, 1, 1), (ours, hosts, ours, hosts)),
            ((1, 1, 2), (hosts, ours, hosts)),
        ):
            cache, frames = None, []
            for piece, decode in zip(vae.normalise(raw).split(pieces, dim=2), ways, strict=True):
                part, cache = decode(piece, cache)
                frames.append(part)
            evidence.append(close(as_host_shows(torch.cat(frames, dim=2)), expected, EXACT, f"streamed as {pieces}"))
        encoded = vae.denormalise(vae.encode(video))
        host = source.encode(video[0].movedim(0, -1) / 2 + 0.5).float()
    return " ".join([*evidence, close(encoded, host, EXACT, "encode and the host's encode")])


def check_tiny_decoders_of_wan_21_are_listed_and_equal_the_engines() -> str:
    host_vae, sizes = pack("nodes.host.vae"), pack("hyworld.config").TinyDecoderConfig
    config = sizes(latent_channels=16, patch=1, widths=(12, 8, 8, 4))
    decoder = pack("hyworld.weights.random").randomise(pack("hyworld.vae").TinyDecoder(config), 5)
    for name in ("lighttaew2_1.safetensors", "taew2_1.safetensors"):
        write_state(name, decoder.state_dict(), folder="vae_approx")
        require(name in host_vae.decoder_names(), f"{name} can be chosen: {host_vae.decoder_names()}")
    vae, latents = host_vae.HostVAE(wan21()), torch.randn(1, 16, 3, 2, 4, generator=torch.Generator().manual_seed(6))
    path = model_file("lighttaew2_1.safetensors", "vae_approx")
    expected, _ = pack("hyworld.weights").load_tiny_decoder(path).decode_stream(latents)
    with torch.inference_mode():
        picked = host_vae.pick_decoder("lighttaew2_1.safetensors", vae)
        comfy.model_management.load_models_gpu([picked.patcher])
        frames, _ = picked.decode_stream(latents.clone())
        plain, _ = host_vae.pick_decoder("taew2_1.safetensors", vae).decode_stream(latents.clone())
    differ(plain, expected, "latents as they are and the VAE's own")
    return same(frames, expected, "frames by lighttae")


def check_a_narrower_vae_decodes() -> str:
    host_vae, config = pack("nodes.host.vae"), pack("hyworld.config").VAEConfig(encoder_dim=4, decoder_dim=8)
    narrow = pack("hyworld.weights.random").randomise(pack("hyworld.vae").make_vae(config), 5)
    write_state("mg-lightvae.safetensors", narrow.state_dict(), folder="vae_approx")
    require("mg-lightvae.safetensors" in host_vae.decoder_names(), "it can be chosen")
    latents = torch.randn(1, 48, 3, 2, 4, generator=torch.Generator().manual_seed(6))
    with torch.inference_mode():
        expected, _ = narrow.eval().decode_stream(latents.clone())
        picked = host_vae.pick_decoder("mg-lightvae.safetensors", host_vae.HostVAE(full_size_vae()))
        comfy.model_management.load_models_gpu([picked.patcher])
        frames, _ = picked.decode_stream(latents.clone())
    require(not picked.tiny, "its memory is reckoned as a VAE's")
    try:
        host_vae.pick_decoder("mg-lightvae.safetensors", host_vae.HostVAE(wan21()))
    except pack("hyworld.errors").InputError as error:
        require("48 channels" in str(error), str(error))
    else:
        raise AssertionError("a decoder of other latents is refused")
    return close(frames, expected, EXACT, "frames")


def check_weights_moved_by_the_host_are_moved_for_us() -> str:
    """Last, since it rounds them: the host's module goes to bfloat16, and ours with it, in place."""
    vae = full_size_vae()
    kept = host_vae()
    exact = hosts_frames()
    with torch.inference_mode():
        vae.first_stage_model.to(torch.bfloat16)
    ours = list(kept._ours.parameters())
    require(all(p.dtype == torch.bfloat16 for p in ours), "weights moved in the host's module are moved in ours")
    require(not kept.weights_in_place(), "which is not what the VAE computes in, so its own layers would decode")
    vae.vae_dtype = torch.bfloat16
    require(kept.weights_in_place() and kept.dtype == torch.bfloat16, "until the VAE computes in bfloat16")
    streamed = close(decoded(kept.decode_stream, [1, 2]), exact, 0.05, "bfloat16 beside float32", least=1e-4)
    layers = decoded(kept._decode_with_host_layers, [1, 2])
    return f"{streamed} " + close(layers, exact, 0.05, "the host's layers in bfloat16 beside float32", least=1e-4)
