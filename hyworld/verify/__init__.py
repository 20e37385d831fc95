"""Does this machine compute what the original computes? Reference tensors in, one verdict per item out."""

from .report import Item
from .runner import REFERENCE, verify

__all__ = ["REFERENCE", "Item", "verify"]
