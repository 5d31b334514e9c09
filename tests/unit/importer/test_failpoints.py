"""Killing an import at any named point of the protocol loses nothing and repeats nothing.

Crash points: every name in ``lakeray.failpoints.EVERY_IMPORT``, on the first and on the second pass; after the kill one
more run must bring table, quarantine and ledger to what the oracle says. Ray plays no part here: the tasks run in the
killed process. What only reprocessing and rules over sets pass is in
``test_reprocess_kills`` and ``test_set_kills``.
"""

from __future__ import annotations

import pytest

from lakeray.failpoints import EVERY_IMPORT, NEW_COLUMNS
from tests.sample_lake import SampleLake


@pytest.fixture
def lake(tmp_path):
    lake = SampleLake(root=str(tmp_path / "lake"), folder=tmp_path)
    for number in range(7):
        lake.add(f"2024/{number:02d}.json")
    return lake


@pytest.mark.parametrize("name", EVERY_IMPORT)
@pytest.mark.parametrize("count", [1, 2])
def test_kill(lake, name, count):
    killed = lake.run(LAKERAY_FAILPOINTS=f"{name}=kill:{count}")
    assert killed.returncode == -9, killed.stdout + killed.stderr
    lake.run_to_the_end()
    lake.check()
    lake.add("2023/late.json")
    lake.run_to_the_end()
    lake.check()


@pytest.mark.parametrize("name", NEW_COLUMNS)
def test_kill_while_a_column_is_added(lake, name):
    lake.run_to_the_end()
    uri = lake.add("2024/99.json", rows=1)
    from lakeray.objects import open_store

    open_store(uri).put(uri, open_store(uri).read(uri).replace(b'"note"', b'"remark"'))
    killed = lake.run(LAKERAY_FAILPOINTS=f"{name}=kill")
    assert killed.returncode == -9, killed.stdout + killed.stderr
    lake.run_to_the_end()
    lake.check()
    assert "remark" in lake.read(lake.table_uri).column_names


def test_a_lost_reply_repeats_nothing(lake):
    done = lake.run(LAKERAY_FAILPOINTS="commit_reply=error:2")
    assert done.returncode == 0, done.stderr
    lake.check()


def test_a_second_run_imports_only_what_is_new(lake):
    lake.run_to_the_end()
    lake.check()
    before = lake.read(lake.table_uri).num_rows
    lake.run_to_the_end()
    assert lake.read(lake.table_uri).num_rows == before
    lake.add("2020/old-name.json")
    lake.run_to_the_end()
    lake.check()
