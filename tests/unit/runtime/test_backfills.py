"""A backfill runs a workflow for each partition of its past: so many at once, each once, whoever carries it on.

Crash points: the backfill's register is kept and runs are not asked for, before and after each run is asked for, and
every failpoint of the store; afterwards another process carries it on.
"""

from __future__ import annotations

import json
import os
import threading
from collections import Counter
from functools import partial
from pathlib import Path

import pytest

import lakeray
from lakeray.config import Settings
from lakeray.runtime.bench import utc_now
from lakeray.runtime.cluster import Cluster
from lakeray.runtime.durable.embedded import open_state
from lakeray.runtime.durable.orchestrator import Orchestrator
from lakeray.runtime.durable.triggers.backfilling import DurableBackfill
from lakeray.workflow.partitions import BackfillRefused
from lakeray.workflow.refusal import Refused
from tests.commands import Started
from tests.polling import eventually
from tests.sample_lake import finished, read

HERE = "tests.unit.runtime.test_backfills"
WITHIN_S = 60
AT_ONCE: list[int] = [0, 0]
LOCK = threading.Lock()
LET_GO = threading.Event()
WORKFLOW = """
workflow: orders
sources: {{raw: {{uri: "{folder}/raw/", format: json}}}}
tables: {{orders: {{uri: "{folder}/orders"}}}}
steps:
  ingest: {{import: {{from: raw, into: orders}}, retry: {{maximum_attempts: 5, initial_interval: 0s}}}}
  count: {{python: "{here}:counted"}}
  fails: {{python: "{here}:fails", retry: {{maximum_attempts: 1}}}}
  waits: {{python: "{here}:waits"}}
"""
MONTHS = {"start": "2024-01-01", "end": "2024-12-31", "every": "1 month"}


def counted(context):
    with LOCK:
        AT_ONCE[0] += 1
        AT_ONCE[1] = max(AT_ONCE)
    context.cancelled.wait(0.02)
    with LOCK:
        AT_ONCE[0] -= 1
    return context.arguments["partition"]["start"][:7]


def fails(context):
    if "2024-03" in context.arguments["partition"]["key"] and not Path(os.environ["MENDED"]).exists():
        raise RuntimeError("March is broken")


def waits(context):
    if not LET_GO.is_set():
        context.cancelled.wait(30)
    context.cancelled.is_set() and context.heartbeat()


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("MENDED", str(tmp_path / "mended"))
    AT_ONCE[:] = [0, 0]
    LET_GO.clear()
    for month in range(1, 13):
        for number in range(2):
            path = tmp_path / "raw" / f"day=2024-{month:02d}-0{number + 1}" / "o.json"
            path.parent.mkdir(parents=True)
            path.write_text(json.dumps({"id": f"{month}/{number}"}) + "\n")
    (tmp_path / "orders.yaml").write_text(WORKFLOW.format(folder=tmp_path, here=HERE))
    return tmp_path


def connect(folder):
    return lakeray.connect(settings=Settings(executor="inline", state=f"sqlite:///{folder}/state.db"))


def ids(folder):
    return Counter(read(str(folder / "orders"))["id"].to_pylist())


def outputs_of(lake):
    """Of the steps of all runs."""
    return [
        event.said["output"]
        for line in lake.runs.list(limit=100)
        for event in lake.runs.events(line.run_id)
        if event.event == "StepSucceeded"
    ]


EVERYTHING = Counter(f"{month}/{number}" for month in range(1, 13) for number in range(2))


def test_a_year_is_imported_in_months_beside_a_stream_that_leaves_it_alone(folder):
    lake = connect(folder)
    file = folder / "orders.yaml"
    plan = lake.backfills.plan(file, step="ingest", **MONTHS, by="day")
    assert len(plan.backfill.codes) == 12
    assert lake.backfills.list() == [], "a dry run leaves nothing"
    seen = []
    run = lake.backfill(file, step="ingest", **MONTHS, by="day", concurrency=3)
    lake.run(file, steps=["ingest"]).result(timeout=WITHIN_S)
    seen.append(run.summary)
    summary = run.result(timeout=WITHIN_S)
    assert (summary.state, summary.succeeded, summary.total) == ("succeeded", 12, 12)
    assert ids(folder) == EVERYTHING
    assert "12 of 12 partitions" in summary.sentence
    assert "12 of 12" in run._repr_html_()
    runs = lake.runs.list(limit=100)
    assert sum(line.run_id.startswith(run.backfill_id) for line in runs) == 12
    lake.run(file, steps=["ingest"]).result(timeout=WITHIN_S)
    assert ids(folder) == EVERYTHING
    again = lake.backfill(file, step="ingest", **MONTHS, by="day").result(timeout=WITHIN_S)
    assert (again.state, again.left_out) == ("succeeded", 12)


def test_no_more_partitions_at_once_than_asked_for_and_each_knows_its_own(folder):
    lake = connect(folder)
    run = lake.backfill(folder / "orders.yaml", step="count", **MONTHS, concurrency=3)
    summary = run.result(timeout=WITHIN_S)
    assert summary.state == "succeeded"
    assert AT_ONCE[1] == 3
    assert set(outputs_of(lake)) == {f"2024-{month:02d}" for month in range(1, 13)}


def test_only_what_failed_is_done_again(folder):
    lake = connect(folder)
    run = lake.backfill(folder / "orders.yaml", step="fails", **MONTHS)
    summary = run.result(timeout=WITHIN_S)
    assert (summary.state, summary.failed, summary.succeeded) == ("failed", 1, 11)
    [line] = summary.partitions
    assert line.error is not None
    assert "March is broken" in line.error
    (folder / "mended").touch()
    again = lake.backfills.retry(run.backfill_id).result(timeout=WITHIN_S)
    assert (again.state, again.succeeded) == ("succeeded", 12)
    assert len([each for each in lake.runs.list(limit=100) if each.run_id.startswith(run.backfill_id)]) == 13


def test_cancelling_reaches_the_runs_that_go_on(folder):
    lake = connect(folder)
    run = lake.backfill(folder / "orders.yaml", step="waits", **MONTHS, concurrency=2)
    eventually(lambda: run.summary.running == 2 and len(lake.runs.list()) == 2, WITHIN_S)
    run.cancel()
    summary = run.result(timeout=WITHIN_S)
    assert summary.state == "cancelled"
    assert summary.cancelled == 12
    assert {line.state for line in lake.runs.list()} <= {"cancelled", "succeeded"}
    with pytest.raises(Refused, match="is over"):
        lake.backfills.pause(run.backfill_id)


def test_what_is_paused_waits_for_another_process(folder):
    lake = connect(folder)
    run = lake.backfill(folder / "orders.yaml", step="waits", **MONTHS, concurrency=2)
    eventually(lambda: run.summary.running == 2 and len(lake.runs.list()) == 2, WITHIN_S)
    run.pause()
    LET_GO.set()
    for line in lake.runs.list():
        assert line.state == "running"
    run.leave()
    assert run.result(timeout=WITHIN_S).state == "paused"
    resumed = connect(folder).backfills.resume(run.backfill_id).result(timeout=WITHIN_S)
    assert (resumed.state, resumed.succeeded) == ("succeeded", 12)


def test_lists_and_wrong_questions(folder):
    lake = connect(folder)
    file = folder / "orders.yaml"
    months = [f"2024-{month:02d}-01" for month in range(1, 13)]
    done = lake.backfill(file, step="ingest", values=months, by="day").result(timeout=WITHIN_S)
    assert done.state == "succeeded"
    assert sum(ids(folder).values()) == 12
    for asked, said in (
        ({"values": ["eu"]}, "nothing says which objects"),
        ({"start": "2024-01-01"}, "needs a range of time or values"),
        ({**MONTHS, "values": ["eu"]}, "a range of time and values"),
        ({**MONTHS, "every": "1 fortnight"}, "fortnight"),
        ({**MONTHS, "concurrency": 0}, "concurrency 0"),
    ):
        with pytest.raises(BackfillRefused, match=said):
            lake.backfill(file, step="ingest", **asked)
    with pytest.raises(Refused, match="there is no backfill"):
        lake.backfills.show("backfill-1")


def begin(folder: str) -> None:
    """A process that begins a backfill, or carries on the one that there is."""
    lake = connect(Path(folder))
    known = lake.backfills.list()
    if known:
        if known[0].state == "running":  # killed behind its last word, it is over
            lake.backfills.resume(known[0].backfill_id).result(timeout=WITHIN_S)
    else:
        asked = {**MONTHS, "every": "6 months", "step": "ingest", "by": "day", "concurrency": 2}
        lake.backfill(f"{folder}/orders.yaml", **asked).result(timeout=WITHIN_S)


@pytest.mark.parametrize(
    ("point", "passes"),
    [
        *(("after_fire_kept", count) for count in (1, 2)),
        ("before_fire_sent", 2),
        ("after_fire_sent", 1),
        *(("after_put", count) for count in (2, 3)),
        *(("after_append", count) for count in (1, 4)),
        ("after_effect", 1),
        ("after_claim", 2),
        *(("after_commit", count) for count in (2, 4, 5)),
        ("after_claim_folded", 2),
    ],
)
def test_kill(folder, point, passes):
    def run(**env):
        started = Started(["begin"], partial(begin, str(folder)), {**os.environ, **env}, folder)
        return finished(started, within_s=WITHIN_S).returncode

    assert run(LAKERAY_FAILPOINTS=f"{point}=kill:{passes}") == -9
    assert run() == 0
    lake = connect(folder)
    [summary] = lake.backfills.list()
    assert summary.state == "succeeded"
    assert sum(output["metrics"]["rows_written"] for output in outputs_of(lake)) == 24, "what gates judge"
    lake.run(folder / "orders.yaml", steps=["ingest"]).result(timeout=WITHIN_S)
    assert ids(folder) == EVERYTHING


def test_a_run_does_not_take_a_partition_for_its_own(folder):
    """What a process that died left of a backfill is not what `lakeray run` carries on."""

    def run(**env):
        started = Started(["begin"], partial(begin, str(folder)), {**os.environ, **env}, folder)
        return finished(started, within_s=WITHIN_S).returncode

    assert run(LAKERAY_FAILPOINTS="before_effect=kill:1") == -9
    lake = connect(folder)
    summary = lake.run(folder / "orders.yaml", steps=["ingest"]).result(timeout=WITHIN_S)
    assert not summary.run_id.startswith("backfill-")
    assert run() == 0
    assert ids(folder) == EVERYTHING


def test_another_owner_of_the_state_drives_the_partitions(folder):
    """`lakeray up` owns the state: the backfill is watched from here."""
    lake = connect(folder)
    settings = Settings(executor="inline", state=f"sqlite:///{folder}/state.db")
    workers = DurableBackfill(backfill_id="", settings=settings, cluster=Cluster(settings))._workers
    with open_state(settings.state) as store:
        owner = Orchestrator(store, owner="up", clock=utc_now, adopt=workers)
        owner.open()
        try:
            run = lake.backfill(folder / "orders.yaml", step="count", **MONTHS)
            assert run.result(timeout=WITHIN_S).state == "succeeded"
        finally:
            owner.close()
