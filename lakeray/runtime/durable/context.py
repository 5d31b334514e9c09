"""What a user's function is told about the step that it does."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any


def _silent(_: Any) -> None: ...


@dataclass(frozen=True, kw_only=True)
class StepContext:
    """Handed to a function that has a parameter called ``context``.

    - ``idempotency_key`` is the same in every attempt: an effect that is told apart by it happens once.
    - ``attempt`` counts from 1; ``details`` are those of the last ``heartbeat`` of an earlier attempt, to go on from.
    - ``arguments`` are the run's, ``outputs`` those of the steps that have succeeded, by name.
    - ``heartbeat(details)`` says that the step is alive, and how far it is (JSON, or nothing).
    - ``cancelled`` is set when the step shall stop: raise, or return early with what was done.
    """

    run_id: str
    workflow: str
    tenant: str
    step: str
    attempt: int
    idempotency_key: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    outputs: Mapping[str, Any] = field(default_factory=dict)
    details: Any = None
    heartbeat: Callable[[Any], None] = _silent
    cancelled: threading.Event = field(default_factory=threading.Event)
