"""The network: a dual-branch (RoPE + PRoPE) Wan transformer and its key/value memory."""

from .attention import Attend, sdpa
from .kv_memory import KVMemory
from .model import TextKV, WorldPlayDiT

__all__ = ["Attend", "KVMemory", "TextKV", "WorldPlayDiT", "sdpa"]
