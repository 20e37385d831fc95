"""What the checks share: the pack's modules, small models and files of them, walks through the nodes, comparisons.

Imported inside ComfyUI only. Comparisons raise with the numbers in the message, and return them as a sentence:
a check hands that back as its evidence.
"""

from __future__ import annotations

import importlib
import inspect
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import comfy.model_management
import comfy.model_patcher
import folder_paths
import torch
from comfy_api.internal import make_locked_method_func
from comfy_api.latest import io
from comfy_execution.utils import CurrentNodeContext
from safetensors.torch import save_file
from torch import Tensor

import nodes

PACK = ""
"""Name of the pack's package in `sys.modules`; the runner fills it in."""

NODE_ID = "7"
SEED = 11


def pack(name: str) -> Any:
    """A module of the pack: `pack("hyworld")`, `pack("nodes.host.model")`."""
    return importlib.import_module(f"{PACK}.{name}")


# --- nodes, called as the host calls them ---------------------------------------------------------------------------


def run_node(node_id: str, **inputs: Any) -> tuple[Any, ...]:
    """Outputs of one of the pack's nodes, run as the host's executor does: locked class, inference mode, context."""
    node = nodes.NODE_CLASS_MAPPINGS[node_id]
    hidden: dict[Any, Any] = {io.Hidden.unique_id: NODE_ID, io.Hidden.prompt: {}}
    wants_more = "v3_data" in inspect.signature(node.PREPARE_CLASS_CLONE).parameters
    clone = node.PREPARE_CLASS_CLONE({"hidden_inputs": hidden} if wants_more else hidden)
    execute = make_locked_method_func(node, "EXECUTE_NORMALIZED", clone)
    with CurrentNodeContext("prompt", NODE_ID, 0), torch.inference_mode():
        return execute(**inputs).args


def load(
    name: str, weight_dtype: str = "default", allow_base: bool = False, **inputs: Any
) -> comfy.model_patcher.ModelPatcher:
    """MODEL from the node Load HY-WorldPlay Model."""
    (model,) = run_node(
        "HYWorldLoadModel",
        model_name=name,
        weight_dtype=weight_dtype,
        attention="auto",
        allow_base=allow_base,
        **inputs,
    )
    return model


def load_tiny() -> comfy.model_patcher.ModelPatcher:
    """MODEL of the built-in entry with random weights."""
    return load(pack("nodes.host.model").RANDOM_NAME)


class Walk(NamedTuple):
    """Outputs of the Streaming Sampler: IMAGE, LATENT, frame count, world, VIDEO."""

    images: Tensor
    latents: dict[str, Tensor]
    frame_count: int
    world: Any
    video: Any


def walk(
    model: Any,
    path: Any = "w-3, right-4",
    *,
    vae: Any = None,
    positive: Any = None,
    size: tuple[int, int] = (64, 64),
    preview: bool = False,
    **inputs: Any,
) -> Walk:
    """The Streaming Sampler along `path` (tokens or a trajectory), with a fitting VAE and prompt."""
    channels = model.model.diffusion_model.config.latent_channels
    height, width = (0, 0) if "first_frame" in inputs or "world" in inputs else size
    chosen: dict[str, Any] = {
        "model": model,
        "vae": vae or small_vae(channels),
        "positive": positive or prompt(model.model.diffusion_model.config.text_dim),
        "trajectory": pack("hyworld").Trajectory.from_tokens(path) if isinstance(path, str) else path,
        "chunks": 0,
        "seed": SEED,
        "decoder": pack("nodes.host.vae").FULL_DECODER,
        "preview": preview,
        "reuse": False,
        "width": width,
        "height": height,
        **inputs,
    }
    return Walk(*run_node("HYWorldStreamingSampler", **chosen))


def latents_of(model: Any, path: str = "w-3, right-4", **inputs: Any) -> Tensor:
    """The normalised latents of a walk."""
    return walk(model, path, **inputs).world.latents


def encoded(image: Tensor, vae: Any, size: tuple[int, int]) -> tuple[dict[str, Tensor], Tensor]:
    """LATENT and cropped picture, from Encode First Frame; size: height and width."""
    first, cropped = run_node("HYWorldEncodeFirstFrame", image=image, vae=vae, width=size[1], height=size[0])
    return first, cropped


def prompt(text_dim: int) -> list[list[Any]]:
    """CONDITIONING of random embeddings, the same every time."""
    return [[torch.randn(1, 7, text_dim, generator=torch.Generator().manual_seed(5)), {"pooled_output": None}]]


# --- small models ---------------------------------------------------------------------------------------------------


def small_config(**sizes: int) -> Any:
    """A transformer of a few thousand parameters, for the latents of the Wan 2.2 VAE."""
    small = {"num_heads": 2, "head_dim": 32, "num_layers": 3, "ffn_dim": 96, "text_dim": 24, "freq_dim": 32}
    return pack("hyworld.config").DiTConfig(**{**small, **sizes})


def wide_config() -> Any:
    """One layer as wide as the smallest Wan model, whose head size is known without metadata."""
    return small_config(num_heads=12, head_dim=128, num_layers=1)


def random_state(config: Any, seed: int = 3) -> dict[str, Tensor]:
    """Random float32 weights under native names."""
    network = pack("hyworld.dit").WanDiT(config)
    return dict(pack("hyworld.weights.random").randomise(network, seed).state_dict())


def network_of(config: Any, state: Mapping[str, Tensor]) -> Any:
    """The engine's own network, of plain torch layers, with these weights."""
    network = pack("hyworld.dit").WanDiT(config)
    network.load_state_dict(dict(state))
    return network.eval().requires_grad_(False)


def engine_latents(config: Any, state: Mapping[str, Tensor], path: str = "w-3, right-4") -> Tensor:
    """What `walk` ought to give: the same walk by the engine alone, outside the host's machinery."""
    return walked_alone(network_of(config, state), (4, 4), path)


def walked_alone(
    network: Any,
    latent_size: tuple[int, int],
    path: Any = None,
    chunks: int = 0,
    *,
    recipe: Any = None,
    second: Any = None,
    **begins: Any,
) -> Tensor:
    """Latents of a walk by the engine over this network, by WorldPlay's recipe or another.

    begins: for `Walker.begin`.
    """
    recipe, dtype = recipe or pack("hyworld.walk.recipes").WORLDPLAY, next(network.parameters()).dtype
    walker = pack("hyworld.walk").Walker(network, recipe=recipe, second=second, dtype=dtype)
    world = walker.begin(prompt(network.config.text_dim)[0][0], latent_size=latent_size, seed=SEED, **begins)
    for chunk in walker.walk(world, path, chunks):
        world = chunk.world
    return world.latents


class SmallVAE:
    """A VAE socket's object around a small Wan22VAE, with 16 channels a Wan21VAE.

    With 48 and 16 channels it has the released model's latent statistics.
    """

    def __init__(self, channels: int) -> None:
        config = pack("hyworld.config")
        if channels == config.TINY_RANDOM.vae.z_dim:
            module = pack("hyworld.builtin").vae(config.TINY_RANDOM)
        elif channels == 16:
            sizes = config.Wan21VAEConfig(encoder_dim=8, decoder_dim=8)
            module = pack("hyworld.weights.random").randomise(pack("hyworld.vae").Wan21VAE(sizes), 21)
        else:
            plain = {} if channels == 48 else {"latents_mean": (0.0,) * channels, "latents_std": (1.0,) * channels}
            sizes = config.VAEConfig(encoder_dim=8, decoder_dim=8, z_dim=channels, **plain)
            module = pack("hyworld.weights.random").randomise(pack("hyworld.vae").Wan22VAE(sizes), 21)
        self.first_stage_model = module
        self.device = comfy.model_management.vae_device()
        self.vae_dtype = torch.float32
        self.patcher = comfy.model_patcher.ModelPatcher(
            module, load_device=self.device, offload_device=comfy.model_management.vae_offload_device()
        )


def small_vae(channels: int = 48) -> SmallVAE:
    """A VAE for latents of so many channels."""
    return SmallVAE(channels)


# --- files ----------------------------------------------------------------------------------------------------------


def model_file(name: str, folder: str = "diffusion_models") -> Path:
    """Where a file of the models folder called `name` belongs."""
    return Path(folder_paths.get_folder_paths(folder)[0]) / name


def write_state(name: str, state: Mapping[str, Tensor], config: Any = None, folder: str = "diffusion_models") -> str:
    """Write a safetensors file into the models folder, with the sizes in its metadata if `config` is given."""
    metadata = None if config is None else {"config": json.dumps({"heads": config.num_heads, "hd": config.head_dim})}
    save_file({key: tensor.contiguous().clone() for key, tensor in state.items()}, model_file(name, folder), metadata)
    return name


def random_file(name: str, config: Any, seed: int = 3) -> str:
    """Write the weights of `random_state`, with their sizes."""
    return write_state(name, random_state(config, seed), config)


# --- comparisons ----------------------------------------------------------------------------------------------------


def difference(got: Tensor, expected: Tensor) -> float:
    """Relative error: the norm of the difference over the norm of what was expected."""
    return float((got.double() - expected.double()).norm() / expected.double().norm())


def require(condition: Any, sentence: str) -> str:
    """`sentence`, if it is true."""
    if not condition:
        raise AssertionError(f"NOT TRUE: {sentence}")
    return sentence


def same(got: Tensor, expected: Tensor, what: str) -> str:
    """Evidence that two tensors are equal bit for bit, and finite and not constant, so that equality says something."""
    require(got.shape == expected.shape, f"{what}: shape {list(got.shape)} is {list(expected.shape)}")
    require(bool(expected.isfinite().all()) and float(expected.float().std()) > 0, f"{what}: finite and not constant")
    require(torch.equal(got, expected), f"{what} equal bit for bit (relative error {difference(got, expected):.2e})")
    return f"{what}: equal bit for bit over {list(got.shape)}."


def close(got: Tensor, expected: Tensor, limit: float, what: str, *, least: float = 0.0) -> str:
    """Evidence that two tensors are within a relative error of `limit`, and at least `least` apart."""
    require(got.shape == expected.shape, f"{what}: shape {list(got.shape)} is {list(expected.shape)}")
    require(bool(got.isfinite().all()), f"{what}: finite")
    error = difference(got, expected)
    return require(least <= error <= limit, f"{what}: relative error {error:.2e} within {least:.0e}..{limit:.0e}.")


def differ(got: Tensor, other: Tensor, what: str, least: float = 1e-3) -> str:
    """Evidence that two tensors are not the same thing."""
    return close(got, other, float("inf"), what, least=least)


def refused(call: Callable[[], Any], *fragments: str, kind: type[BaseException] | None = None) -> str:
    """Evidence that `call` raises the pack's InputError (or `kind`) with all the fragments in its one sentence."""
    expected = kind or pack("hyworld.errors").InputError
    try:
        result = call()
    except expected as error:
        sentence = str(error)
        for fragment in fragments:
            require(fragment in sentence, f"the message holds {fragment!r}: {sentence}")
        require("\n" not in sentence, f"the message is one line: {sentence}")
        return f"refused with: {sentence}"
    raise AssertionError(f"{call} returned {result!r} where {expected.__name__} was expected.")


@contextmanager
def counted(model: Any, before: Callable[[int], None] = lambda call: None) -> Iterator[list[str]]:
    """Record every APPLY_MODEL call of `model` as "prefill" or "step"; `before` is called with its number, from 1."""
    wrappers = comfy.patcher_extension.WrappersMP.APPLY_MODEL
    calls: list[str] = []

    def record(executor: Any, *args: Any, **kwargs: Any) -> Any:
        calls.append("prefill" if kwargs["inputs"].prefill else "step")
        before(len(calls))
        return executor(*args, **kwargs)

    model.add_wrapper_with_key(wrappers, "hyworld-checks", record)
    try:
        yield calls
    finally:
        model.remove_wrappers_with_key(wrappers, "hyworld-checks")
