"""Load HY-WorldPlay Model and Tiny World."""

from __future__ import annotations

from typing import get_args

from comfy_api.latest import io

from ..hyworld.builtin import FIRST_FRAMES, SCENE, first_frame
from ..hyworld.dit.backends import BACKENDS, AttentionChoice, missing_package
from ..hyworld.errors import InputError
from ..hyworld.modes import REMEMBERED_CHOICES, KernelChoice, LinearChoice, Modes, SpeedChoice, at_speed
from .host.clip import TinyCLIP
from .host.model import AUTO, RECIPE_NAMES, TINY_NAME, WEIGHT_DTYPES, WEIGHTS, Asked, load_model, model_names
from .host.run import output_device
from .host.vae import TinyHostVAE
from .pixels import picture_to_image
from .schema import schema

SPEEDS: tuple[SpeedChoice, ...] = ("exact", "fast")
"""Of `SpeedChoice`, those that are a matter of the network alone."""

REMEMBERED = tuple(str(latents) for latents in reversed(REMEMBERED_CHOICES))
"""How many latents a chunk may remember, as a choice; the first as trained."""


class LoadModel(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="HYWorldLoadModel",
            display_name="Load HY-WorldPlay Model",
            description=(
                "Loads WorldPlay WAN-5B, DreamX-World-5B, Self-Forcing, Causal-Forcing, TI2V-5B or another Wan 2.1 or "
                "2.2 model as a real MODEL: LoRA loaders, the compile node, offloading and Save Model work on it. The "
                "first entry is a small world of rooms that needs no file."
            ),
            search_aliases=[
                *(
                    "hyworld",
                    "worldplay",
                    "dreamx",
                    "dreamx-world",
                    "world model",
                    "unet loader",
                    "wan 5b",
                    "wan",
                    "wan 2.1",
                    "wan 2.2",
                ),
                *("self-forcing", "self forcing", "causal-forcing", "causal forcing", "TI2V", "T2V", "I2V"),
            ],
            advanced_inputs=("allow_base", "kernels", "steps", "shift", "guidance", "gpus", "remembered"),
            inputs=[
                io.Combo.Input(
                    "model_name",
                    options=model_names(),
                    default=TINY_NAME,
                    tooltip="A file in models/diffusion_models, or the built-in world of rooms, which needs no "
                    "download. model.pt works as it is but starts slower than converted (Convert HY-WorldPlay Model). "
                    "tiny-random draws noise, for tests.",
                ),
                io.Combo.Input(
                    "weight_dtype",
                    options=list(WEIGHT_DTYPES),
                    default="default",
                    tooltip="Precision the weights are kept in. default: as the file, scaled fp8 included; bf16 is "
                    "nearly twice as fast on CPUs with instructions for it; fp8_e4m3fn halves the memory of bf16 and "
                    "costs some quality.",
                ),
                io.Combo.Input(
                    "attention",
                    options=list(BACKENDS),
                    default="auto",
                    tooltip="auto is PyTorch's attention (cuDNN where there is one). flash and sage need their package "
                    "installed; sage trades accuracy for speed. fp8 does, too, on NVIDIA cards from RTX 40 on.",
                ),
                io.Boolean.Input(
                    "allow_base",
                    default=False,
                    optional=True,
                    tooltip="Walk a plain Wan 2.2 TI2V-5B file as if it were WorldPlay. It knows neither actions "
                    "nor cameras, so the walk will not follow the path. Off: it makes videos as it was trained to.",
                ),
                io.Combo.Input(
                    "kernels",
                    options=list(get_args(KernelChoice)),
                    default="auto",
                    optional=True,
                    tooltip="What runs between the matrix products. triton: fused GPU kernels, built in some "
                    "seconds the first time; plain: PyTorch alone; auto: triton where it can run.",
                ),
                io.Combo.Input(
                    "linears",
                    options=list(get_args(LinearChoice)),
                    default="exact",
                    optional=True,
                    tooltip="fp8 multiplies in float8 with a scale for every row: faster on Hopper and Blackwell cards "
                    "(RTX 50), at a few percent of error. The large weights are then kept in fp8, whatever "
                    "weight_dtype says; LoRAs work.",
                ),
                io.Combo.Input(
                    "recipe",
                    options=list(RECIPE_NAMES),
                    default=AUTO,
                    optional=True,
                    tooltip="How it is walked: steps, chunk length, memory, guidance. auto goes by the tensors and, "
                    "where several recipes have the same, by the file's name.",
                ),
                io.Combo.Input(
                    "ema",
                    options=list(WEIGHTS),
                    default=AUTO,
                    optional=True,
                    tooltip="Of a .pt file with two sets of weights: ema is the averaged one, raw the other. auto is "
                    "ema, but for WorldPlay. Causal-Forcing's own program takes raw for its chunk-wise model.",
                ),
                io.Int.Input(
                    "steps",
                    default=0,
                    min=0,
                    max=1000,
                    optional=True,
                    tooltip="Denoising steps of models that leave them open (TI2V-5B, Wan T2V and I2V); 0 is the "
                    "recipe's. Distilled models have theirs.",
                ),
                io.Float.Input(
                    "shift",
                    default=0.0,
                    min=0.0,
                    max=100.0,
                    step=0.1,
                    round=0.01,
                    optional=True,
                    tooltip="How far steps lean towards noise, for the same models; 0 is the recipe's.",
                ),
                io.Float.Input(
                    "guidance",
                    default=0.0,
                    min=0.0,
                    max=100.0,
                    step=0.1,
                    round=0.01,
                    optional=True,
                    tooltip="How strongly the prompt leads away from the negative one; 1 is not at all, in half "
                    "the time; 0 is the recipe's.",
                ),
                io.Combo.Input(
                    "speed",
                    options=list(SPEEDS),
                    default="exact",
                    optional=True,
                    tooltip="fast: attention and linears in fp8, unless they are chosen above; for cards from Hopper "
                    "on, at a few percent of error. Faster still with the tiny decoder, which the sampler chooses.",
                ),
                io.Int.Input(
                    "gpus",
                    default=1,
                    min=1,
                    max=64,
                    optional=True,
                    tooltip="How many GPUs of this computer share each walk, every one with a copy of the model; "
                    "the number must divide the network's heads (24 of WorldPlay). On a CPU it means processes, "
                    "which is no faster.",
                ),
                io.Combo.Input(
                    "remembered",
                    options=list(REMEMBERED),
                    default=REMEMBERED[0],
                    optional=True,
                    tooltip="Latents that a chunk of WorldPlay remembers: 16, as it was trained, or 12 or 8, "
                    "faster and with less memory; the recent ones among them are fewer then. Models that remember "
                    "a window have theirs.",
                ),
            ],
            outputs=[io.Model.Output(display_name="model", tooltip="For the Streaming Sampler, by way of LoRA nodes.")],
        )

    @classmethod
    def validate_inputs(cls, attention: str = "auto") -> bool | str:
        if attention not in BACKENDS:
            return f"There is no attention backend {attention!r}: choose one of {', '.join(BACKENDS)}."
        package = missing_package(attention)
        if package is not None:
            return f"The attention backend {attention} needs the package {package}: install it, or choose auto."
        return True

    @classmethod
    def execute(
        cls,
        model_name: str,
        weight_dtype: str,
        attention: AttentionChoice,
        allow_base: bool = False,
        kernels: KernelChoice = "auto",
        linears: LinearChoice = "exact",
        recipe: str = AUTO,
        ema: str = AUTO,
        steps: int = 0,
        shift: float = 0.0,
        guidance: float = 0.0,
        speed: SpeedChoice = "exact",
        gpus: int = 1,
        remembered: str = REMEMBERED[0],
    ) -> io.NodeOutput:
        # Old hosts do not check a choice themselves.
        for name, chosen, known in (
            ("weight_dtype", weight_dtype, WEIGHT_DTYPES),
            ("recipe", recipe, RECIPE_NAMES),
            ("ema", ema, WEIGHTS),
            ("speed", speed, SPEEDS),
            ("remembered", remembered, REMEMBERED),
        ):
            if chosen not in known:
                raise InputError(f"There is no {name} {chosen!r}: choose one of {', '.join(known)}.")
        modes = Modes(attention=attention, kernels=kernels, linears=linears, remembered=int(remembered))
        modes = at_speed(speed, modes)
        return io.NodeOutput(
            load_model(model_name, weight_dtype, allow_base, modes, Asked(recipe, steps, shift, guidance), ema, gpus)
        )


class TinyWorld(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="HYWorldTinyWorld",
            display_name="Tiny World (VAE + CLIP + picture)",
            description=(
                "VAE and CLIP of the built-in world, in place of Load VAE and Load CLIP, and a picture of one of its "
                "rooms: a whole walk without a single download. They fit the built-in models only."
            ),
            search_aliases=["hyworld", "tiny model", "no download"],
            inputs=[
                io.Int.Input(
                    "scene",
                    default=SCENE,
                    min=0,
                    max=FIRST_FRAMES - 1,
                    optional=True,
                    tooltip="Which room or courtyard the picture shows. The model has never seen any of them.",
                ),
            ],
            outputs=[
                io.Vae.Output(display_name="vae", tooltip="VAE of the built-in models."),
                io.Clip.Output(
                    display_name="clip", tooltip="Stand-in for a text encoder; the world of rooms heeds no prompt."
                ),
                io.Image.Output(display_name="picture", tooltip="The scene's first frame, for Encode First Frame."),
            ],
        )

    @classmethod
    def execute(cls, scene: int = SCENE) -> io.NodeOutput:
        picture = picture_to_image(first_frame(scene)).to(output_device())
        return io.NodeOutput(TinyHostVAE(), TinyCLIP(), picture)
