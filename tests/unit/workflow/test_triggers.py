"""A trigger fires once for what happened, and for what did not happen in time, however often it is told."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from lakeray.spec.triggers import Trigger
from lakeray.workflow.backfill import Backfill as BackfillState
from lakeray.workflow.backfill import Plan, began, child_ended, planned
from lakeray.workflow.kept import KeptUnreadable, decode, encode
from lakeray.workflow.overlap import Fire, Lane, Skip, Start
from lakeray.workflow.schedules import ScheduleState
from lakeray.workflow.triggers import (
    REMEMBERED,
    Look,
    RunEnded,
    TriggerState,
    absence_at,
    absence_due,
    armed,
    arrival_due,
    begin,
    finished,
    fire_for_end,
    happened,
    look_at,
    looked,
    notified,
    pause,
    resume,
    version_seen,
)

NOW = datetime(2025, 1, 1, tzinfo=UTC)
GOLDEN = Path(__file__).parents[2] / "golden" / "workflow"


def at(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def trigger(**said) -> Trigger:
    return Trigger.model_validate(said)


def arrival(**said):
    made = trigger(arrival={"source": "raw", **said})
    return made.arrival, armed(made, NOW).sensor


def test_new_objects_fire_once():
    said, state = arrival()
    state = looked(state, Look(objects=3, mark="m1"), at(1))
    state, fire = arrival_due(said, "new", state, at(1))
    assert (fire.key, fire.detail) == ("new/2025-01-01T00:00:01+00:00/m1", {"source": "raw", "objects": "3"})
    assert arrival_due(said, "new", state, at(2)) == (state, None)
    state = looked(state, Look(objects=3, mark="m1"), at(61))
    assert arrival_due(said, "new", state, at(61))[1] is None, "they are not imported yet, which is no news"
    state = looked(state, Look(objects=4, mark="m2"), at(121))
    assert arrival_due(said, "new", state, at(121))[1] is not None


def test_nothing_new_fires_nothing():
    said, state = arrival()
    state = looked(state, Look(objects=0, mark=""), at(1))
    assert arrival_due(said, "new", state, at(1))[1] is None


def test_what_is_imported_before_it_settled_is_no_news_any_more():
    said, state = arrival(settle=30)
    state = looked(state, Look(objects=1, mark="m"), at(1))
    state = looked(state, Look(objects=0, mark=""), at(2))
    assert arrival_due(said, "new", state, at(99))[1] is None


def test_it_waits_for_more_but_not_for_ever():
    said, state = arrival(settle=30)
    for second in range(40):
        state = looked(state, Look(objects=second + 1, mark=f"m{second}"), at(second))
        state, fire = arrival_due(said, "new", state, at(second))
        assert (fire is not None) == (second == 30)


def test_a_notification_is_faster_than_a_look_and_counts_once():
    said, state = arrival(queue="https://sqs.example/q")
    state = notified(state, ["n1", "n0", "n1"], at(5))
    assert notified(state, ["n0", "n1"], at(6)) == state
    state = notified(state, ["n1", "n2"], at(6))
    state, fire = arrival_due(said, "new", state, at(6))
    assert (fire.at, fire.detail["objects"]) == (at(5), "3")
    assert notified(state, ["n2"], at(7)) == state, "it comes again after the run began"


def test_a_lost_notification_is_found_by_the_next_look():
    said, state = arrival(posted=True, reconcile=600)
    assert look_at(said, state) == NOW
    state = looked(state, Look(objects=0, mark=""), at(0))
    assert look_at(said, state) == at(600)
    state = notified(state, ["n1"], at(5))
    state, fire = arrival_due(said, "new", state, at(5))
    assert fire is not None
    state = looked(state, Look(objects=1, mark="the lost one"), at(600))
    assert arrival_due(said, "new", state, at(600))[1] is not None


def test_without_notifications_it_looks_as_often_as_it_says():
    said, state = arrival(every=7)
    assert look_at(said, looked(state, Look(objects=0, mark=""), at(1))) == at(8)


def test_remembered_notifications_do_not_grow_without_end():
    _, state = arrival(posted=True)
    for number in range(REMEMBERED + 50):
        state = notified(state, [str(number)], at(1))
    assert len(state.notices) == REMEMBERED


class Table:
    """A watched table."""

    def __init__(self, **said):
        made = trigger(table_version={"table": "orders", **said})
        self.said, self.state = made.table_version, armed(made, NOW).sensor

    def shows(self, version, *, table_id="t1", data=True):
        self.state, fire = version_seen(
            self.said, "v", self.state, table_id=table_id, version=version, data_changed=data, at=at(version)
        )
        return fire.key if fire else None


def test_a_new_version_fires_once_and_the_first_look_only_remembers():
    table = Table()
    assert [table.shows(version) for version in (7, 7, 8, 8, 11)] == [None, None, "v/t1/8", None, "v/t1/11"]


def test_upkeep_is_no_news_unless_the_file_says_so():
    for changes, key in (("data", None), ("any", "v/t1/8")):
        table = Table(changes=changes)
        table.shows(7)
        assert table.shows(8, data=False) == key


def test_a_table_that_was_made_anew_is_new():
    table = Table()
    table.shows(7)
    assert table.shows(0, table_id="t2", data=False) == "v/t2/0"


def ended(**said) -> RunEnded:
    return RunEnded(**{"run_id": "r9", "workflow": "crm", "tenant": "acme", "state": "succeeded", "at": NOW, **said})


def told_of(run, states=("succeeded",), workflow="orders"):
    said = trigger(run_end={"workflow": "crm", "states": list(states)}).run_end
    return fire_for_end(said, "after", workflow=workflow, tenant="acme", run=run)


def test_the_end_of_another_run_fires_under_its_id():
    fire = told_of(ended())
    assert (fire.key, fire.detail) == ("after/r9", {"run": "r9", "state": "succeeded", "chain": "crm"})


@pytest.mark.parametrize("said", [{"workflow": "erp"}, {"tenant": "other"}, {"state": "failed"}])
def test_other_ends_fire_nothing(said):
    assert told_of(ended(**said)) is None


def test_a_circle_of_workflows_is_broken_aloud():
    skip = told_of(ended(chain=("orders",)))
    assert isinstance(skip, Skip)
    assert skip.reason == "a circle: orders -> crm -> orders"
    long = told_of(ended(chain=tuple(f"w{n}" for n in range(15))))
    assert isinstance(long, Skip)
    assert isinstance(told_of(ended(chain=tuple(f"w{n}" for n in range(14)))), Fire)


def test_an_absence_is_told_once_and_again_after_it_had_happened():
    made = trigger(expect={"run_end": "nightly", "within": "1h"})
    said, state = made.expect, armed(made, NOW).sensor
    assert absence_at(said, state) == at(3600)
    assert absence_due(said, "late", state, at(3599))[1] is None
    state, fire = absence_due(said, "late", state, at(3700))
    assert (fire.at, fire.detail["expected"]) == (at(3600), "run_end")
    assert absence_due(said, "late", state, at(9999))[1] is None
    assert absence_at(said, state) is None
    state = happened(state, at(9999))
    assert happened(state, at(5)) == state
    state, fire = absence_due(said, "late", state, at(9999 + 3600))
    assert fire.key == f"late/{at(9999).isoformat()}"


def test_a_trigger_lets_one_run_wait_by_default_and_forgets_nothing():
    made = trigger(arrival="raw")
    state = armed(made, NOW)
    fires = [Fire(key=key, name="new", at=NOW) for key in "ab"]
    state, (action,) = begin(made, state, fires[0])
    assert action == Start(fire=fires[0])
    state, actions = begin(made, state, fires[1])
    assert actions == ()
    assert finished(state, "a")[1] == (Start(fire=fires[1]),)


def test_a_paused_trigger_says_that_it_is():
    made = trigger(arrival="raw", paused=True)
    fire = Fire(key="a", name="new", at=NOW)
    state, (action,) = begin(made, armed(made, NOW), fire)
    assert action == Skip(fire=fire, reason="paused: switched off in the file")
    state, _ = resume(state, at(1))
    assert begin(made, state, fire)[1] == (Start(fire=fire),)
    waiting = TriggerState(sensor=state.sensor, lane=Lane(running=(fire,), waiting=(fire,)))
    assert finished(pause(waiting, "holiday"), "a")[1] == ()


def test_an_absence_is_counted_from_when_the_trigger_goes_on():
    made = trigger(expect={"arrival": "raw", "within": 60})
    state, _ = resume(pause(armed(made, NOW), "holiday"), at(1000))
    assert absence_at(made.expect, state.sensor) == at(1060)


def kept():
    first, second = Fire(key="a", name="new", at=NOW), Fire(key="b", name="new", at=NOW, detail={"x": "y"})
    lane = Lane(running=(first,), cancelling=("a",), terminating=("a",), waiting=(second,))
    _, seen = arrival()
    seen = notified(looked(seen, Look(objects=2, mark="m"), at(1)), ["n1"], at(2))
    table = Table()
    table.shows(7)
    late = armed(trigger(expect={"arrival": "raw", "within": 60}), NOW)
    filled = planned(Plan(backfill_id="b1", workflow="orders", step="ingest", values=("a", 2, 3.5)), NOW)
    filled = child_ended(began(began(filled, 0, NOW), 1, NOW), 0, "failed", at(3))
    return {
        "schedule": ScheduleState(cursor=NOW, lane=lane, paused="holiday"),
        "arrival": TriggerState(sensor=seen, lane=lane, paused="holiday"),
        "table_version": TriggerState(sensor=table.state),
        "run_end": armed(trigger(run_end="crm"), NOW),
        "expect": late,
        "backfill": filled,
        "backfill_ranges": planned(
            Plan(backfill_id="b2", workflow="orders", start="2024-01-01", end="2024-12-31", every="1 month"), NOW
        ),
    }


@pytest.mark.parametrize("name", list(kept()))
def test_format_1_still_loads_and_is_still_written(name):
    """These files are never written again: a release that cannot read them, or writes others under 1, is wrong."""
    file, value = GOLDEN / f"{name}_1.json", kept()[name]
    assert decode(file.read_bytes(), type(value)) == value
    assert encode(value) == file.read_bytes().rstrip()
    assert msgspec.json.decode(file.read_bytes())["format"] == 1


@pytest.mark.parametrize("kind", [ScheduleState, TriggerState, BackfillState])
def test_what_is_not_kept_by_this_version_is_refused(kind):
    for data in (b"", b"{}", b"[]"):
        with pytest.raises(KeptUnreadable):
            decode(data, kind)
    value = next(value for value in kept().values() if isinstance(value, kind))
    with pytest.raises(KeptUnreadable, match="has format 2, this version knows up to 1"):
        decode(encode(value).replace(b'"format":1', b'"format":2'), kind)
