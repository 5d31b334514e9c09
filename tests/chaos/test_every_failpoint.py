"""Killing `lakeray run` at every named failpoint on S3, and while batches come again after a RESTORE, repeats nothing.

Crash points: every name in ``lakeray.failpoints.EVERY_IMPORT``, on the
first and the second pass.
"""

from __future__ import annotations

import pytest

from lakeray.failpoints import EVERY_IMPORT
from tests.sample_lake import SampleLake

pytestmark = [pytest.mark.chaos, pytest.mark.s3]


@pytest.fixture
def lake(tmp_path, s3_server, cloud_environment):
    cloud_environment(s3_server.env)
    lake = SampleLake(root=s3_server.new_bucket(), folder=tmp_path, batch_objects=2)
    for number in range(4):
        lake.add(f"2024/{number:02d}.json")
    return lake


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("name", EVERY_IMPORT)
@pytest.mark.parametrize("restored", [False, True])
def test_kill(lake, name, count, restored):
    if restored:
        lake.plan = "on_restore: reimport"
        lake.import_well()
        lake.connect().table(lake.table_uri).restore(0)
    killed = lake.run(LAKERAY_FAILPOINTS=f"{name}=kill:{count}")
    assert killed.returncode == -9, killed.stdout + killed.stderr
    lake.import_well()
    lake.check()
