"""Compare this machine's results with reference tensors of the original programs, one `Item` per comparison."""

from .report import Item
from .runner import REFERENCE, verify

__all__ = ["REFERENCE", "Item", "verify"]
