"""A definition has all that its workflow file says, survives as bytes, and its hash tells whether two say the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from lakeray.errors import SpecError
from lakeray.spec.load import load_workflow
from lakeray.spec.model import Workflow
from lakeray.workflow.compile import compile_definition
from lakeray.workflow.definition import (
    FORMAT,
    BreakerPlan,
    QueuePlan,
    RetryPlan,
    TimeoutPlan,
    decode_definition,
    definition_hash,
    downstream,
    encode_definition,
)
from tests.unit.workflow.engine_run import workflow

CONTRACT = Path(__file__).parents[3] / "examples" / "orders.yaml"
FULL = """
workflow: full
tenant: acme
steps:
  last: {python: "m:last", after: [first, each]}
  first:
    python: {function: "m:first", arguments: {n: 1}}
    ensures: {python: "m:holds"}
    requires: {python: "m:holds"}
    retry: {maximum_attempts: 5, initial_interval: 2s, non_retryable_error_types: [read], maximum_worker_deaths: 2,
            jitter: 0.5}
    timeouts: {schedule_to_start: 1s, start_to_close: 2s, schedule_to_close: 3s, heartbeat: 4s}
    queue: {pool: db, slots: 2, priority: 3, key: orders, limit: 4}
    breaker: {dependency: db, failures: 2, within: 5s, open_for: 6s}
    resources: {num_cpus: 2}
    compensate: "m:undo"
    compensate_retry: {maximum_attempts: 2, maximum_interval: 9s}
    on_failure: continue
  each: {map: {over: [a, b], workflow: inner.yaml}}
pools: {db: 4}
"""


def test_every_word_of_a_step_is_in_its_plan():
    definition = compile_definition(load_workflow(FULL))
    assert list(definition.steps) == ["first", "each", "last"]
    first = definition.steps["first"]
    assert (first.kind, first.body, first.dependents) == (
        "python",
        {"function": "m:first", "arguments": {"n": 1}},
        ("last",),
    )
    assert first.retry == RetryPlan(
        maximum_attempts=5,
        initial_interval_s=2.0,
        maximum_interval_s=200.0,
        non_retryable_error_types=("read",),
        maximum_worker_deaths=2,
        jitter=0.5,
    )
    assert first.timeouts == TimeoutPlan(
        schedule_to_start_s=1.0, start_to_close_s=2.0, schedule_to_close_s=3.0, heartbeat_s=4.0
    )
    assert first.queue == QueuePlan(pool="db", slots=2, priority=3, key="orders", limit=4)
    assert first.breaker == BreakerPlan(dependency="db", failures=2, within_s=5.0, open_for_s=6.0)
    assert (first.compensate, first.compensate_retry.maximum_attempts, first.compensate_retry.maximum_interval_s) == (
        "m:undo",
        2,
        9.0,
    )
    assert first.requires == first.ensures == {"python": {"function": "m:holds", "arguments": {}}}
    assert (first.on_failure, first.resources) == ("continue", {"num_cpus": 2.0})
    assert (definition.steps["last"].after, definition.steps["each"].body["over"]) == (("first", "each"), ["a", "b"])


@pytest.mark.parametrize("file", [CONTRACT, FULL], ids=["the contract", "every option"])
def test_a_definition_survives_as_bytes_with_the_whole_file(file):
    loaded = load_workflow(file)
    definition = compile_definition(loaded)
    again = decode_definition(encode_definition(definition))
    assert again == definition
    assert list(again.steps) == list(definition.steps)
    assert definition_hash(again) == definition_hash(definition)
    assert Workflow.model_validate(again.document) == loaded


def test_secrets_stay_references():
    assert b"env:MASK_KEY" in encode_definition(compile_definition(load_workflow(CONTRACT)))


def test_the_hash_is_of_what_is_said_and_not_of_where_or_in_which_order():
    one = workflow(a={}, b={"after": ("a",)})
    other = workflow(b={"after": ("a",)}, a={})
    assert definition_hash(one) == definition_hash(other)
    assert definition_hash(one) != definition_hash(workflow(a={}, b={}))
    assert len(definition_hash(one)) == 32


def test_inner_workflows_can_be_kept_too():
    inner = load_workflow('workflow: inner\nsteps: {x: {python: "m:f"}}')
    asked = []

    def read(_: Workflow, file: str) -> Workflow:
        asked.append(file)
        return inner

    definition = compile_definition(load_workflow(FULL), child=read)
    assert asked == ["inner.yaml"]
    assert definition.steps["each"].child.workflow == "inner"
    assert definition.steps["first"].child is None


def test_a_workflow_that_runs_itself_is_refused():
    endless = load_workflow("workflow: loop\nsteps: {x: {workflow: loop.yaml}}")
    with pytest.raises(SpecError, match="8 levels deep"):
        compile_definition(endless, child=lambda *_: endless)


def test_a_definition_from_the_future_is_refused():
    newer = encode_definition(compile_definition(load_workflow(FULL))).replace(
        b'"document"', b'"format":%d,"document"' % (FORMAT + 1)
    )
    with pytest.raises(ValueError, match="format 2"):
        decode_definition(newer)
    with pytest.raises(ValueError, match="no definition"):
        decode_definition(b"{")


def test_downstream_is_everything_behind_a_step():
    steps = workflow(a={}, b={"after": ("a",)}, c={"after": ("b",)}, d={}, e={"after": ("d", "c")}).steps
    assert downstream(steps, "b") == {"b", "c", "e"}
    assert downstream(steps, "d") == {"d", "e"}
