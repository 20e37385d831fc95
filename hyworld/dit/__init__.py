"""The network: a dual-branch (RoPE + PRoPE) Wan transformer and its key/value memory."""

from .inputs import Inputs, TextKV
from .kernels import PLAIN, Attend, Kernels, sdpa
from .kv_memory import KVMemory
from .model import WanDiT

__all__ = ["PLAIN", "Attend", "Inputs", "KVMemory", "Kernels", "TextKV", "WanDiT", "sdpa"]
