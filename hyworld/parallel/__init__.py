"""One walk on several GPUs, of one machine or more: each process has one, and the first of them leads.

Only that one walks, speaks, reads and writes. It tells the others of every forward and every decode, and all of them
share its work: tokens, then heads, of the network (`tokens.py`), strips of the picture (`strips.py`).
"""

from .job import follow_if_told, interrupt, leave, lost, ranks
from .peers import RankLostError

__all__ = ["RankLostError", "follow_if_told", "interrupt", "leave", "lost", "ranks"]
