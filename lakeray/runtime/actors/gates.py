"""The gate controller: one actor that judges gates and conditions for all orchestrators, many side by side.

It keeps nothing: a verdict counts once the run's owner has it in the store, and what a dead controller was asked is
asked again.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from lakeray.runtime.actors.order import Doing, Order

VERDICTS_AT_ONCE = 32


class GateController:
    """The actor."""

    def judge(self, order: Order) -> Iterator[bytes]:
        """The verdict on a gate or a condition, see ``Doing``."""
        yield from Doing(order).said()

    def ready(self) -> bool:
        """Whether it is there."""
        return True


def start_gate_controller(name: str) -> Any:
    """The actor's handle, which Ray knows by ``name``; Ray starts it again as often as it dies."""
    import ray

    actor: Any = ray.remote(GateController)
    return actor.options(name=name, num_cpus=0, max_restarts=-1, max_concurrency=VERDICTS_AT_ONCE).remote()
