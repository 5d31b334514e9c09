"""The port between the loop that decides on runs and whoever does their work."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from lakeray.workflow.commands import Command
from lakeray.workflow.state import RunState
from lakeray.workflow.todo import Compensate, JudgeCondition, JudgeGate, Work


@dataclass(frozen=True, kw_only=True, eq=False)
class Job:
    """One piece of work that the store knows to be begun, with the run as it was then.

    ``tell`` reports on the way, ``done`` at the end: exactly once, with None where the work was given up because it
    was asked to stop and shall be taken up again by the run's next owner. Both from any thread.
    """

    work: Work
    state: RunState
    tell: Callable[[Command], None]
    done: Callable[[Command | None], None]


class Workers(Protocol):
    """Does the work of one run.

    - ``start`` returns at once and raises nothing; the work ends by ``job.done`` whatever happens, unless the process
      dies.
    - ``stop`` asks work to end soon; work that is not there, or over, is no error.
    - All of them are called by one thread alone.
    """

    def room(self, work: Work, before: Sequence[Work]) -> bool:
        """Whether the work could begin once that ``before`` has. Asked again when other work of the run has ended."""
        ...

    def start(self, job: Job) -> None:
        """Begin the work."""
        ...

    def stop(self, key: str) -> None:
        """Have the work with this key end soon."""
        ...


WorkersOf = Callable[[RunState], Workers]
"""Makes the workers of a run once the run is known; children of the run get theirs from it too."""


def passage_of(work: Work) -> str:
    """What of the work a failpoint is named after: ``effect``, ``compensation`` or ``gate``."""
    if isinstance(work, Compensate):
        return "compensation"
    return "gate" if isinstance(work, JudgeGate | JudgeCondition) else "effect"
