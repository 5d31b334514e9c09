"""A table mirrors its source on Ray and on S3 as it does here, also when the run is killed in between.

Crash points: ``after_take_out`` and ``after_commit``, with tasks on Ray.
"""

from __future__ import annotations

import pytest

import lakeray
from lakeray.config import Settings
from lakeray.objects import join
from tests.sample_lake import SampleLake, read

MIRROR = ", changed_objects: replace, deleted_objects: delete, deletion_guard: 1"


def mirrored(root, folder):
    """Imported once; then objects change, go and come."""
    lake = SampleLake(root=root, folder=folder, source=MIRROR)
    for number in range(6):
        lake.add(f"{number:02d}.json")
    lake.import_well()
    lake.add("01.json")
    lake.add("04.json")
    lake.remove(join(lake.source_uri, "02.json"))
    lake.add("99.json")
    return lake


def check(lake):
    assert lake.table_ids() == lake.ids
    assert lake.quarantined() == lake.refused
    lake.check_folder()


@pytest.mark.ray
@pytest.mark.parametrize("kind", ["tasks", "dataset"])
def test_on_ray(tmp_path, kind):
    lake = mirrored(str(tmp_path / "lake"), tmp_path)
    connection = lakeray.connect(settings=Settings(cpus=2, executor=kind))
    try:
        summary = connection.run(lake.workflow).result(timeout=200)
        assert summary.state == "succeeded", summary.errors
        check(lake)
        lake.connect().table(lake.table_uri).optimize()
        batches = sorted({row["batch"] for row in connection.ledger(lake.workflow).show(limit=None).to_pylist()})
        assert connection.withdraw(lake.workflow, batches=batches).rows_removed == lake.ids.total()
        assert lake.table_ids().total() == 0
    finally:
        connection.close()


@pytest.mark.ray
@pytest.mark.parametrize("name", ["after_take_out", "after_commit"])
def test_killed_on_ray(tmp_path, name):
    lake = mirrored(str(tmp_path / "lake"), tmp_path)
    killed = lake.run(LAKERAY_EXECUTOR="tasks", LAKERAY_CPUS="2", LAKERAY_FAILPOINTS=f"{name}=kill")
    assert killed.returncode == -9, killed.stdout + killed.stderr
    done = lake.run(LAKERAY_EXECUTOR="tasks", LAKERAY_CPUS="2")
    assert done.returncode == 0, done.stdout + done.stderr
    check(lake)


@pytest.mark.s3
def test_on_s3(tmp_path, s3_server, cloud_environment):
    cloud_environment(s3_server.env)
    lake = mirrored(s3_server.new_bucket(), tmp_path)
    lake.import_well()
    check(lake)
    lake.connect().table(lake.table_uri).optimize()
    lake.remove(join(lake.source_uri, "99.json"))
    lake.import_well()
    check(lake)


@pytest.mark.s3
def test_a_delta_source_on_s3(tmp_path, s3_server, cloud_environment):
    """The changes of one table, merged into another, make the same table."""
    cloud_environment(s3_server.env)
    first = mirrored(s3_server.new_bucket(), tmp_path)
    copy = first.root.rstrip("/") + "/copy"
    operation = "{column: _change_type, insert: [insert], update: [update_postimage], delete: [delete]}"
    file = tmp_path / "copy.yaml"
    file.write_text(f"""
workflow: copy
sources:
  orders: {{uri: "{first.table_uri}", format: delta}}
tables:
  copy: {{uri: "{copy}"}}
steps:
  ingest:
    import: {{from: orders, into: copy, mode: merge, key: [id], sequence: _commit_version, operation: {operation}}}
""")
    first.table = ", change_data_feed: true"
    for name in ("00.json", "03.json"):
        first.import_well()
        summary = first.connect().run(file).result()
        assert summary.state == "succeeded", summary.errors
        rows = read(copy)
        assert sorted(rows["id"].to_pylist()) == sorted(first.ids.elements())
        first.remove(join(first.source_uri, name))
