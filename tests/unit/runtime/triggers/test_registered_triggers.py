"""Registered triggers begin runs for what they look at or are told: once, whoever looks twice or dies.

Crash points: after the decision is kept, before and after a run is asked for, after triggers heard of ended runs, after
a queue was read and before its messages are deleted.
"""

from __future__ import annotations

import json
from unittest.mock import Mock

import pyarrow as pa
import pytest
from deltalake import write_deltalake

from lakeray.delta.query import query
from lakeray.errors import RevisionConflict
from lakeray.importer.context import ImportContext
from lakeray.importer.executor import InlineExecutor
from lakeray.importer.loop import ImportLoop
from lakeray.observability.progress import Silent
from lakeray.runtime.bench import utc_now
from lakeray.runtime.durable.triggers import looks
from lakeray.runtime.durable.triggers.backfills import (
    BackfillDefinition,
    Backfills,
    KeptBackfill,
    definitions,
    kept_backfills,
)
from lakeray.runtime.durable.triggers.ends import Ends
from lakeray.runtime.durable.triggers.looks import Beside
from lakeray.runtime.durable.triggers.news import News
from lakeray.runtime.durable.triggers.posting import post
from lakeray.runtime.durable.triggers.queues import Queues
from lakeray.runtime.durable.triggers.watches import Watches, kept_triggers
from lakeray.spec.load import load_workflow
from lakeray.workflow import commands as c
from lakeray.workflow.backfill import Plan, planned
from tests.unit.runtime.triggers.store_world import STEP, AtOnce, dying_at


def watches(world):
    return Watches(world.store, world.clock, Beside(AtOnce()))


def arrival(folder, more=""):
    return f"""
workflow: w
sources: {{raw: {{uri: "{folder}/raw/", format: json}}}}
tables: {{t: {{uri: "{folder}/t"}}}}
triggers: {{came: {{arrival: {{source: raw{more}}}, overlap: allow_all}}}}
steps:
  a: {{python: "m:f"}}
  ingest: {{after: [a], import: {{from: raw, into: t}}}}
"""


def put(folder, name):
    (folder / "raw").mkdir(exist_ok=True)
    path = folder / "raw" / name
    path.write_text(json.dumps({"id": name}) + "\n")
    return str(path)


def imported(text):
    workflow = load_workflow(text)
    context = ImportContext.of(
        workflow, "ingest", run_id="r", executor=InlineExecutor(), observer=Silent(), now=utc_now
    )
    ImportLoop(context).drain()


def test_new_objects_begin_one_run_and_the_same_ones_none_again(world, tmp_path):
    text = arrival(tmp_path)
    put(tmp_path, "a.json")
    world.add(text)
    for _ in range(3):
        watches(world).tick()
        world.passes(minutes=2)
    [head] = world.own()
    assert world.arguments(head.run_id)["fire"] | {"at": ""} == {
        "name": "came",
        "at": "",
        "source": "raw",
        "objects": "1",
    }
    imported(text)
    watches(world).tick()
    assert len(world.own()) == 1
    put(tmp_path, "b.json")
    world.passes(minutes=2)
    watches(world).tick()
    assert len(world.own()) == 2


@pytest.mark.parametrize("point", ["after_fire_kept", "before_fire_sent", "after_fire_sent"])
def test_dying_in_between_begins_one_run(world, tmp_path, monkeypatch, point):
    put(tmp_path, "a.json")
    world.add(arrival(tmp_path))
    with dying_at(point, monkeypatch):
        watches(world).tick()
    watches(world).tick()
    assert len(world.own()) == 1


def test_a_posted_notification_is_heard_before_the_next_look(world, tmp_path):
    put(tmp_path, "a.json")
    text = arrival(tmp_path, ", posted: true, reconcile: 1h")
    imported(text)
    world.add(text)
    watches(world).tick()
    post(world.store, put(tmp_path, "b.json"), world.now)
    post(world.store, str(tmp_path / "elsewhere.json"), world.now)
    world.passes(seconds=1)
    for _ in range(2):
        watches(world).tick()
    assert len(world.own()) == 1
    assert News(world.store).waiting() == []
    put(tmp_path, "lost.json")
    world.passes(hours=2)
    watches(world).tick()
    assert len(world.own()) == 2, "a notification that got lost is made up for"


def test_a_trigger_that_another_process_changed_meanwhile_is_told_again(world, tmp_path, monkeypatch):
    text = arrival(tmp_path, ", posted: true, reconcile: 1h")
    put(tmp_path, "a.json")
    imported(text)
    world.add(text)
    watch = watches(world)
    watch.tick()
    post(world.store, put(tmp_path, "b.json"), world.now)
    with monkeypatch.context() as faster:
        faster.setattr(watch._kept, "put", Mock(side_effect=RevisionConflict("changed")))
        watch.tick()
    assert world.own() == []
    watch.tick()
    assert len(world.own()) == 1
    assert News(world.store).waiting() == []


def test_registers_that_this_version_cannot_read_leave_the_others_alone(world, tmp_path, caplog):
    text = arrival(tmp_path, ", posted: true")
    put(tmp_path, "a.json")
    world.add(text)
    world.add(text.replace("workflow: w", "workflow: a"))
    for unreadable in ("watch/default/a/came", "news/0"):
        world.store.put(f"triggers/{unreadable}", b"{}", expected=0)
    post(world.store, str(tmp_path / "raw" / "a.json"), world.now)
    watches(world).tick()
    assert [head.workflow for head in world.own()] == ["w"]
    assert "the trigger default/a/came is left out" in caplog.text
    assert world.store.keys("triggers/news/") == ["triggers/news/0"]


def test_a_backfill_that_this_version_cannot_read_leaves_the_others_alone(world):
    begun = planned(Plan(backfill_id="backfill-b", workflow="w", values=("eu",)), world.now)
    kept_backfills(world.store).put("b", KeptBackfill(backfill=begun, tenant="default", principal="ann"), expected=0)
    file = world.add(f'workflow: w\nschedule: {{cron: "0 0 1 1 *"}}\n{STEP}')
    definitions(world.store).put("backfill-b", BackfillDefinition(definition=file.definition), expected=0)
    world.store.put("backfills/state/a", b"{}", expected=0)
    Backfills(world.store, world.clock).tick()
    assert len(world.own()) == 1


class FakeQueue:
    """Messages come again until they are deleted."""

    def __init__(self, *bodies):
        self.bodies = dict(enumerate(bodies))

    def receive(self):
        return [(str(number), body) for number, body in list(self.bodies.items())[:10]]

    def delete(self, receipts):
        for receipt in receipts:
            self.bodies.pop(int(receipt), None)


def s3_event(bucket, key):
    record = {
        "eventName": "ObjectCreated:Put",
        "s3": {"bucket": {"name": bucket}, "object": {"key": key, "eTag": "x", "sequencer": "1"}},
    }
    return json.dumps({"Records": [record]}).encode()


def test_what_a_queue_tells_is_heard_and_its_messages_go_once_that_is_kept(world, monkeypatch):
    url = "https://sqs.eu-central-1.amazonaws.com/1/orders"
    world.add(
        f"""
workflow: w
sources: {{raw: {{uri: "s3://lake/raw/", format: json}}}}
triggers: {{came: {{arrival: {{source: raw, queue: "{url}", reconcile: 1d}}}}}}
{STEP}
"""
    )
    queue = FakeQueue(s3_event("lake", "raw/a.json"), b'{"test": 1}', s3_event("other", "raw/b.json"))
    queues = Queues(world.store, world.clock, lambda _: queue)
    monkeypatch.setattr("lakeray.failpoints._ARMED", {"after_queue_read": ("error", 1)})
    monkeypatch.setattr("lakeray.failpoints._PASSES", {})
    queues.tick()  # a queue's trouble is logged, and is none of the others
    assert len(queue.bodies) == 3
    queues.tick()
    assert not queue.bodies

    class Never:
        def source(self, *_):
            return None

    watch = Watches(world.store, world.clock, Never())
    watch.tick()
    watch.tick()
    [head] = world.own()
    assert world.arguments(head.run_id)["fire"]["objects"] == "1"


def test_a_new_version_of_a_table_begins_a_run_and_upkeep_does_not(world, tmp_path):
    uri = str(tmp_path / "other")
    rows = pa.table({"id": [1]})
    write_deltalake(uri, rows)
    write_deltalake(uri, rows, mode="append")
    world.add(f'workflow: w\ntriggers: {{moved: {{table_version: {{uri: "{uri}"}}}}}}\n{STEP}')
    watches(world).tick()
    assert world.own() == [], "where it stands is where it begins"
    from deltalake import DeltaTable

    DeltaTable(uri).optimize.compact()
    world.passes(minutes=1)
    watches(world).tick()
    assert world.own() == []
    write_deltalake(uri, rows, mode="append")
    for _ in range(2):
        world.passes(minutes=1)
        watches(world).tick()
    [head] = world.own()
    assert world.arguments(head.run_id)["fire"]["version"] == "3"


def test_a_table_that_comes_into_being_is_new(world, tmp_path):
    uri = str(tmp_path / "later")
    world.add(f'workflow: w\ntriggers: {{moved: {{table_version: {{uri: "{uri}"}}}}}}\n{STEP}')
    watches(world).tick()
    write_deltalake(uri, pa.table({"id": [1]}))
    world.passes(minutes=1)
    watches(world).tick()
    assert len(world.own()) == 1


UP = f'workflow: up\nschedule: {{cron: "0 0 1 1 *"}}\n{STEP}'
DOWN = f"workflow: down\ntriggers: {{after: {{run_end: up, overlap: allow_all}}}}\n{STEP}"


def begun_by_hand(world, file, key):
    from lakeray.runtime.durable.triggers.begin import begin, run_of

    run_id = run_of(file, key)
    begin(
        world.store,
        run_id,
        file.definition,
        principal="ann",
        trigger="manual",
        labels={},
        arguments={},
        now=world.now,
    )
    world.own()
    return run_id


def test_the_end_of_a_run_begins_another_one(world, monkeypatch):
    up = world.add(UP)
    early = begun_by_hand(world, up, "early")
    world.end(early)
    world.passes(minutes=1)
    world.add(DOWN)
    late, failed = begun_by_hand(world, up, "late"), begun_by_hand(world, up, "failed")
    world.passes(minutes=1)
    world.end(late)
    world.end(failed, failed=True)
    ends = Ends(world.store, world.clock)
    with dying_at("after_ends_told", monkeypatch):
        ends.tick()
    for _ in range(2):
        ends.tick()
        watches(world).tick()
    begun = [head for head in world.own() if head.workflow == "down"]
    assert [world.arguments(head.run_id)["fire"]["run"] for head in begun] == [late]


def test_a_terminated_run_is_an_end_too(world):
    up = world.add(UP)
    world.add(DOWN.replace("run_end: up", "run_end: {workflow: up, states: [terminated]}"))
    world.passes(minutes=1)
    run_id = begun_by_hand(world, up, "one")
    world.tell(run_id, c.TerminateRun(at=world.now))
    Ends(world.store, world.clock).tick()
    watches(world).tick()
    begun = [head for head in world.own() if head.workflow == "down"]
    assert [world.arguments(head.run_id)["fire"]["run"] for head in begun] == [run_id]


def test_runs_that_begin_one_another_in_a_circle_stop(world):
    up = world.add(f"workflow: up\ntriggers: {{after: {{run_end: down}}}}\n{STEP}")
    world.add(DOWN)
    ends, watch = Ends(world.store, world.clock), watches(world)
    world.passes(minutes=1)
    world.end(begun_by_hand(world, up, "first"))
    for _ in range(6):
        ends.tick()
        watch.tick()
        for head in world.own():
            if head.ended_at is None:
                world.end(head.run_id)
    assert sorted(head.workflow for head in world.own()) == ["down", "up"]
    kept = kept_triggers(world.store).get("default/up/after")
    assert kept is not None
    assert "circle" in kept.said[0].text


def test_what_does_not_happen_in_time_begins_one_run_for_each_absence(world):
    up = world.add(UP)
    world.add(f"workflow: alarm\ntriggers: {{late: {{expect: {{run_end: up, within: 1h}}}}}}\n{STEP}")
    ends, watch = Ends(world.store, world.clock), watches(world)

    def alarms():
        ends.tick()
        watch.tick()
        return [head for head in world.own() if head.workflow == "alarm"]

    world.passes(minutes=59)
    assert alarms() == []
    world.end(begun_by_hand(world, up, "in time"))
    world.passes(minutes=59)
    assert alarms() == []
    world.passes(minutes=2)
    [alarm] = alarms()
    world.end(alarm.run_id)
    world.passes(hours=9)
    assert len(alarms()) == 1
    world.end(begun_by_hand(world, up, "again"))
    alarms()
    world.passes(hours=2)
    assert len(alarms()) == 2


def test_objects_that_do_not_come_in_time_are_missed(world, tmp_path, monkeypatch):
    answers = []
    monkeypatch.setattr(looks, "query", lambda *asked: answers.append(query(*asked)) or answers[-1])
    text = arrival(tmp_path).replace("arrival: {source: raw}", "expect: {arrival: raw, within: 1h}")
    for name in ("a.json", "b.json"):
        put(tmp_path, name)
    imported(text)
    world.now = utc_now()
    world.add(text)
    watches(world).tick()
    world.passes(minutes=59)
    watches(world).tick()
    assert world.own() == []
    world.passes(minutes=2)
    watches(world).tick()
    assert len(world.own()) == 1
    assert {answer.num_rows for answer in answers} == {1}, "however long the ledger is"
