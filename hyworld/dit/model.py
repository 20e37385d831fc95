"""The WorldPlay WAN-5B transformer: Wan 2.2 TI2V-5B plus action embedding and a PRoPE attention branch.

Parameter names are Wan-native, for existing Wan 2.2 5B LoRAs and tools. Linear, Conv and Norm layers come from
`operations`, so that a host such as ComfyUI can cast, offload and quantise them.
Shape suffixes: B batch, C latent channels, F frames, S tokens per frame, E = model width, L text tokens.
Source: WorldPlay `wan/models/dits/arwan_w_action_w_mem_relative_rope.py`.
"""

from __future__ import annotations

import math
from typing import Any, cast

import torch
from einops import rearrange
from torch import Tensor, nn

from ..config import PATCH, DiTConfig
from ..fingerprint import Fingerprint
from .attention import CrossAttention, DualBranchSelfAttention
from .inputs import Inputs, TextKV
from .kernels import PLAIN, Kernels
from .kv_memory import KVSlot
from .positions import Positions
from .prope import camera_projections
from .rope import rope_table


def sinusoid(x: Tensor, dim: int) -> Tensor:
    """Sinusoidal embedding `[..., dim]` of `x`: cosines first, then sines, base 10000, float32."""
    half = dim // 2
    frequency = torch.exp(-math.log(10_000) * torch.arange(half, dtype=torch.float32, device=x.device) / half)
    angle = x.float().unsqueeze(-1) * frequency
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
        self.self_attn = DualBranchSelfAttention(config, operations=operations, **factory)
        self.norm3 = operations.LayerNorm(dim, eps=config.eps, **factory)
        self.cross_attn = CrossAttention(config, operations=operations, **factory)
        self.ffn = nn.Sequential(
            operations.Linear(dim, config.ffn_dim, **factory),
            nn.GELU(approximate="tanh"),
            operations.Linear(config.ffn_dim, dim, **factory),
        )

    def _modulation(self, frame_mod_BF6E: Tensor) -> tuple[Tensor, ...]:
        table = self.modulation.to(device=frame_mod_BF6E.device, dtype=torch.float32)
        return (table + frame_mod_BF6E.float()).unsqueeze(2).unbind(dim=3)

    def store_keys_values(
        self, x_BFSE: Tensor, frame_mod_BF6E: Tensor, positions: Positions, slot: KVSlot, kernels: Kernels
    ) -> None:
        """Only write this block's keys and values into `slot`."""
        shift, scale, *_ = self._modulation(frame_mod_BF6E)
        normed = kernels.modulated_norm(x_BFSE, shift, scale, self.eps)
        self.self_attn.store_keys_values(normed, positions, slot, kernels)

    def forward(
        self,
        x_BFSE: Tensor,
        frame_mod_BF6E: Tensor,
        text_kv: tuple[Tensor, Tensor],
        positions: Positions,
        slot: KVSlot | None,
        kernels: Kernels,
    ) -> Tensor:
        shift, scale, gate, ffn_shift, ffn_scale, ffn_gate = self._modulation(frame_mod_BF6E)
        x = x_BFSE
        normed = kernels.modulated_norm(x, shift, scale, self.eps)
        x = kernels.gated_add(x, self.self_attn(normed, positions, slot, kernels), gate)
        x = x + self.cross_attn(self.norm3(x), text_kv, kernels)
        normed = kernels.modulated_norm(x, ffn_shift, ffn_scale, self.eps)
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


class WanDiT(nn.Module):
    """The network: latents, cameras and actions in, flow (velocity) out; `kernels` may be replaced by faster ones."""

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
        self.patch_embedding = operations.Conv3d(
            config.latent_channels, dim, kernel_size=patch, stride=patch, **factory
        )
        self.text_embedding = mlp(config.text_dim, nn.GELU(approximate="tanh"))
        self.time_embedding = mlp(config.freq_dim, nn.SiLU())
        self.time_projection = nn.Sequential(nn.SiLU(), operations.Linear(dim, 6 * dim, **factory))
        self.action_embedding = mlp(config.freq_dim, nn.SiLU())
        self.blocks = nn.ModuleList(Block(config, operations=operations, **factory) for _ in range(config.num_layers))
        self.head = Head(config, operations=operations, **factory)
        self._rope_tables: dict[tuple[int, int, int, torch.device], tuple[Tensor, Tensor]] = {}

    def text_keys_values(self, text: Tensor) -> TextKV:
        """Cross-attention keys and values of the prompt `text` `[B, L, text_dim]`, needed once per prompt."""
        embedded = self.text_embedding(text)
        return tuple(block.cross_attn.keys_values(embedded) for block in self._block_list())

    def forward(self, inputs: Inputs) -> Tensor | None:
        """Flow `[B, C, F, h, w]` of the given frames; None for a prefill, which writes into `inputs.memory` instead."""
        latents, memory = inputs.latents, inputs.memory
        num_frames, rows, columns = latents.shape[2], latents.shape[3] // PATCH, latents.shape[4] // PATCH
        if inputs.prefill:
            assert memory is not None, "a prefill needs a memory to write to"
            memory.clear()
        start = 0 if memory is None else memory.frames

        cos, sin = self._rope(num_frames if memory is None else memory.capacity_frames, rows, columns, latents.device)
        cameras = camera_projections(inputs.viewmats, inputs.intrinsics)
        context = cameras if memory is None else memory.cameras_with(cameras)
        positions = Positions(cos[: start + num_frames], sin[: start + num_frames], context)
        x = rearrange(self.patch_embedding(latents), "B E F rows columns -> B F (rows columns) E")
        temb, frame_mod = self._frame_embedding(inputs.timestep, inputs.action, latents.dtype)

        blocks = self._block_list()
        slots = [None if memory is None else memory.slot(layer) for layer in range(len(blocks))]
        last = blocks.pop() if inputs.prefill else None
        for layer, block in enumerate(blocks):  # not a zip: torch 2.6 compiles none of unequal lengths
            x = block(x, frame_mod, inputs.text_kv[layer], positions, slots[layer], self.kernels)
        if last is not None and memory is not None:
            # A prefill needs only the keys and values of the last block.
            last.store_keys_values(x, frame_mod, positions, memory.slot(len(blocks)), self.kernels)
            memory.commit_prefill(cameras)
            return None

        return rearrange(
            self.head(x, temb, self.kernels),
            "B F (rows columns) (p q C) -> B C F (rows p) (columns q)",
            rows=rows,
            columns=columns,
            p=PATCH,
            q=PATCH,
        )

    @staticmethod
    def activation_bytes(config: DiTConfig, *, frames: int, tokens_per_frame: int, dtype: torch.dtype) -> int:
        """Approximate bytes of a forward besides weights and memory: FFN hidden layer, six float32 residual streams."""
        return frames * tokens_per_frame * (config.ffn_dim * dtype.itemsize + 6 * config.dim * 4)

    def _block_list(self) -> list[Block]:
        return cast("list[Block]", list(self.blocks))

    def _frame_embedding(self, timestep: Tensor, action: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """temb `[B, F, E]` and the six modulation vectors `[B, F, 6, E]`."""
        freq = self.config.freq_dim
        temb = self.time_embedding(sinusoid(timestep, freq).to(dtype))
        temb = temb + self.action_embedding(sinusoid(action, freq).to(dtype))
        return temb, self.time_projection(temb).unflatten(-1, (6, -1))

    def _rope(self, frames: int, rows: int, columns: int, device: torch.device) -> tuple[Tensor, Tensor]:
        # One table for a whole walk, sliced by the caller.
        key = (frames, rows, columns, device)
        if key not in self._rope_tables:
            cos, sin = rope_table(self.config.head_dim, 0, frames, rows, columns)
            self._rope_tables[key] = (cos.to(device), sin.to(device))
        return self._rope_tables[key]
