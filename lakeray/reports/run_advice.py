"""Recommendations that follow from where the time of a run went."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from types import MappingProxyType

from lakeray.observability.figures import duration, percent
from lakeray.reports.model import PathStep, Recommendation
from lakeray.runtime.summary import RunSummary

LONG_WAIT_S = 10.0
"""Seconds below which no waiting is worth a word."""
LONG_WAIT_SHARE = 0.2
"""Share of the run's length from which waiting on its critical path is."""
DOMINANT_SHARE = 0.6
"""Share of the run's length from which one step dominates."""
DOMINANT_S = 60.0
"""Seconds below which no step does."""

WAIT_ADVICE = MappingProxyType(
    {
        "in line": "Give its pool more slots, its queue a higher priority or key limit, or the machine more workers.",
        "between attempts": "See why its attempts fail; a shorter `maximum_interval` makes the next one begin earlier.",
        "open breaker": "See what ails the dependency; a shorter `open_for` of the breaker tries it earlier.",
        "gate": "Tell the people whom it asks earlier, or let `expires_in` with `on_expiry` decide for them.",
        "wait": "Check whether the wait has to be that long, or whoever sends the event that late.",
        "child runs": "Look at the child runs: `lakeray runs list` shows them, `lakeray runs report` where time went.",
    }
)
"""What to do about a step on the critical path that spent its time so."""


def recommendations(summary: RunSummary, path: Sequence[PathStep]) -> list[Recommendation]:
    """Advice about the run as a whole, the costliest first; empty when nothing stands out."""
    return [*_waits(summary, path), *_dominant(summary, path)]


def _waits(summary: RunSummary, path: Sequence[PathStep]) -> Iterator[Recommendation]:
    found = [(seconds, what, each.step) for each in path for what, seconds in each.waits_s.items()]
    for seconds, what, step in sorted(found, reverse=True):
        share = seconds / summary.duration_s if summary.duration_s else 0.0
        if seconds >= LONG_WAIT_S and share >= LONG_WAIT_SHARE and what in WAIT_ADVICE:
            why = f"It spent {duration(seconds)} {_said(what)}, {percent(share, 0)} of the run."
            code = f"waits_{what.replace(' ', '_')}"
            yield Recommendation(code=code, step=step, why=why, advice=WAIT_ADVICE[what])


def _said(what: str) -> str:
    return {"gate": "at the gate", "wait": "waiting", "open breaker": "before an open breaker"}.get(what, what)


def _dominant(summary: RunSummary, path: Sequence[PathStep]) -> Iterator[Recommendation]:
    if len(path) < 2:  # noqa: PLR2004 - of one step there is nothing to compare
        return
    longest = max(path, key=lambda each: each.duration_s - sum(each.waits_s.values()))
    work_s = longest.duration_s - sum(longest.waits_s.values())
    if work_s >= DOMINANT_S and work_s >= DOMINANT_SHARE * summary.duration_s:
        why = f"It was at work for {duration(work_s)}, {percent(work_s / summary.duration_s, 0)} of the run."
        advice = "Only this step makes the run shorter: give it more CPUs, or let what does not need it run beside it."
        yield Recommendation(code="dominant_step", step=longest.step, why=why, advice=advice)
