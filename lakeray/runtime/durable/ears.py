"""Who is told of everything that happens to any run, once the store knows it."""

from __future__ import annotations

from lakeray.runtime.durable import records
from lakeray.runtime.durable.held import Listener
from lakeray.runtime.durable.letters import Letters
from lakeray.runtime.durable.limits import Limits


def ears(limits: Limits) -> tuple[Listener, ...]:
    """Limits, which count failures; dead letters, which go when their work is done again; logs."""
    return limits.heard, Letters(limits.store).heard, records.heard
