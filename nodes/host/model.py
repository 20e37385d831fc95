"""MODEL: the network as a ComfyUI model, for LoRA loaders, the compile node, offloading and ModelSave."""

from __future__ import annotations

import logging
from typing import Any, NamedTuple

import comfy.cli_args
import comfy.latent_formats
import comfy.model_base
import comfy.model_management
import comfy.model_patcher
import comfy.supported_models_base
import comfy.utils
import folder_paths
import torch
from comfy.patcher_extension import WrappersMP
from torch import Tensor

from ...hyworld import builtin
from ...hyworld.config import TINY, TINY_RANDOM, DiTConfig
from ...hyworld.cpu import multiplies_bfloat16
from ...hyworld.dit import PLAIN, Inputs, TextKV, WanDiT
from ...hyworld.errors import InputError
from ...hyworld.fingerprint import Fingerprint
from ...hyworld.fp8 import FP8, FP8_DTYPES, MARKER, dequantise_state, marker, scale_name
from ...hyworld.modes import Modes, check_modes, fp8_rounding, network_kernels, remembering, why_slower
from ...hyworld.parallel.lead import SharedNetwork
from ...hyworld.parallel.share import check_heads
from ...hyworld.recipe_choice import adjusted, recipe_for
from ...hyworld.walk.recipe import Recipe
from ...hyworld.walk.recipes import RECIPES
from ...hyworld.weights import open_dit
from .files import listed_file, names_alone
from .forwards import Forwards
from .fp8 import put_linears, take_linears
from .gpus import check_gpus, ends_with

TINY_NAME = "tiny (built in, no download)"
RANDOM_NAME = "tiny-random (noise, for tests)"
BUILT_IN = {TINY_NAME: TINY.name, RANDOM_NAME: TINY_RANDOM.name}
"""The loader's built-in entries and their presets."""

WEIGHT_DTYPES: dict[str, torch.dtype | None] = {
    "default": None,
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
    "fp8_e4m3fn": torch.float8_e4m3fn,
}

AUTO = "auto"

RECIPE_NAMES = (AUTO, *RECIPES)
"""How a checkpoint is walked: as its shapes and name say, or by name."""

WEIGHTS: dict[str, bool | None] = {AUTO: None, "ema": True, "raw": False}
"""Which set of weights is taken of a file that has two, see `open_dit`."""


class TinyLatents(comfy.latent_formats.LatentFormat):
    latent_channels = TINY.dit.latent_channels
    latent_dimensions = 3


_LATENT_FORMATS = {form.latent_channels: form for form in (comfy.latent_formats.Wan21, TinyLatents)}
"""By channels; of all others that of Wan 2.2."""


class Asked(NamedTuple):
    """How a model is to be walked: a name of `RECIPE_NAMES`, and settings in place of the recipe's; 0 keeps its own."""

    recipe: str = AUTO
    steps: int = 0
    shift: float = 0.0
    guidance: float = 0.0


class HostedDiT(WanDiT):
    """The network with the constructor that `BaseModel` calls."""

    def __init__(
        self, *, image_model: str, dtype: torch.dtype, device: Any = None, operations: Any = None, **sizes: Any
    ) -> None:
        super().__init__(DiTConfig(**sizes), operations=operations, device=device, dtype=dtype)
        self.dtype = dtype


class WorldPlayModel(comfy.model_base.BaseModel):
    """The host's model class; its `apply_model` runs the wrappers of other nodes around `_apply_model`."""

    def __init__(self, model_config: WorldPlayConfig, device: Any = None) -> None:
        super().__init__(model_config, comfy.model_base.ModelType.FLOW, device=device, unet_model=HostedDiT)
        self.modes = Modes()
        self.gpus = 1
        self.file = ""
        self.asked = Asked()

    def recipe(self, *, two: bool) -> Recipe:
        """How it is walked, with a second network if there are `two`; errors: see `recipe_for`."""
        return remembering(_recipe(self.diffusion_model.config, self.file, self.asked, two=two), self.modes)

    def _apply_model(
        self,
        x: Tensor,
        t: Tensor,
        c_concat: Any = None,
        c_crossattn: Any = None,
        control: Any = None,
        transformer_options: Any = None,
        **kwargs: Any,
    ) -> Tensor | None:
        inputs: Inputs | None = kwargs.get("inputs")
        if inputs is None:
            raise RuntimeError(
                "This model walks chunk by chunk: sample it with the HY-WorldPlay Streaming Sampler, not with a "
                "KSampler."
            )
        # Looked up only here: the compile node swaps the attribute during the call.
        network = kwargs.get("shared") or self.diffusion_model
        return network(inputs._replace(latents=x, timestep=t))


class WorldPlayConfig(comfy.supported_models_base.BASE):
    """The architecture's settings for the host."""

    unet_config = {"image_model": "hy_worldplay"}  # noqa: RUF012
    unet_extra_config: dict[str, Any] = {}  # noqa: RUF012
    sampling_settings = {"shift": 5.0}  # noqa: RUF012
    supported_inference_dtypes = [torch.bfloat16, torch.float16, torch.float32]  # noqa: RUF012
    quantised_the_old_way = False

    def __init__(self, sizes: DiTConfig, fingerprint: Fingerprint) -> None:
        # The host's constructor makes an instance of it.
        self.latent_format = _LATENT_FORMATS.get(sizes.latent_channels, comfy.latent_formats.Wan22)
        super().__init__({"image_model": "hy_worldplay", **vars(sizes)})
        self.sizes = sizes
        self.fingerprint = fingerprint
        self.memory_usage_factor = sizes.dim / 2222  # the host's figure for Wan

    def get_model(self, state_dict: Any, prefix: str = "", device: Any = None) -> WorldPlayModel:
        return WorldPlayModel(self, device=device)


def model_names() -> list[str]:
    """The built-in models and the files in `models/diffusion_models`."""
    return [*BUILT_IN, *file_names()]


def file_names() -> list[str]:
    """The files in `models/diffusion_models`."""
    return folder_paths.get_filename_list("diffusion_models")


def load_model(
    name: str,
    weight_dtype: str,
    allow_base: bool,
    modes: Modes,
    asked: Asked = Asked(),  # noqa: B008
    weights: str = AUTO,
    gpus: int = 1,
    *,
    disable_dynamic: bool = False,
) -> comfy.model_patcher.ModelPatcher:
    """Build the MODEL; its weights stay on the offload device until a sampler needs them.

    weights: of `WEIGHTS`.
    gpus: how many share each walk, the host's own among them; on a CPU, processes.
    `disable_dynamic` (set by the host) asks for a patcher without dynamic memory.

    Raises:
        InputError: no such file, another model, a recipe or settings that are not for it, modes that cannot run, or
            GPUs that are not there or cannot share its heads.
    """
    check_modes(modes, comfy.model_management.get_torch_device())
    check_gpus(gpus, comfy.model_management.get_torch_device())
    state, scales, config = _weights(name, allow_base, WEIGHTS[weights])
    check_heads(config.sizes.num_heads, gpus)
    _check_recipe(config.sizes, name, asked, modes)
    parameters = comfy.utils.calculate_parameters(state)
    rounding = fp8_rounding(modes)
    linears = {} if rounding is None else take_linears(state, scales)
    state = _with_scales(state, scales, weight_dtype)
    state, wanted = _dtype_for(config, state, WEIGHT_DTYPES[weight_dtype], parameters)
    load_device = comfy.model_management.get_torch_device()
    offload_device = comfy.model_management.unet_offload_device()
    quantised = getattr(config, "quant_config", None) is not None
    if wanted == torch.bfloat16 and _multiplies_bfloat16(load_device):
        cast = None
    else:
        cast = comfy.model_management.unet_manual_cast(
            None if quantised else wanted, load_device, config.supported_inference_dtypes
        )
    config.set_inference_dtype(wanted, cast)

    model = config.get_model(state)
    if rounding is not None:
        computes = wanted if cast is None else cast
        biases = {layer: state.pop(f"{layer}.bias").to(offload_device, computes, copy=True) for layer in linears}
        put_linears(model.diffusion_model, linears, biases, rounding, load_device)
    patcher_class = comfy.model_patcher.ModelPatcher
    if not (disable_dynamic or linears):  # dynamic memory patches weights without asking their layer
        # Looked up at call time: the host rebinds it while it starts.
        patcher_class = getattr(comfy.model_patcher, "CoreModelPatcher", patcher_class)
    patcher = patcher_class(model, load_device=load_device, offload_device=offload_device)
    if not comfy.model_management.is_device_cpu(offload_device):
        model.to(offload_device)
    _fill(model, state, assign=hasattr(patcher, "is_dynamic") and patcher.is_dynamic())
    model.diffusion_model.kernels = network_kernels(modes, load_device)
    model.diffusion_model.fingerprint = config.fingerprint
    model.file, model.asked, model.modes, model.gpus = name, asked, modes, gpus
    if gpus > 1:
        ends_with(patcher)
    slower = why_slower(modes.kernels, load_device)
    if slower is not None:
        logging.warning("HY-WorldPlay: %s", slower)
    # The host rebuilds the model from this, without dynamic memory, for its compile node.
    patcher.cached_patcher_init = (load_model, (name, weight_dtype, allow_base, modes, asked, weights, gpus))
    return patcher


def _recipe(sizes: DiTConfig, name: str, asked: Asked, *, two: bool) -> Recipe:
    try:
        chosen = recipe_for(sizes, name, asked=None if asked.recipe == AUTO else asked.recipe, two=two)
    except InputError as error:
        raise InputError(str(error).replace("add --recipe", "choose it in Load HY-WorldPlay Model")) from None
    return adjusted(chosen, steps=asked.steps or None, shift=asked.shift or None, guidance=asked.guidance or None)


def _check_recipe(sizes: DiTConfig, name: str, asked: Asked, modes: Modes) -> None:
    """Raise `InputError` unless the network can be walked so, with or without a second one, which only a walk knows."""
    errors = []
    for two in (False, True):
        try:
            chosen = _recipe(sizes, name, asked, two=two)
        except InputError as error:
            errors.append(error)
        else:
            remembering(chosen, modes)
            return
    raise errors[0]


def _weights(
    name: str, allow_base: bool, ema: bool | None
) -> tuple[dict[str, Tensor], dict[str, Tensor], WorldPlayConfig]:
    """Weights, the scales of those in scaled fp8 by the same names, and the architecture."""
    if name in BUILT_IN:
        preset = builtin.preset(BUILT_IN[name])
        if preset.name != BUILT_IN[name]:
            logging.warning("HY-WorldPlay: %s", builtin.NOT_TRAINED)
        dit = builtin.dit(preset)
        return dict(dit.state_dict()), {}, WorldPlayConfig(dit.config, dit.fingerprint)
    path = listed_file("diffusion_models", name, "choose another")
    with names_alone(path, name):
        opened = open_dit(path, allow_base=allow_base, ema=ema)
    state = dict(opened.state)
    # An old host's Save Model writes a scale of 1 for every other Linear too; a new one would read those as fp8.
    scales = {name: scale for name, scale in opened.scales.items() if state[name].dtype in FP8_DTYPES}
    return state, scales, WorldPlayConfig(opened.config, opened.fingerprint)


def _with_scales(state: dict[str, Tensor], scales: dict[str, Tensor], weight_dtype: str) -> dict[str, Tensor]:
    """The weights as this host reads them, with the scales of those in it."""
    used = {name: scale for name, scale in scales.items() if name in state}
    if not used:
        return state
    named = {**state, **{scale_name(name): scale for name, scale in used.items()}}
    # The host reads only float8_e4m3fn with one scale per matrix; other weights are dequantised.
    known = all(scale.numel() == 1 and state[name].dtype == FP8 for name, scale in used.items())
    if known and weight_dtype not in ("bf16", "fp16"):
        return {**named, MARKER: marker()}
    return dequantise_state(named, torch.float16 if weight_dtype == "fp16" else torch.bfloat16)


def _dtype_for(
    config: WorldPlayConfig, state: dict[str, Tensor], asked: torch.dtype | None, parameters: int
) -> tuple[dict[str, Tensor], torch.dtype]:
    """Declare scaled fp8 weights as this host version expects; returns the state and the dtype of the rest.

    parameters: of the whole network.
    """
    stored: torch.dtype | None = comfy.utils.weight_dtype(state)
    if MARKER in state:
        stored = asked = None
        if hasattr(comfy.utils, "convert_old_quants"):
            state, _ = comfy.utils.convert_old_quants(state, "", metadata=None)
            config.quant_config = comfy.utils.detect_layer_quantization(state, "")
        else:
            config.scaled_fp8 = state.pop(MARKER).dtype
            config.quantised_the_old_way = True
    if asked is None:
        asked = comfy.model_management.unet_dtype(
            model_params=parameters,
            supported_dtypes=config.supported_inference_dtypes,
            weight_dtype=stored,
        )
    return state, asked


def _multiplies_bfloat16(device: torch.device) -> bool:
    """Whether it is a CPU with instructions for products in bfloat16, of which the host knows nothing."""
    args = comfy.cli_args.args
    wants_float32 = args.force_fp32 or args.fp32_unet
    return comfy.model_management.is_device_cpu(device) and multiplies_bfloat16() and not wants_float32


def _fill(model: WorldPlayModel, state: dict[str, Tensor], *, assign: bool) -> None:
    if model.model_config.quantised_the_old_way:
        # Such a host would cast every Linear to fp8, embeddings too. Assigned tensors keep their precision.
        copies = {name: tensor.clone(memory_format=torch.contiguous_format) for name, tensor in state.items()}
        model.diffusion_model.load_state_dict(copies, strict=False, assign=True)
    else:
        model.load_model_weights(state, "", **({"assign": True} if assign else {}))


class HostNetwork:
    """A `Network` for `Walker`: the host's, with APPLY_MODEL wrappers, or ours over its tensors, see `Forwards`."""

    def __init__(self, patcher: comfy.model_patcher.ModelPatcher) -> None:
        self._patcher = patcher
        self.shared: SharedNetwork | None = None
        """The network as worker processes share it, while they do."""
        self._options = comfy.patcher_extension.copy_nested_dicts(patcher.model_options["transformer_options"])
        comfy.patcher_extension.merge_nested_dicts(
            self._options.setdefault("wrappers", {}), patcher.wrappers, copy_dict1=False
        )
        self._forwards = Forwards(patcher)

    @property
    def config(self) -> DiTConfig:
        return self._patcher.model.diffusion_model.config

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self._patcher.load_device

    @property
    def dtype(self) -> torch.dtype:
        """The compute dtype; stored weights may have another."""
        model = self._patcher.model
        return model.manual_cast_dtype if model.manual_cast_dtype is not None else model.get_dtype()

    @property
    def fingerprint(self) -> Fingerprint:
        return self._patcher.model.diffusion_model.fingerprint

    @property
    def fused(self) -> bool:
        """Whether it runs Triton kernels."""
        return self._patcher.model.diffusion_model.kernels.branches is not PLAIN.branches

    @property
    def attends_in_fp8(self) -> bool:
        return self._patcher.model.diffusion_model.kernels.fp8 is not None

    def text_keys_values(self, text: Tensor) -> TextKV:
        return (self.shared or self._patcher.model.diffusion_model).text_keys_values(text)

    def image_keys_values(self, clip: Tensor) -> TextKV:
        return (self.shared or self._patcher.model.diffusion_model).image_keys_values(clip)

    def __call__(self, inputs: Inputs) -> Tensor | None:
        if self.shared is None and self._is_alone():
            ran, flow = self._forwards.run(inputs, self.dtype)
            if ran:
                return flow
        return self._patcher.model.apply_model(
            inputs.latents, inputs.timestep, transformer_options=self._options, inputs=inputs, shared=self.shared
        )

    def _is_alone(self) -> bool:
        """Whether no other node wants to see its forwards."""
        wrappers = comfy.patcher_extension.get_all_wrappers(WrappersMP.APPLY_MODEL, self._options)
        return not wrappers and not self._patcher.is_injected


def require_worldplay(model: Any) -> comfy.model_patcher.ModelPatcher:
    """The MODEL itself; raises `InputError` for another architecture."""
    if not isinstance(model.model, WorldPlayModel):
        raise InputError(
            f"This MODEL is a {type(model.model).__name__}, not HY-WorldPlay: "
            "load it with the node Load HY-WorldPlay Model."
        )
    return model
