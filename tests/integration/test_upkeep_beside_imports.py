"""Upkeep on Ray beside imports and merges, killed at its failpoints, loses and repeats nothing.

Crash points: optimize_staged, optimize_committed, log_entry_deleted, in the process that drives an optimize while
importers run; a worker killed in the middle of its task.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from itertools import pairwise

import pyarrow as pa
import pytest

from lakeray.config import Settings
from lakeray.delta.files import data_files
from lakeray.delta.table import require_table
from lakeray.lake import Lake
from lakeray.objects import join, open_store
from lakeray.observability.progress import Silent
from tests.sample_lake import SampleLake, finished, killed_at_the_end, live
from tests.sample_lake import data_files as files_in

UPKEEP = """
import datetime as dt, sys
from lakeray.importer.upkeep import optimize as m
from lakeray.importer.upkeep.log import clean_log, write_checkpoint
from lakeray.importer.upkeep.work import Wish
uri = sys.argv[1]
m.GROUPS_A_COMMIT = 1
for _ in range(int(sys.argv[2])):
    m.optimize(uri, Wish(z_order=("id",)))
    write_checkpoint(uri)
    clean_log(uri, now=dt.datetime.now(dt.UTC) + dt.timedelta(days=40))
"""


@pytest.fixture(params=["local", pytest.param("s3", marks=pytest.mark.s3)])
def root(request, tmp_path, cloud_environment):
    """An empty prefix on local disk, then on S3."""
    if request.param == "local":
        return str(tmp_path / "lake")
    server = request.getfixturevalue("s3_server")
    cloud_environment(server.env)
    return server.new_bucket()


def upkeep(lake, failpoint, *, rounds):
    """Optimize, checkpoint and clean the log again and again, until the failpoint kills."""
    env = {**os.environ, "LAKERAY_FAILPOINTS": failpoint}
    command = [sys.executable, "-c", UPKEEP, lake.table_uri, str(rounds)]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode in (0, -signal.SIGKILL), done.stdout + done.stderr
    return done.returncode != 0


def check(lake):
    """Rows, refused rows and ledger are as they must be; of the commits the log no longer tells all."""
    assert lake.table_ids() == lake.ids
    assert lake.quarantined() == lake.refused
    lake.check_ledger()


@pytest.mark.parametrize("point", ["optimize_staged", "optimize_committed", "log_entry_deleted"])
def test_killed_again_and_again_beside_an_import(tmp_path, root, point):
    """Entries of the log go only up to where the last batch looked for RESTOREs: upkeep then may end unkilled."""
    lake = SampleLake(root=root, folder=tmp_path, batch_objects=1)
    lake.add("00.json")
    lake.import_well()
    for number in range(1, 7):
        lake.add(f"{number:02d}.json")
    importer = lake.start()
    kills = 0
    with killed_at_the_end(importer):
        while importer.poll() is None or not kills:
            killed = upkeep(lake, f"{point}=kill:{1 + kills % 2}", rounds=3)
            assert killed or point == "log_entry_deleted"
            kills += killed
            if importer.poll() is not None and not killed:
                lake.add(f"more{require_table(lake.table_uri).version}.json", rows=2)
                lake.import_well()  # a batch remembers how far it has looked for RESTOREs
        done = finished(importer)
    assert done.returncode == 0, done.stdout + done.stderr
    check(lake)
    lake.add("late.json")
    lake.import_well()
    check(lake)
    orphans = files_in(lake.table_uri) - live(lake.table_uri)
    assert any("optimized-" in path for path in orphans) or point != "optimize_staged"


@pytest.mark.ray
@pytest.mark.parametrize("kind", ["tasks", "dataset"])
def test_many_workers_put_a_table_in_order(tmp_path, kind):
    lake = SampleLake(root=str(tmp_path / "lake"), folder=tmp_path, batch_objects=1)
    for number in range(6):
        lake.add(f"{number:02d}.json", rows=400)
    lake.import_well()
    on_ray = Lake(Settings(executor=kind, cpus=2, task_memory_bytes=32 * 2**20), Silent())
    try:
        table = on_ray.table(lake.table_uri)
        assert table.optimize()["files_removed"] == 6
        lake.check()
        assert table.optimize(z_order=["id"], target_size=2_000)["files_added"] > 1
        lake.check()
        found = table.profile()
        assert found.rows == sum(lake.table_ids().values())
        (ids,) = [column for column in found.columns if column.name == "id"]
        assert ids.distinct == pytest.approx(found.rows, rel=0.05)
    finally:
        on_ray.close()
    bounds = [file.bounds["id"] for file in data_files(require_table(lake.table_uri), ["id"])]
    bounds.sort(key=lambda bound: bound.low)
    assert all(one.high <= other.low for one, other in pairwise(bounds))


def test_a_merge_and_an_optimize_at_once_end_as_one_after_the_other(tmp_path):
    """Whoever commits second sees the other: the merge plans again, the optimize gives up what was changed."""
    root = str(tmp_path / "lake")
    uri = join(root, "orders")
    raw = join(root, "raw", "")
    text = f"""
workflow: m
sources: {{s: {{uri: "{raw}", format: json}}}}
tables: {{t: {{uri: "{uri}"}}}}
steps:
  ingest:
    import: {{from: s, into: t, mode: merge, key: [id], sequence: at, batch: {{max_objects: 1}}}}
"""
    file = tmp_path / "m.yaml"
    file.write_text(text)
    for number in range(8):
        lines = "".join(f'{{"id": {row % 20}, "at": {number * 100 + row}, "v": {number}}}\n' for row in range(15))
        open_store(raw).put(f"{raw}{number}.json", lines.encode())
    run = [sys.executable, "-m", "lakeray", "run", str(file)]
    env = {**os.environ, "LAKERAY_EXECUTOR": "inline"}
    merging = subprocess.Popen(run, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    rounds = 0
    with killed_at_the_end(merging):
        lake = Lake(Settings(executor="inline"), Silent())
        while merging.poll() is None:
            if os.path.exists(f"{uri}/_delta_log/{1:020d}.json"):  # noqa: PTH110
                lake.table(uri).optimize(z_order=["id"])
                rounds += 1
        assert merging.wait() == 0, merging.stdout.read()
    assert rounds
    found = pa.table(require_table(uri).delta.to_pyarrow_table()).select(["id", "v"]).to_pylist()
    assert sorted((row["id"], row["v"]) for row in found) == [(number, 7) for number in range(15)]
