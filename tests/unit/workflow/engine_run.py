"""One run under test: short names for what is asked and reported, a clock that is set by hand, the history so far."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from lakeray.workflow import commands as c
from lakeray.workflow import definition as d
from lakeray.workflow import events as e
from lakeray.workflow import todo as t
from lakeray.workflow.decide import decided
from lakeray.workflow.evolve import fold
from lakeray.workflow.state import RunState, StepState

START = datetime(2024, 1, 1, tzinfo=UTC)
NO_WAIT = d.RetryPlan(initial_interval_s=0.0)


def workflow(**steps: dict[str, Any]) -> d.Definition:
    """A definition of python steps, unless a step says another kind; ``dependents`` are found."""
    plans = {}
    for name, said in steps.items():
        behind = tuple(other for other, its in steps.items() if name in its.get("after", ()))
        plan = {"kind": "python", "body": {"function": "m:f"}, **said}
        plans[name] = d.StepPlan(name=name, dependents=behind, **plan)
    return d.Definition(workflow="w", tenant="acme", steps=plans)


class Run:
    """``at`` is the clock in seconds; every method sends one command and returns the names of the events it added."""

    def __init__(self, definition: d.Definition, **said: Any) -> None:
        self.at = 0.0
        self.history: list[e.Event] = []
        self.state: RunState | None = None
        self.first = self.send(
            c.AcceptRun(at=self.now, run_id="r", definition=definition, **{"principal": "ann", **said})
        )

    @property
    def now(self) -> datetime:
        return START + timedelta(seconds=self.at)

    def send(self, command: c.Command) -> list[str]:
        done = decided(self.state, command)
        self.history += done.events
        self.state = done.state
        assert fold(self.history) == self.state
        return [type(event).__name__ for event in done.events]

    def of(self, kind: type[e.Event]) -> list[Any]:
        return [event for event in self.history if isinstance(event, kind)]

    def step(self, name: str) -> StepState:
        assert self.state is not None
        return self.state.steps[name]

    @property
    def statuses(self) -> dict[str, str]:
        assert self.state is not None
        return {name: step.status for name, step in self.state.steps.items()}

    @property
    def todo(self) -> list[t.Work]:
        assert self.state is not None
        return t.todo(self.state, self.now)

    @property
    def keys(self) -> list[str]:
        return [work.key.removeprefix("r/") for work in self.todo]

    @property
    def wake_s(self) -> float | None:
        """Seconds on the clock at which something is due."""
        assert self.state is not None
        wake = t.wake_at(self.state)
        return None if wake is None else (wake - START).total_seconds()

    def about(self, step: str, attempt: int | None, chunk: int | None = None) -> dict[str, Any]:
        if attempt is None and chunk is not None:
            mapped = self.step(step).map
            assert mapped is not None
            attempt = mapped.tries_of(chunk).attempt
        known = self.step(step).tries.attempt if attempt is None else attempt
        return {"at": self.now, "step": step, "attempt": known, "chunk": chunk}

    def start(self, step: str, attempt: int | None = None, chunk: int | None = None) -> list[str]:
        return self.send(c.ReportStarted(worker="w", **self.about(step, attempt, chunk)))

    def ok(self, step: str, output: Any = None, attempt: int | None = None, chunk: int | None = None) -> list[str]:
        return self.send(c.ReportSuccess(output=output, **self.about(step, attempt, chunk)))

    def fail(
        self,
        step: str,
        code: str = "flaky",
        *,
        retryable: bool = True,
        cause: e.Cause = "error",
        attempt: int | None = None,
        chunk: int | None = None,
    ) -> list[str]:
        error = e.Failure(code=code, message=f"{code} it was", retryable=retryable)
        return self.send(c.ReportFailure(error=error, cause=cause, **self.about(step, attempt, chunk)))

    def beat(self, step: str, details: Any = None, chunk: int | None = None) -> list[str]:
        return self.send(c.ReportHeartbeat(details=details, **self.about(step, None, chunk)))

    def stopped(self, step: str, *, begun: bool = True) -> list[str]:
        return self.send(c.ReportStopped(begun=begun, **self.about(step, None)))

    def undo(self, step: str, error: e.Failure | None = None) -> list[str]:
        undo = self.step(step).undo
        assert undo is not None
        about = {"at": self.now, "step": step, "attempt": undo.attempt, "compensation": True}
        return self.send(c.ReportFailure(error=error, **about) if error else c.ReportSuccess(**about))

    def passes(self, seconds: float) -> list[str]:
        self.at += seconds
        return self.send(c.TimePassed(at=self.now))
