"""The original's method with our weights, as a baseline; docs/benchmarks.md says what differs.

Source: WorldPlay `arwan_w_action_w_mem_relative_rope.py`, `generate.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from hyworld.config import PATCH
from hyworld.dit import PLAIN, WanDiT
from hyworld.dit.model import Block
from hyworld.dit.prope import camera_projections
from hyworld.dit.rope import rope_table
from hyworld.vae import Wan22VAE
from hyworld.weights import vae_to_diffusers

KV = tuple[Tensor, Tensor]
"""A block's keys and values of the memory frames `[B, H, N, 2 * D]`, RoPE half then PRoPE half."""


def _rope(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate pairs of `x` `[B, H, N, D]` by `cos`, `sin` `[N, D / 2]`."""
    even, odd = x.float().unflatten(-1, (-1, 2)).unbind(-1)
    out = torch.empty_like(x)
    out[..., 0::2] = (even * cos - odd * sin).to(x.dtype)
    out[..., 1::2] = (even * sin + odd * cos).to(x.dtype)
    return out


def _project(x: Tensor, matrix: Tensor) -> Tensor:
    """4-vectors of `x` `[B, H, N, D]` times their frames' `matrix` `[B, F, 4, 4]`, in the compute dtype."""
    B, H, N, D = x.shape
    frames = matrix.shape[1]
    vectors = x.reshape(B, H, frames, N // frames, D // 4, 4)
    return torch.einsum("bfij,bhfpkj->bhfpki", matrix.to(x.dtype), vectors).reshape(x.shape)


def _heads(x: Tensor, heads: int) -> Tensor:
    return x.unflatten(2, (heads, -1)).transpose(1, 2)


def naive_block(
    block: Block,
    x: Tensor,
    frame_mod: Tensor,
    text: Tensor,
    cos: Tensor,
    sin: Tensor,
    q_matrix: Tensor,
    kv_matrix: Tensor,
    out_matrix: Tensor,
    memory: KV | None,
) -> tuple[Tensor, KV]:
    """One block on `x` `[B, N, E]`; returns the new `x` and its own tokens' keys and values."""
    attention, cross, heads = block.self_attn, block.cross_attn, block.self_attn.num_heads
    tokens_per_frame = x.shape[1] // frame_mod.shape[1]
    table = (block.modulation.float() + frame_mod.float()).unbind(dim=2)
    shift, scale, gate, ffn_shift, ffn_scale, ffn_gate = (t.repeat_interleave(tokens_per_frame, dim=1) for t in table)

    normed = (F.layer_norm(x.float(), x.shape[-1:], eps=block.eps) * (1 + scale) + shift).to(x.dtype)
    q, k, v = attention.norm_q(attention.q(normed)), attention.norm_k(attention.k(normed)), attention.v(normed)
    q, k, v = (_heads(t, heads) for t in (q, k, v))
    q_rope, k_rope, v_rope = _rope(q, cos, sin), _rope(k, cos, sin), v
    q_prope, k_prope, v_prope = _project(q, q_matrix), _project(k, kv_matrix), _project(v, kv_matrix)
    own = (torch.cat((k_rope, k_prope), dim=-1), torch.cat((v_rope, v_prope), dim=-1))
    if memory is not None:
        (old_k_rope, old_k_prope), (old_v_rope, old_v_prope) = (t.chunk(2, dim=-1) for t in memory)
        k_rope, k_prope = torch.cat((old_k_rope, k_rope), dim=2), torch.cat((old_k_prope, k_prope), dim=2)
        v_rope, v_prope = torch.cat((old_v_rope, v_rope), dim=2), torch.cat((old_v_prope, v_prope), dim=2)
    both = F.scaled_dot_product_attention(
        torch.cat((q_rope, q_prope)), torch.cat((k_rope, k_prope)), torch.cat((v_rope, v_prope))
    )
    rope_out, prope_out = both.chunk(2)
    prope_out = _project(prope_out, out_matrix)
    joined = attention.o(rope_out.transpose(1, 2).flatten(2)) + attention.o_prope(prope_out.transpose(1, 2).flatten(2))
    x = (x.float() + joined * gate).to(x.dtype)

    q = _heads(cross.norm_q(cross.q(block.norm3(x))), heads)
    k, v = _heads(cross.norm_k(cross.k(text)), heads), _heads(cross.v(text), heads)
    x = x + cross.o(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))

    normed = (F.layer_norm(x.float(), x.shape[-1:], eps=block.eps) * (1 + ffn_scale) + ffn_shift).to(x.dtype)
    return (x.float() + block.ffn(normed).float() * ffn_gate).to(x.dtype), own


class NaiveNetwork:
    """The network with the original's method; `compiled` compiles each block, as the original does."""

    def __init__(self, model: WanDiT, *, compiled: bool) -> None:
        self.model = model
        self._block: Callable[..., Any] = torch.compile(naive_block) if compiled else naive_block
        self._tables: dict[tuple[int, int, int, int], tuple[Tensor, Tensor]] = {}

    def prefill(self, latents: Tensor, timestep: Tensor, text: Tensor, control: dict[str, Tensor]) -> list[KV]:
        """Keys and values of every block for memory frames `[1, C, K, h, w]` at positions 0..K-1."""
        return self._run(latents, timestep, text, control, None)[1]

    def denoise(
        self, latents: Tensor, timestep: Tensor, text: Tensor, control: dict[str, Tensor], memory: list[KV] | None
    ) -> Tensor:
        """Flow of the current frames `[1, C, 4, h, w]`, positioned behind the memory."""
        return self._run(latents, timestep, text, control, memory)[0]

    def _run(
        self, latents: Tensor, timestep: Tensor, text: Tensor, control: dict[str, Tensor], memory: list[KV] | None
    ) -> tuple[Tensor, list[KV]]:
        model = self.model
        B, C, frames, h, w = latents.shape
        rows, columns = h // PATCH, w // PATCH
        start = 0 if memory is None else memory[0][0].shape[2] // (rows * columns)
        cos, sin = (t.to(latents.device).flatten(0, 1) for t in self._table(start, frames, rows, columns))
        cameras = camera_projections(control["viewmats"], control["intrinsics"])
        x = model.patch_embedding(latents).flatten(2).transpose(1, 2)
        temb, frame_mod = model._frame_embedding(timestep, control["action"], latents.dtype)
        embedded = model.text_embedding(text)
        stored = []
        for i, block in enumerate(model.blocks):
            old = None if memory is None else memory[i]
            x, own = self._block(block, x, frame_mod, embedded, cos, sin, cameras.q, cameras.kv, cameras.out, old)
            stored.append(own)
        cells = model.head(x.unflatten(1, (frames, -1)), temb, PLAIN).view(B, frames, rows, columns, PATCH, PATCH, C)
        return cells.permute(0, 6, 1, 2, 4, 3, 5).reshape(B, C, frames, h, w), stored

    def _table(self, start: int, frames: int, rows: int, columns: int) -> tuple[Tensor, Tensor]:
        key = (start, frames, rows, columns)
        if key not in self._tables:
            self._tables[key] = rope_table(self.model.config.head_dim, *key)
        return self._tables[key]


class DiffusersDecoder:
    """diffusers' `AutoencoderKLWan` with our weights, one latent at a time, its cache kept between calls."""

    def __init__(self, vae: Wan22VAE) -> None:
        from diffusers import AutoencoderKLWan

        config = vae.config
        with torch.device("meta"):
            vae_network: Any = AutoencoderKLWan(
                base_dim=config.encoder_dim,
                decoder_base_dim=config.decoder_dim,
                z_dim=config.z_dim,
                dim_mult=list(config.dim_mult),
                num_res_blocks=config.num_res_blocks,
                attn_scales=[],
                temperal_downsample=list(config.temporal_downsample),
                is_residual=True,
                in_channels=12,
                out_channels=12,
                patch_size=2,
                scale_factor_spatial=16,
                scale_factor_temporal=4,
                latents_mean=list(config.latents_mean),
                latents_std=list(config.latents_std),
            )
        weights = {name: tensor.contiguous() for name, tensor in vae_to_diffusers(vae.state_dict()).items()}
        vae_network.load_state_dict(weights, assign=True)
        vae_network.eval().clear_cache()
        self._vae = vae_network
        self._mean = torch.tensor(config.latents_mean).view(1, -1, 1, 1, 1)
        self._std = torch.tensor(config.latents_std).view(1, -1, 1, 1, 1)

    def decode(self, latents: Tensor, *, begins: bool) -> Tensor:
        """Normalised latents `[1, C, n, h, w]` → frames `[1, 3, f, H, W]` in about [-1, 1]."""
        from diffusers.models.autoencoders.autoencoder_kl_wan import unpatchify

        if begins:
            self._vae.clear_cache()
        raw = latents * self._std.to(latents) + self._mean.to(latents)
        x = self._vae.post_quant_conv(raw)
        pieces = []
        for i in range(x.shape[2]):
            self._vae._conv_idx = [0]
            pieces.append(
                self._vae.decoder(
                    x[:, :, i : i + 1],
                    feat_cache=self._vae._feat_map,
                    feat_idx=self._vae._conv_idx,
                    first_chunk=begins and i == 0,
                )
            )
        return unpatchify(torch.cat(pieces, dim=2), patch_size=2)
