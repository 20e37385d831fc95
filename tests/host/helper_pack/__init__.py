"""Nodes the tests need on the server: things users wire into ours by mistake, and a network that is slow or runs out
of memory on purpose. Only the tests' own server loads them."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import comfy.ldm.wan.model
import comfy.ldm.wan.vae
import comfy.model_management
import comfy.sd
import comfy.taesd.taesd
import torch
from comfy.patcher_extension import WrappersMP
from comfy_api.latest import ComfyExtension, io


def helper(name: str, inputs: list[Any], outputs: list[Any]) -> io.Schema:
    """The schema of a node of this pack."""
    return io.Schema(node_id=name, display_name=name, category="tests", inputs=inputs, outputs=outputs)


def empty_weights(build: Callable[[], torch.nn.Module]) -> dict[str, torch.Tensor]:
    """A state dict of zeros with the names and shapes of a module's."""
    with torch.device("meta"):
        module = build()
    return {name: torch.zeros(tensor.shape) for name, tensor in module.state_dict().items()}


class OtherConditioning(io.ComfyNode):
    """Embeddings of another text encoder."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return helper("TestOtherConditioning", [io.Int.Input("width")], [io.Conditioning.Output(display_name="text")])

    @classmethod
    def execute(cls, width: int) -> io.NodeOutput:
        return io.NodeOutput([[torch.zeros(1, 77, width), {"pooled_output": None}]])


class OtherCLIP(io.ComfyNode):
    """Another text encoder."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return helper("TestOtherCLIP", [io.Int.Input("width")], [io.Clip.Output(display_name="clip")])

    @classmethod
    def execute(cls, width: int) -> io.NodeOutput:
        class Encoder:
            def tokenize(self, text: str) -> str:
                return text

            def encode_from_tokens_scheduled(self, tokens: str) -> list[Any]:
                return [[torch.zeros(1, 77, width), {"pooled_output": None}]]

        return io.NodeOutput(Encoder())


class OtherVAE(io.ComfyNode):
    """The VAE of another model, as Load VAE would give it, or what is no VAE at all."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        kinds = io.Combo.Input("kind", options=["wan 2.1", "image", "none"])
        return helper("TestOtherVAE", [kinds], [io.Vae.Output(display_name="vae")])

    @classmethod
    def execute(cls, kind: str) -> io.NodeOutput:
        if kind == "none":
            return io.NodeOutput("not a VAE")
        if kind == "image":
            state = empty_weights(lambda: comfy.taesd.taesd.TAESD(latent_channels=4))
            return io.NodeOutput(comfy.sd.VAE(sd=state))
        sizes = {"dim": 96, "z_dim": 16, "dim_mult": [1, 2, 4, 4], "num_res_blocks": 2, "attn_scales": []}
        downsample = [False, True, True]
        state = empty_weights(lambda: comfy.ldm.wan.vae.WanVAE(**sizes, temperal_downsample=downsample))
        return io.NodeOutput(comfy.sd.VAE(sd=state))


class OtherModel(io.ComfyNode):
    """A Wan 2.1 model of one block, as Load Diffusion Model would give it."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return helper("TestOtherModel", [], [io.Model.Output(display_name="model")])

    @classmethod
    def execute(cls) -> io.NodeOutput:
        sizes = {"dim": 128, "ffn_dim": 128, "num_heads": 1, "num_layers": 1, "in_dim": 16, "out_dim": 16}
        state = empty_weights(lambda: comfy.ldm.wan.model.WanModel(**sizes, operations=torch.nn))
        return io.NodeOutput(comfy.sd.load_diffusion_model_state_dict(state))


class SlowModel(io.ComfyNode):
    """The same MODEL, with a pause before every forward."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        inputs = [io.Model.Input("model"), io.Float.Input("seconds")]
        return helper("TestSlowModel", inputs, [io.Model.Output(display_name="model")])

    @classmethod
    def execute(cls, model: Any, seconds: float) -> io.NodeOutput:
        return io.NodeOutput(before_every_forward(model, lambda: time.sleep(seconds)))


class OutOfMemory(io.ComfyNode):
    """The same MODEL on a GPU that is full after some forwards."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        inputs = [io.Model.Input("model"), io.Int.Input("forwards")]
        return helper("TestOutOfMemory", inputs, [io.Model.Output(display_name="model")])

    @classmethod
    def execute(cls, model: Any, forwards: int) -> io.NodeOutput:
        left = iter(range(forwards))

        def allocate() -> None:
            if next(left, None) is None:
                raise comfy.model_management.OOM_EXCEPTION("CUDA out of memory. Tried to allocate 20.00 MiB.")

        return io.NodeOutput(before_every_forward(model, allocate))


class SlowDecoder(io.ComfyNode):
    """A VAE of Tiny World of its own, with a pause before every latent it decodes."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        inputs = [io.Vae.Input("vae"), io.Float.Input("seconds")]
        return helper("TestSlowDecoder", inputs, [io.Vae.Output(display_name="vae")])

    @classmethod
    def execute(cls, vae: Any, seconds: float) -> io.NodeOutput:
        slow = type(vae)()
        decode_stream = slow.first_stage_model.decode_stream

        def paused(*args: Any) -> Any:
            time.sleep(seconds)
            return decode_stream(*args)

        slow.first_stage_model.decode_stream = paused
        return io.NodeOutput(slow)


def before_every_forward(model: Any, act: Callable[[], None]) -> Any:
    """A clone of a MODEL that does something before every forward, as other packs hook into it."""

    def wrapper(executor: Any, *args: Any, **kwargs: Any) -> Any:
        act()
        return executor(*args, **kwargs)

    patched = model.clone()
    patched.add_wrapper_with_key(WrappersMP.APPLY_MODEL, "tests", wrapper)
    return patched


class Helpers(ComfyExtension):
    """What ComfyUI asks for the list of nodes."""

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return [OtherConditioning, OtherCLIP, OtherVAE, OtherModel, SlowModel, OutOfMemory, SlowDecoder]


async def comfy_entrypoint() -> Helpers:
    """Called by ComfyUI when it loads the pack."""
    return Helpers()
