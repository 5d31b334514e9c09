"""Numbers against bounds: what steps, expectations and tables ended with, how many checks passed."""

from __future__ import annotations

import math

from lakeray.gates.facts import Facts, Number
from lakeray.gates.finding import Finding, unknown
from lakeray.gates.judgement import Verdict
from lakeray.spec.gates import AlignmentCondition, DataQuality


def look_at_quality(condition: DataQuality, facts: Facts) -> Finding:
    """Whether the number lies within both bounds; unknown when nobody has told it."""
    subject = _subject(condition)
    value = _value(condition, facts)
    name = f"{condition.metric} of {subject}"
    if value is None or not math.isfinite(value):
        return unknown(f"{name} is not known", subject=subject, metric=condition.metric)
    low, high = condition.at_least, condition.at_most
    within = (low is None or value >= low) and (high is None or value <= high)
    bounds = " and ".join(
        f"{word} {bound:.15g}" for word, bound in (("at least", low), ("at most", high)) if bound is not None
    )
    return Finding(
        verdict=Verdict.of(within),
        said=f"{name} is {value:.15g}; it must be {bounds}",
        values={"subject": subject, "metric": condition.metric, "value": value, "at_least": low, "at_most": high},
    )


def _subject(condition: DataQuality) -> str:
    if condition.table is not None:
        return f"table {condition.table}"
    if condition.expectation is not None:
        return f"expectation {condition.expectation} of step {condition.step}"
    return f"step {condition.step}"


def _value(condition: DataQuality, facts: Facts) -> Number | None:
    if condition.table is not None:
        return facts.tables.get(condition.table, {}).get(condition.metric)
    step = facts.steps.get(condition.step or "")
    if step is None:
        return None
    if condition.expectation is None:
        return step.metrics.get(condition.metric)
    counts = step.expectations.get(condition.expectation)
    if counts is None:
        return None
    rate = 1 - counts.violated / counts.checked if counts.checked else 1.0
    return {"checked": counts.checked, "violated": counts.violated, "pass_rate": rate}.get(condition.metric)


def look_at_alignment(condition: AlignmentCondition, facts: Facts) -> Finding:
    """Whether enough checks passed, whatever those that could not be decided would have said."""
    step = facts.steps.get(condition.step)
    counts = step.alignment if step is not None else None
    if counts is None or not counts.passed + counts.failed + counts.undecided:
        return unknown(f"no check of step {condition.step} has been made", step=condition.step)
    total = counts.passed + counts.failed + counts.undecided
    worst, best = counts.passed / total, (counts.passed + counts.undecided) / total
    needed = condition.at_least
    verdict = Verdict.TRUE if worst >= needed else Verdict.FALSE if best < needed else Verdict.UNKNOWN
    open_ones = f", {counts.undecided} could not be decided" if counts.undecided else ""
    return Finding(
        verdict=verdict,
        said=f"{counts.passed} of {total} checks of step {condition.step} passed{open_ones}; it must be "
        f"a share of at least {needed:.15g}",
        values={
            "step": condition.step,
            "passed": counts.passed,
            "failed": counts.failed,
            "undecided": counts.undecided,
            "at_least": needed,
        },
    )
