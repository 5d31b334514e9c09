"""The event store on a Redis server, shared by any number of processes."""

from typing import Final

FORMAT: Final = 1
"""The number of the format of what is kept, in field ``format`` of ``lakeray:store``."""
PREFIX: Final = "lakeray:"
"""How every key begins."""
