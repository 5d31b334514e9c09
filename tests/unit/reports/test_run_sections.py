"""The report's workflow, errors and performance sections of a durable run: what happened, where the time went."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest

from lakeray.reports import build_report
from lakeray.reports.drawing import columns
from lakeray.reports.render import render
from lakeray.runtime.summary import ConditionSummary, ErrorSummary, RunSummary, StepSummary, UndoSummary

START = datetime(2026, 11, 25, 12, tzinfo=UTC)


def step(name: str, ends_s: float | None, *after: str, **more: object) -> StepSummary:
    """A step that ended so many seconds after the run began."""
    ended = None if ends_s is None else START + timedelta(seconds=ends_s)
    values = {"kind": "python", "state": "succeeded", "duration_s": 1.0, "ended_at": ended, "after": list(after)}
    return StepSummary(name=name, **{**values, **more})  # type: ignore[arg-type]


def run(*steps: StepSummary, duration_s: float = 200.0, **more: object) -> RunSummary:
    values = {"state": "succeeded", "errors": [each.error for each in steps if each.error], **more}
    return RunSummary(
        run_id="run-1",
        workflow="orders",
        tenant="acme",
        started_at=START,
        duration_s=duration_s,
        steps=list(steps),
        **values,  # type: ignore[arg-type]
    )


GATE = ConditionSummary(
    path="all[0].approval", kind="approval", verdict="true", said="ann said yes", at=START, policy_revision="r1"
)
DOWN = ErrorSummary(step="load", code="OSError", message="OSError: down")
RUN = run(
    step("read", 20),
    step("beside", 90, "read"),
    step("load", 100, "read", spent_s={"at work": 50.0, "between attempts": 30.0}, attempts=3),
    step("release", 190, "load", kind="gate", spent_s={"gate": 90.0}, conditions=[GATE], said=["ann said yes"]),
    step("publish", 200, "release", "beside", undone=UndoSummary(state="failed", attempts=10, said="no")),
)


def test_the_critical_path_is_the_chain_that_ended_last_and_adds_up_to_the_run():
    path = build_report(RUN).performance.critical_path
    assert [(each.step, each.duration_s) for each in path] == [
        ("read", 20.0),
        ("load", 80.0),
        ("release", 90.0),
        ("publish", 10.0),
    ]
    assert path[1].waits_s == {"between attempts": 30.0}


def test_a_path_ends_with_what_has_ended_so_far():
    assert [each.step for each in build_report(run(step("a", 5), step("b", None, "a"))).performance.critical_path] == [
        "a"
    ]


def test_where_the_time_went_is_what_is_recommended():
    found = {(each.code, each.step) for each in build_report(RUN).performance.recommendations}
    assert found == {("waits_gate", "release")}
    slow = run(step("a", 10), step("b", 200, "a", spent_s={"at work": 190.0}))
    assert [each.code for each in build_report(slow).performance.recommendations] == ["dominant_step"]
    quick = run(step("a", 1), step("b", 9, "a", spent_s={"in line": 8.0}), duration_s=9.0)
    assert build_report(quick).performance.recommendations == []


@pytest.mark.parametrize("format_", ["text", "json", "markdown", "html"])
def test_every_format_says_what_gates_found_what_was_undone_and_the_path(format_):
    text = render(build_report(RUN), format_)
    for said in ("ann said yes", "r1", "release", "between attempts" if format_ == "json" else "30"):
        assert said in text.replace("\\", "")
    assert re.search(r"critical[_ ]path", text.replace("\\", ""))
    assert re.search(r"compensation of|undone", text)


def test_the_page_draws_the_graph_with_the_path_in_bold():
    page = render(build_report(RUN), "html")
    assert page.count('<g class="node') == 5
    assert page.count("critical") >= 4
    assert page.count('<path d="M') == 5
    assert "beside: succeeded" in page
    assert 'class="graph"' not in render(build_report(run(step("a", 1))), "html")


def test_columns_put_each_step_behind_all_before_it():
    assert columns({"a": [], "b": ["a"], "c": ["a"], "d": ["b", "gone"], "e": ["a", "d"]}) == {
        "a": (0, 0),
        "b": (1, 0),
        "c": (1, 1),
        "d": (2, 0),
        "e": (3, 0),
    }


def test_an_error_of_a_function_says_whose_it_is():
    [line] = build_report(run(step("load", 5, state="failed", error=DOWN))).errors.errors
    assert "the step's own function" in line.what_to_do
