"""The network: a dual-branch (RoPE + PRoPE) Wan transformer and its key/value memory."""

from .kernels import PLAIN, Attend, Kernels, sdpa
from .kv_memory import KVMemory
from .model import TextKV, WorldPlayDiT

__all__ = ["PLAIN", "Attend", "KVMemory", "Kernels", "TextKV", "WorldPlayDiT", "sdpa"]
