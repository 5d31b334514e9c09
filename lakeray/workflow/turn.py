"""The scratch pad of one decision: every event that it adds is at once part of the state that it goes on with."""

from __future__ import annotations

from datetime import datetime

from lakeray.workflow.events import Event
from lakeray.workflow.evolve import evolve
from lakeray.workflow.state import RunState


class Turn:
    """``say`` an event; ``state`` is the run after all that were said, ``events`` are these."""

    def __init__(self, state: RunState, at: datetime) -> None:
        self.state = state
        self.at = at
        self.events: list[Event] = []

    def say(self, event: Event) -> None:
        """Add an event."""
        self.state = evolve(self.state, event)
        self.events.append(event)
