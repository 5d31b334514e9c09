"""Killing `lakeray run` at named points on a real S3 server loses nothing and repeats nothing.

Crash points: KILLED_AT, on the second pass where there is one, so that a batch is recorded already. `make chaos` goes
through all of them.
"""

from __future__ import annotations

import pytest

from tests.sample_lake import SampleLake, data_files, live

pytestmark = pytest.mark.s3

KILLED_AT = (
    "after_manifest",
    "task_staged:2",
    "after_result",
    "before_commit:2",
    "commit_reply",
    "after_commit:2",
    "after_quarantine_commit",
    "after_ledger_commit",
)


@pytest.fixture
def lake(tmp_path, s3_server, cloud_environment):
    cloud_environment(s3_server.env)
    lake = SampleLake(root=s3_server.new_bucket(), folder=tmp_path)
    for number in range(5):
        lake.add(f"2024/{number:02d}.json")
    return lake


@pytest.mark.parametrize("point", KILLED_AT)
def test_kill(lake, point):
    name, _, count = point.partition(":")
    killed = lake.run(LAKERAY_FAILPOINTS=f"{name}=kill:{count or 1}")
    assert killed.returncode == -9, killed.stdout + killed.stderr
    lake.add("2023/late.json")
    lake.import_well()
    lake.check()
    for uri in (lake.table_uri, lake.quarantine_uri):
        orphans = data_files(uri) - live(uri)
        assert set(lake.connect().table(uri).vacuum(0, dry_run=False)) == orphans
        assert data_files(uri) == live(uri)
    lake.check()


def test_a_lost_reply_repeats_nothing(lake):
    done = lake.run(LAKERAY_FAILPOINTS="commit_reply=error:2")
    assert done.returncode == 0, done.stdout
    lake.check()
    assert lake.import_well().steps[0].imported.batches == []
