"""Every event that any version wrote still loads and means the same; histories fold and replay as when they were saved.

``events/`` holds a line for each type in each version, with every field said; ``runs/`` whole histories with what
became of them. No line is ever changed: a release that cannot read one, or reads it otherwise, is wrong. A new version
of a type gets lines of its own, which the first test asks for.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from lakeray.workflow import codec
from lakeray.workflow import definition as d
from lakeray.workflow import events as e
from lakeray.workflow.evolve import fold
from lakeray.workflow.replay import replay_check
from lakeray.workflow.state import RunState, decode_state, encode_state

HERE = Path(__file__).parent
AT = datetime(2024, 5, 1, 12, 0, 0, 123456, tzinfo=UTC)
LATER = AT + timedelta(hours=1)
ERROR = e.Failure(code="read", message="it broke", hint="mend it", uri="s3://b/k", retryable=False)
STEP = d.StepPlan(
    name="s",
    kind="map",
    body={"over": [1], "python": {"function": "m:f"}},
    after=("r",),
    dependents=("t",),
    requires={"alignment": {"step": "a"}},
    ensures={"python": {"function": "m:g"}},
    retry=d.RetryPlan(
        maximum_attempts=5,
        initial_interval_s=2.0,
        backoff_coefficient=3.0,
        maximum_interval_s=60.0,
        non_retryable_error_types=("read",),
        maximum_worker_deaths=2,
        jitter=0.1,
    ),
    timeouts=d.TimeoutPlan(schedule_to_start_s=1.0, start_to_close_s=2.0, schedule_to_close_s=3.0, heartbeat_s=4.0),
    on_failure="continue",
    compensate="withdraw",
    compensate_retry=d.RetryPlan(maximum_attempts=7),
    queue=d.QueuePlan(pool="p", slots=2, priority=3, key="k", limit=4),
    breaker=d.BreakerPlan(dependency="db", failures=2, within_s=5.0, open_for_s=6.0),
    resources={"num_cpus": 0.5},
    child=d.Definition(workflow="c", tenant="acme", steps={}),
)
DEFINITION = d.Definition(workflow="w", tenant="acme", steps={"s": STEP}, document={"workflow": "w"}, file="w.yaml")
NEED = e.Need(
    path="all[0].approval",
    roles=("boss", "owner"),
    quorum=2,
    given=("ann",),
    missing=1,
    four_eyes=True,
    excluded=("bob",),
    escalated=True,
    comment_required=True,
    until=LATER,
)
EVENTS = [
    e.RunAccepted(
        at=AT,
        run_id="run-1",
        definition=DEFINITION,
        definition_hash="ab",
        principal="ann",
        trigger="cron",
        parent=e.Parent(run_id="run-0", step="p", attempt=2, chunk=3),
        labels={"a": "b"},
        arguments={"day": "2024-05-01"},
        seed=7,
        forked_from=e.ForkedFrom(run_id="run-9", step="s", kept={"r": e.Kept(output=[1])}),
    ),
    e.StepScheduled(at=AT, step="s", attempt=2, not_before=LATER, key="run-1/s", reason="circuit open"),
    e.StepStarted(at=AT, step="s", attempt=2, worker="w-1"),
    e.StepHeartbeat(at=AT, step="s", attempt=2, details={"done": 5}, chunk=1),
    e.ConditionJudged(at=AT, step="s", side="requires", verdict="true", evidence=[{"said": "so"}]),
    e.StepReturned(at=AT, step="s", attempt=2, output={"rows": 1}),
    e.StepSucceeded(at=AT, step="s", attempt=2, output={"rows": 1}),
    e.AttemptFailed(at=AT, step="s", attempt=2, error=ERROR, cause="worker_died"),
    e.StepFailed(at=AT, step="s", error=ERROR),
    e.StepDeadLettered(at=AT, step="s", error=ERROR, deaths=3, chunk=1, compensation=True),
    e.StepSkipped(at=AT, step="s", because="r"),
    e.StepCancelled(at=AT, step="s", attempt=2),
    e.GateOpened(at=AT, step="s", deadline=LATER),
    e.GateDue(at=AT, step="s"),
    e.GateJudged(
        at=AT,
        step="s",
        verdict="unknown",
        outcome="waiting",
        looks=2,
        reason="one more",
        evidence=[1],
        waits_for=(NEED,),
        look_again_at=LATER,
    ),
    e.ApprovalGiven(
        at=AT, step="s", principal="ann", roles=("boss",), approve=False, comment="no", condition="all[0].approval"
    ),
    e.GateEscalated(at=AT, step="s", path="all[0].approval", roles=("boss", "owner")),
    e.WaitStarted(at=AT, step="s", until=LATER, event="go", deadline=LATER),
    e.EventReceived(at=AT, name="go", data={"x": 1}, principal="ann"),
    e.ChildStarted(at=AT, step="s", attempt=2, child="run-1.s.2.1", chunk=1),
    e.ChildEnded(at=AT, step="s", child="run-1.s.2.1"),
    e.MapPlanned(at=AT, step="s", total=3, chunk_size=2, items=[1, 2, 3], items_uri="s3://b/items"),
    e.MapChunkStarted(at=AT, step="s", chunk=1, attempt=2, worker="w-1"),
    e.MapChunkPutOff(at=AT, step="s", chunk=1, attempt=2, not_before=LATER, reason="circuit open"),
    e.MapChunkDone(at=AT, step="s", chunk=1, attempt=2, output=[1, 2]),
    e.MapChunkFailed(at=AT, step="s", chunk=1, attempt=2, error=ERROR, cause="timeout", retry_at=LATER),
    e.RunPaused(at=AT, principal="ann", reason="lunch"),
    e.RunResumed(at=AT, principal="ann"),
    e.CancelRequested(at=AT, deadline=LATER, principal="ann", reason="enough"),
    e.RunTerminated(at=AT, principal="ann", reason="enough"),
    e.RetryRequested(at=AT, steps=("s", "t"), principal="ann"),
    e.CompensationScheduled(at=AT, step="s", attempt=2, not_before=LATER),
    e.CompensationStarted(at=AT, step="s", attempt=2, worker="w-1"),
    e.CompensationSucceeded(at=AT, step="s", attempt=2, output={"rows": 1}),
    e.CompensationFailed(at=AT, step="s", attempt=2, error=ERROR, cause="timeout"),
    e.RunEnded(at=AT, state="failed", tolerated=("a",), uncompensated=("b",)),
]


class Line(msgspec.Struct):
    """An event as it was stored."""

    type: str
    version: int
    data: msgspec.Raw

    @property
    def event(self) -> e.Event:
        return codec.decode(self.type, self.version, bytes(self.data))


class Saved(msgspec.Struct):
    """What became of a run whose history is saved."""

    ended: str | None
    steps: dict[str, str]
    snapshot: msgspec.Raw


def lines(path: Path, kind: type) -> list:
    return [msgspec.json.decode(line, type=kind) for line in path.read_bytes().splitlines()]


WRITTEN = lines(HERE / "events" / "format_1.jsonl", Line)
RUNS = sorted((HERE / "runs").glob("*.jsonl"))


def test_every_type_in_every_version_is_here():
    written = {(line.type, line.version) for line in WRITTEN}
    assert written == {(name, n) for name, newest in codec.VERSIONS.items() for n in range(1, newest + 1)}


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)
def test_an_event_loads_as_what_was_written(event):
    name = type(event).__name__
    assert [line.event for line in WRITTEN if line.type == name] == [event]


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)
def test_an_event_is_written_with_the_same_bytes_today(event):
    """Who reads the store with other tools relies on names and forms; a changed one needs a new version."""
    name, version, data = codec.encode(event)
    assert [bytes(line.data) for line in WRITTEN if (line.type, line.version) == (name, version)] == [data]
    assert all(getattr(event, field) is not None for field in event.__struct_fields__), "say every field"


def test_what_a_newer_version_wrote_is_refused_by_name():
    with pytest.raises(ValueError, match="StepSucceeded version 2 is not known here"):
        codec.decode("StepSucceeded", 2, b"{}")
    with pytest.raises(ValueError, match="StepInvented"):
        codec.decode("StepInvented", 1, b"{}")
    with pytest.raises(ValueError, match="no event StepStarted"):
        codec.decode("StepStarted", 1, b'{"at":')


def test_fields_of_later_releases_are_passed_over():
    """A field that came with a default does not stop an older release that reads it in a roll-back."""
    name, version, data = codec.encode(e.StepStarted(at=AT, step="s", attempt=1))
    assert codec.decode(name, version, data[:-1] + b',"colour":"red"}') == e.StepStarted(at=AT, step="s", attempt=1)


def test_an_old_version_goes_through_its_upgrades(monkeypatch):
    monkeypatch.setitem(codec.VERSIONS, "GateDue", 3)
    monkeypatch.setitem(codec.UPGRADES, ("GateDue", 1), lambda plain: {**plain, "name": plain.pop("step")})
    monkeypatch.setitem(codec.UPGRADES, ("GateDue", 2), lambda plain: {**plain, "step": plain.pop("name")})
    assert codec.decode("GateDue", 1, codec.encode(e.GateDue(at=AT, step="s"))[2]) == e.GateDue(at=AT, step="s")


@pytest.mark.parametrize("path", RUNS, ids=lambda path: path.stem)
def test_a_saved_history_folds_and_replays_as_ever(path):
    saved, *stored = path.read_bytes().splitlines()
    expected = msgspec.json.decode(saved, type=Saved)
    history = [msgspec.json.decode(line, type=Line).event for line in stored]
    state = fold(history)
    assert isinstance(state, RunState)
    assert state.ended == expected.ended
    assert {name: step.status for name, step in state.steps.items()} == expected.steps
    assert replay_check(history) == []
    assert decode_state(encode_state(state)) == state
    snapshot = decode_state(bytes(expected.snapshot))
    assert snapshot in (state, None), "an old snapshot is right or not used"


def test_the_saved_histories_hold_every_type():
    seen = {line.type for path in RUNS for line in map(stored_line, path.read_bytes().splitlines()[1:])}
    assert seen == set(codec.TYPES)


def stored_line(line: bytes) -> Line:
    return msgspec.json.decode(line, type=Line)
