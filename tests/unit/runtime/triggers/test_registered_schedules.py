"""A registered schedule begins one run for each due time, whoever looks, dies or is late.

Crash points: after the decision is kept, before and after each run is asked for.
"""

from __future__ import annotations

import pytest

from lakeray.runtime.durable.triggers.registered import SCHEDULE, Files
from lakeray.runtime.durable.triggers.schedules import Schedules, kept_schedules
from tests.unit.runtime.triggers.store_world import STEP, dying_at

EVERY_FIVE = f'workflow: w\nschedule: {{cron: "*/5 * * * *", overlap: %s}}\n{STEP}'


def schedules(world):
    return Schedules(store=world.store, clock=world.clock)


def due(world):
    """The due times of all runs, in order."""
    return sorted(world.arguments(head.run_id)["fire"]["at"][11:16] for head in world.own())


def test_a_run_for_each_due_time_and_none_for_what_was_due_before_it_was_added(world):
    world.add(EVERY_FIVE % "allow_all")
    schedules(world).tick()
    assert due(world) == []
    for minutes in (3, 1, 5, 10):
        world.passes(minutes=minutes)
        schedules(world).tick()
        schedules(world).tick()
    assert due(world) == ["12:05", "12:10", "12:15", "12:20"]


@pytest.mark.parametrize("point", ["after_fire_kept", "before_fire_sent", "after_fire_sent", "before_put", "after_put"])
def test_dying_in_between_begins_each_once(world, monkeypatch, point):
    world.add(EVERY_FIVE % "allow_all")
    world.passes(minutes=10)
    with dying_at(point, monkeypatch):
        schedules(world).tick()
    world.passes(minutes=1)
    schedules(world).tick()
    schedules(world).tick()
    assert due(world) == ["12:05", "12:10"]


def test_two_who_look_at_once_begin_one(world):
    world.add(EVERY_FIVE % "buffer_all")
    world.passes(minutes=10)
    for each in [schedules(world), schedules(world)]:
        each.tick()
    assert due(world) == ["12:05"]
    [head] = world.own()
    world.end(head.run_id)
    for each in [schedules(world), schedules(world)]:
        each.tick()
    assert due(world) == ["12:05", "12:10"]


def test_another_run_is_cancelled_where_the_file_says_so(world):
    world.add(EVERY_FIVE % "cancel_other")
    world.passes(minutes=5)
    schedules(world).tick()
    world.own()
    world.passes(minutes=5)
    schedules(world).tick()
    [first] = world.own()
    assert first.state == "stopping"
    world.end(first.run_id)
    schedules(world).tick()
    assert len(world.own()) == 2


def test_what_is_too_late_is_missed_and_said(world):
    world.add(EVERY_FIVE % "allow_all" + "\n")
    world.passes(hours=2)
    schedules(world).tick()
    kept = kept_schedules(world.store).get("default/w")
    assert kept is not None
    assert "missed 2024-05-01T12:05:00+00:00" in kept.said[0].text
    assert due(world)[0] == "13:05"


def test_a_failed_run_pauses_where_the_file_says_so(world):
    world.add(f'workflow: w\nschedule: {{cron: "*/5 * * * *", pause_on_failure: true}}\n{STEP}')
    world.passes(minutes=5)
    schedules(world).tick()
    [head] = world.own()
    world.end(head.run_id, failed=True)
    world.passes(minutes=30)
    schedules(world).tick()
    kept = kept_schedules(world.store).get("default/w")
    assert kept is not None
    assert kept.state.paused is not None
    assert len(world.own()) == 1


def test_a_file_that_says_something_else_counts_from_then_on_and_one_that_does_not_goes_on(world):
    world.add(EVERY_FIVE % "allow_all")
    world.passes(minutes=10)
    world.add(EVERY_FIVE % "allow_all")
    schedules(world).tick()
    assert due(world) == ["12:05", "12:10"]
    world.passes(minutes=10)
    world.add(f'workflow: w\nschedule: {{cron: "*/1 * * * *", overlap: allow_all}}\n{STEP}')
    schedules(world).tick()
    assert due(world) == ["12:05", "12:10"]
    world.passes(minutes=1)
    schedules(world).tick()
    assert due(world)[2:] == ["12:22"]


@pytest.mark.parametrize(
    "data", [b"{}", b'{"definition":{"workflow":"a","tenant":"a","steps":{},"document":{"odd":1}}']
)
def test_a_file_that_cannot_be_read_leaves_the_others_alone(world, data, caplog):
    world.add(EVERY_FIVE % "allow_all")
    said = data + b',"principal":"x","added_at":"2024-05-01T12:00:00Z"}' if b"definition" in data else data
    world.store.put("triggers/files/a/a", said, expected=0)
    world.passes(minutes=5)
    schedules(world).tick()
    assert due(world) == ["12:05"]
    assert "a/a cannot be read" in caplog.text


def test_a_register_of_a_later_format_leaves_the_others_alone(world, caplog):
    for name in ("a", "w"):
        world.add(EVERY_FIVE.replace("workflow: w", f"workflow: {name}") % "allow_all")
    later = b'{"state":{"cursor":"2024-05-01T12:00:00Z"},"format":99}'
    world.store.put("triggers/schedule/default/a", later, expected=0)
    world.passes(minutes=5)
    schedules(world).tick()
    assert [head.workflow for head in world.own()] == ["w"]
    assert "default/a is left out" in caplog.text
    assert "format 99" in caplog.text


def test_what_is_removed_begins_no_more(world):
    file = world.add(EVERY_FIVE % "allow_all")
    assert list(file.since) == [SCHEDULE]
    Files(world.store).remove(file)
    world.passes(minutes=10)
    schedules(world).tick()
    assert world.own() == []
