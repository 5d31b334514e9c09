"""Who does something, with what they are in their tenant."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Principal:
    """A person or service of one tenant.

    ``name`` is unique in the tenant; ``roles`` are those that they had when this was written down.
    """

    name: str
    tenant: str
    roles: frozenset[str] = frozenset()
