"""The same workflow on one local Ray: both ways of running tasks, dying workers, a death of the whole process group."""

from __future__ import annotations

import pytest

import lakeray
from lakeray.config import Settings
from lakeray.importer.recording.ledger import latest
from lakeray.objects import open_store
from tests.sample_lake import SampleLake

pytestmark = pytest.mark.ray


@pytest.fixture(scope="module")
def ray_lake():
    """A connection whose Ray lives as long as this module."""
    lake = lakeray.connect(settings=Settings(cpus=2))
    yield lake
    lake.close()


def connect(kind: str):
    return lakeray.connect(settings=Settings(cpus=2, executor=kind))


def sample(tmp_path, extra="", objects=6):
    lake = SampleLake(root=str(tmp_path / "lake"), folder=tmp_path, extra=extra, batch_objects=4)
    for number in range(objects):
        lake.add(f"{number:02d}.json")
    return lake


@pytest.mark.parametrize("kind", ["tasks", "dataset"])
def test_both_executors_import_exactly(tmp_path, ray_lake, kind):
    lake = sample(tmp_path)
    for _ in range(2):
        summary = connect(kind).run(lake.workflow).result(timeout=120)
        assert summary.state == "succeeded", summary.errors
        lake.check()
        lake.add("00-new.json") if len(lake.uris) == 6 else None


def test_a_backfill_on_ray_beside_a_run(tmp_path, ray_lake):
    lake = sample(tmp_path, objects=9)
    backfill = connect("tasks").backfill(lake.workflow, start="2000-01-01", end="2099-12-31", every="25 years")
    summary = connect("tasks").run(lake.workflow).result(timeout=120)
    assert summary.state == "succeeded", summary.errors
    assert backfill.result(timeout=120).state == "succeeded"
    lake.add("00-new.json")
    connect("tasks").run(lake.workflow).result(timeout=120)
    lake.check()


@pytest.mark.parametrize("kind", ["tasks", "dataset"])
@pytest.mark.parametrize(("hook", "word"), [("die_of_poison", "poison"), ("eat_memory", "hungry")])
def test_a_deadly_object_costs_itself_alone(tmp_path, ray_lake, kind, hook, word):
    lake = sample(tmp_path, extra=f"    apply: tests.hooks:{hook}")
    uri = lake.source_uri + "01-deadly.json"
    open_store(uri).put(uri, f'{{"id": 900, "amount": 1.5, "status": "paid", "note": "{word}"}}\n'.encode())
    for tries in (1, 2, 3):
        summary = connect(kind).run(lake.workflow).result(timeout=200)
        assert summary.state == "succeeded", summary.errors
        rows = latest(lake.read(lake.ledger_uri())).filter(f_uri(uri)).to_pylist()
        assert [(row["outcome"], row["tries"], row["error_code"]) for row in rows] == [
            ("poison" if tries == 3 else "failed", tries, "worker_died")
        ]
    assert connect(kind).run(lake.workflow).result(timeout=200).steps[0].imported.objects == {}
    open_store(uri).delete(uri)
    table = lake.read(lake.table_uri)
    assert sorted(table["id"].to_pylist()) == sorted(lake.ids.elements())


def f_uri(uri):
    import pyarrow.compute as pc

    return pc.equal(pc.field("uri"), uri)
