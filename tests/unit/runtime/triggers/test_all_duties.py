"""`lakeray up` registers a file and ticks every duty: a due run is driven to its end, and told of."""

from __future__ import annotations

import pytest

from lakeray.config import Settings
from lakeray.runtime.cluster import Cluster
from lakeray.runtime.durable.duties import Duties
from lakeray.runtime.durable.orchestrator import Orchestrator
from lakeray.runtime.durable.triggers.backfilling import DurableBackfill
from lakeray.runtime.durable.triggers.duties import duties, register
from lakeray.spec.load import load_workflow
from tests.polling import eventually

FILE = """
workflow: w
schedule: {cron: "* * * * *"}
triggers: {after: {run_end: other}}
steps: {a: {python: "tests.unit.runtime.triggers.test_all_duties:work"}}
"""


def work(context):
    return context.arguments["fire"]["name"]


def test_from_a_file_to_the_end_of_its_run(world):
    workflow = load_workflow(FILE)
    assert register(world.store, workflow, world.now) == [
        "runs begin at * * * * * in UTC",
        "runs begin by the trigger after (run_end)",
    ]
    plain = load_workflow("workflow: x\nsteps: {a: {python: 'm:f'}}")
    assert register(world.store, plain, world.now) == []
    world.passes(minutes=1, seconds=1)
    for lease in world.leases:
        world.store.release(lease)
    settings = Settings(executor="inline")
    workers = DurableBackfill(backfill_id="", settings=settings, cluster=Cluster(settings))._workers
    owner = Orchestrator(world.store, owner="up", clock=world.clock, adopt=workers)
    ticking = Duties(duties(world.store, world.clock))
    owner.open()
    try:
        ticking.look()
        [run] = eventually(lambda: [head for head in world.store.runs().runs if head.ended_at], 20)
    finally:
        owner.close()
        ticking.close()
    assert (run.state, run.labels["fire"]) == ("succeeded", "schedule/2024-05-01T12:02:00+00:00")


def test_closed_they_have_nothing_more_done_in_threads_of_theirs(world):
    each = {duty.name: duty for duty in duties(world.store, world.clock)}
    Duties(list(each.values())).close()
    for pool in (each["webhooks"]._pool, each["triggers"]._looks._pool):
        with pytest.raises(RuntimeError, match="after shutdown"):
            pool.submit(print)
