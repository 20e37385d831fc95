"""Wan's transformer, and two that follow a camera: WorldPlay's and DreamX-World's, from Wan 2.2 TI2V-5B.

Its config says which of the variants it is. Parameter names are Wan-native, for existing LoRAs and tools. Linear, Conv
and Norm layers come from `operations`, so that a host such as ComfyUI can cast, offload and quantise them.
Shape suffixes: B batch, C latent channels, F frames, S tokens per frame, E = model width, L text tokens.
Sources: Wan 2.1 and 2.2 `wan/modules/model.py`; WorldPlay `wan/models/dits/arwan_w_action_w_mem_relative_rope.py`;
DreamX-World `wan/modules/causal_camera_model_2_2_prope_infinity.py`.
"""

from __future__ import annotations

import math
from typing import Any, cast

import torch
from einops import rearrange
from torch import Tensor, nn

from ..config import PATCH, DiTConfig
from ..fingerprint import Fingerprint
from ..fp8 import Fp8Linear
from .attention import CameraAttention, CrossAttention, SelfAttention
from .buffers import KV, KVSlot
from .fp8_attention import Factors, camera_factors, fixed_factors
from .inputs import Inputs, TextKV
from .kernels import PLAIN, Kernels
from .kv_memory import KVMemory
from .positions import Positions
from .prope import CameraProjections, camera_projections
from .rolling import RollingMemory
from .rope import Rope


def sinusoid(x: Tensor, dim: int, precision: torch.dtype = torch.float32) -> Tensor:
    """Sinusoidal embedding `[..., dim]` of `x`: cosines first, then sines, base 10000; computed in `precision`."""
    half = dim // 2
    frequency = torch.exp(-math.log(10_000) * torch.arange(half, dtype=precision, device=x.device) / half)
    angle = x.to(precision).unsqueeze(-1) * frequency
    return torch.cat((angle.cos(), angle.sin()), dim=-1)


class Block(nn.Module):
    """Self-attention, cross-attention and FFN; the first and last modulated per frame."""

    def __init__(
        self, config: DiTConfig, *, operations: Any, device: Any = None, dtype: torch.dtype | None = None
    ) -> None:
        super().__init__()
        dim = config.dim
        factory = {"device": device, "dtype": dtype}
        self.eps = config.eps
        self.modulation = nn.Parameter(torch.zeros(1, 6, dim, **factory))
        self.self_attn = SelfAttention(config, operations=operations, **factory)
        self.cam_self_attn = CameraAttention(config, operations=operations, **factory) if config.camera_width else None
        self.norm3 = operations.LayerNorm(dim, eps=config.eps, **factory)
        self.cross_attn = CrossAttention(config, operations=operations, **factory)
        self.ffn = nn.Sequential(
            operations.Linear(dim, config.ffn_dim, **factory),
            nn.GELU(approximate="tanh"),
            operations.Linear(config.ffn_dim, dim, **factory),
        )

    @property
    def _multiplies_in_fp8(self) -> bool:
        """Whether all linears are `Fp8Linear`: else none is."""
        return isinstance(self.ffn[0], Fp8Linear)

    def _modulation(self, frame_mod_BF6E: Tensor) -> tuple[Tensor, ...]:
        table = self.modulation.to(device=frame_mod_BF6E.device, dtype=torch.float32)
        return (table + frame_mod_BF6E.float()).unsqueeze(2).unbind(dim=3)

    def store_keys_values(
        self, x_BFSE: Tensor, frame_mod_BF6E: Tensor, positions: Positions, slot: KVSlot, kernels: Kernels
    ) -> None:
        """Only write this block's keys and values into `slot`."""
        shift, scale, *_ = self._modulation(frame_mod_BF6E)
        normed = kernels.modulated_norm(x_BFSE, shift, scale, self.eps, to_fp8=self._multiplies_in_fp8)
        self.self_attn.store_keys_values(normed, positions, slot, kernels)

    def forward(
        self,
        x_BFSE: Tensor,
        frame_mod_BF6E: Tensor,
        text_kv: KV,
        image_kv: KV | None,
        positions: Positions,
        slot: KVSlot | None,
        kernels: Kernels,
    ) -> Tensor:
        shift, scale, gate, ffn_shift, ffn_scale, ffn_gate = self._modulation(frame_mod_BF6E)
        to_fp8 = self._multiplies_in_fp8
        normed = kernels.modulated_norm(x_BFSE, shift, scale, self.eps, to_fp8=to_fp8)
        updates = self.self_attn(normed, positions, slot, kernels)
        if self.cam_self_attn is not None and positions.here is not None:
            updates += (self.cam_self_attn(normed, positions.here, positions.tokens, kernels),)
        x, normed = kernels.gated_add_norm(x_BFSE, updates, gate, self.norm3, to_fp8=to_fp8)
        update = self.cross_attn(normed, text_kv, image_kv, kernels)
        x, normed = kernels.add_modulated_norm(x, update, ffn_shift, ffn_scale, self.eps, to_fp8=to_fp8)
        return kernels.gated_add(x, kernels.feed_forward(self.ffn, normed), ffn_gate)


class Head(nn.Module):
    """Modulated norm, then projection of each token to its 2x2 latent cells."""

    def __init__(
        self, config: DiTConfig, *, operations: Any, device: Any = None, dtype: torch.dtype | None = None
    ) -> None:
        super().__init__()
        self.eps = config.eps
        self.modulation = nn.Parameter(torch.zeros(1, 2, config.dim, device=device, dtype=dtype))
        self.head = operations.Linear(config.dim, config.latent_channels * PATCH * PATCH, device=device, dtype=dtype)

    def forward(self, x_BFSE: Tensor, temb_BFE: Tensor, kernels: Kernels) -> Tensor:
        table = self.modulation.to(device=temb_BFE.device, dtype=torch.float32)
        shift, scale = (table + temb_BFE.float().unsqueeze(2)).unsqueeze(2).unbind(dim=3)
        return self.head(kernels.modulated_norm(x_BFSE, shift, scale, self.eps))


class ImageEmbedding(nn.Module):
    """CLIP tokens `[B, K, clip_dim]` of a picture as cross-attention reads them, `[B, K, E]`."""

    def __init__(
        self, config: DiTConfig, *, operations: Any, device: Any = None, dtype: torch.dtype | None = None
    ) -> None:
        super().__init__()
        width, dim = config.clip_dim, config.dim
        factory = {"device": device, "dtype": dtype}
        self.proj = nn.Sequential(
            operations.LayerNorm(width, **factory),
            operations.Linear(width, width, **factory),
            nn.GELU(),
            operations.Linear(width, dim, **factory),
            operations.LayerNorm(dim, **factory),
        )

    def forward(self, clip_BKC: Tensor) -> Tensor:
        return self.proj(clip_BKC)


class WanDiT(nn.Module):
    """The network: latents and what guides them in, flow (velocity) out; `kernels` may be replaced by faster ones."""

    def __init__(
        self,
        config: DiTConfig,
        *,
        operations: Any = torch.nn,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.config = config
        self.fingerprint: Fingerprint = ()
        self.kernels: Kernels = PLAIN
        dim = config.dim
        factory: dict[str, Any] = {"device": device, "dtype": dtype}

        def mlp(width_in: int, activation: nn.Module) -> nn.Sequential:
            return nn.Sequential(
                operations.Linear(width_in, dim, **factory), activation, operations.Linear(dim, dim, **factory)
            )

        patch = (1, PATCH, PATCH)
        channels = config.latent_channels + config.image_channels
        self.patch_embedding = operations.Conv3d(channels, dim, kernel_size=patch, stride=patch, **factory)
        self.text_embedding = mlp(config.text_dim, nn.GELU(approximate="tanh"))
        self.time_embedding = mlp(config.freq_dim, nn.SiLU())
        self.time_projection = nn.Sequential(nn.SiLU(), operations.Linear(dim, 6 * dim, **factory))
        if config.is_worldplay:
            self.action_embedding = mlp(config.freq_dim, nn.SiLU())
        if config.clip_dim:
            self.img_emb = ImageEmbedding(config, operations=operations, **factory)
        self.blocks = nn.ModuleList(Block(config, operations=operations, **factory) for _ in range(config.num_layers))
        self.head = Head(config, operations=operations, **factory)
        self._rope = Rope(config)

    def text_keys_values(self, text: Tensor) -> TextKV:
        """Cross-attention keys and values of the prompt `text` `[B, L, text_dim]`, needed once per prompt."""
        embedded = self.text_embedding(text)
        return tuple(block.cross_attn.keys_values(embedded) for block in self._block_list())

    def image_keys_values(self, clip: Tensor) -> TextKV:
        """Cross-attention keys and values of a picture's CLIP tokens `[B, K, clip_dim]`, needed once per picture."""
        embedded = self.img_emb(clip)
        return tuple(block.cross_attn.image_keys_values(embedded) for block in self._block_list())

    def forward(self, inputs: Inputs) -> Tensor | None:
        """Flow `[B, C, F, h, w]` of the given frames; None for a prefill, which writes into `inputs.memory` instead."""
        latents, memory = inputs.latents, inputs.memory
        num_frames, rows, columns = latents.shape[2], latents.shape[3] // PATCH, latents.shape[4] // PATCH
        assert memory is None or memory.fp8 == (self.kernels.fp8 is not None), "a memory is for the attention it serves"
        if inputs.prefill:
            assert memory is not None, "a prefill needs a memory to write to"
            if isinstance(memory, KVMemory):
                memory.clear()

        cameras = self._cameras(inputs)
        context = cameras if self.config.is_worldplay else None
        if context is not None and isinstance(memory, KVMemory):
            context = memory.cameras_with(context)
        here = None if self.config.is_worldplay else cameras
        factors = None
        if self.kernels.fp8 is not None:
            factors = self._factors(memory, cameras, context, latents.device)
        positions = Positions(*self.rope_tables(inputs), context, here, factors)
        x = rearrange(self.patch_embedding(latents), "B E F rows columns -> B F (rows columns) E")
        exchange = self.kernels.exchange
        if exchange is not None:
            x = exchange.own_tokens(x)
        temb, frame_mod = self._frame_embedding(inputs.timestep, inputs.action, latents.dtype)

        blocks = self._block_list()
        slots = [None if memory is None else memory.slot(layer, num_frames) for layer in range(len(blocks))]
        last = blocks.pop() if inputs.prefill else None
        for layer, block in enumerate(blocks):  # not a zip: torch 2.6 compiles none of unequal lengths
            image_kv = inputs.image_kv and inputs.image_kv[layer]
            x = block(x, frame_mod, inputs.text_kv[layer], image_kv, positions, slots[layer], self.kernels)
        if last is not None and memory is not None:
            # A prefill needs only the keys and values of the last block.
            last.store_keys_values(x, frame_mod, positions, memory.slot(len(blocks), num_frames), self.kernels)
            if isinstance(memory, KVMemory) and cameras is not None:
                memory.commit_prefill(cameras)
            return None

        cells = self.head(x, temb, self.kernels)
        if exchange is not None:
            cells = exchange.all_tokens(positions.tokens, cells)
        return rearrange(
            cells,
            "B F (rows columns) (p q C) -> B C F (rows p) (columns q)",
            rows=rows,
            columns=columns,
            p=PATCH,
            q=PATCH,
        )

    def _cameras(self, inputs: Inputs) -> CameraProjections | None:
        """Of the given frames; None in a network without, and where a camera branch of its own is left out."""
        if not self.config.cameras:
            return None
        if inputs.viewmats is None or inputs.intrinsics is None:
            assert not self.config.is_worldplay, "a network with cameras needs them"
            return None
        return camera_projections(inputs.viewmats, inputs.intrinsics)

    def rope_tables(self, inputs: Inputs) -> tuple[Tensor, Tensor]:
        """Tables of the frames whose keys a forward rotates, its own last; one address for all of the same shape."""
        memory, (*_, frames, h, w) = inputs.memory, inputs.latents.shape
        place = (h // PATCH, w // PATCH, inputs.latents.device)
        if isinstance(memory, RollingMemory) and memory.rotated:
            return self._rope.moving(memory.made, frames, *place)
        if memory is None:
            return self._rope.fixed(frames, *place)
        # One table for a whole walk: torch compiles anew for every other.
        cos, sin = self._rope.fixed(memory.capacity_frames, *place)
        return cos[: memory.frames + frames], sin[: memory.frames + frames]

    def _factors(
        self,
        memory: KVMemory | RollingMemory | None,
        cameras: CameraProjections | None,
        context: CameraProjections | None,
        device: torch.device,
    ) -> Factors:
        """Those that the keys and values in memory were rounded by."""
        if cameras is None or context is None:
            return fixed_factors(device)
        remembered = 0 if memory is None else memory.frames
        return camera_factors(cameras.q, context.kv[:, : remembered or None])

    @staticmethod
    def activation_bytes(config: DiTConfig, *, frames: int, tokens_per_frame: int, dtype: torch.dtype) -> int:
        """Approximate bytes of a forward besides weights and memory: FFN hidden layer, six float32 residual streams."""
        return frames * tokens_per_frame * (config.ffn_dim * dtype.itemsize + 6 * config.dim * 4)

    def _block_list(self) -> list[Block]:
        return cast("list[Block]", list(self.blocks))

    def _frame_embedding(self, timestep: Tensor, action: Tensor | None, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """temb `[B, F, E]` and the six modulation vectors `[B, F, 6, E]`."""
        freq = self.config.freq_dim
        # Wan computes it in float64, WorldPlay in float32; MPS has no float64.
        double = not self.config.is_worldplay and timestep.device.type != "mps"
        temb = self.time_embedding(sinusoid(timestep, freq, torch.float64 if double else torch.float32).to(dtype))
        if self.config.is_worldplay:
            assert action is not None, "WorldPlay needs actions"
            temb = temb + self.action_embedding(sinusoid(action, freq).to(dtype))
        return temb, self.time_projection(temb).unflatten(-1, (6, -1))
