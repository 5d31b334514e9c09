"""Killing an import whose lists become child tables, at any named point, loses and repeats no row of any table.

Crash points: every name in ``lakeray.failpoints.EVERY_IMPORT``, and those of ``CHILDREN`` before and behind the commit
to each of two child tables of each batch (passes 1 to 4), on appends and overwrites. After the kill one more run must
bring all tables, quarantine and ledger to what the oracle says.
"""

from __future__ import annotations

import pytest

from lakeray.failpoints import CHILDREN, EVERY_IMPORT, NEW_COLUMNS
from lakeray.objects import open_store
from tests.nested_lake import NestedLake


@pytest.fixture
def lake(tmp_path):
    lake = NestedLake.at(str(tmp_path / "lake"), tmp_path)
    for number in range(5):
        lake.add(f"2024/{number:02d}.json")
    return lake


def kill_and_go_on(lake, name, count):
    killed = lake.run(LAKERAY_FAILPOINTS=f"{name}=kill:{count}")
    assert killed.returncode == -9, killed.stdout + killed.stderr
    lake.run_to_the_end()
    lake.check()


@pytest.mark.parametrize("name", EVERY_IMPORT)
def test_kill(lake, name):
    kill_and_go_on(lake, name, 2)


@pytest.mark.parametrize("name", CHILDREN)
@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_kill_between_the_commits_of_a_batch(lake, name, count):
    kill_and_go_on(lake, name, count)
    lake.add("2023/late.json")
    lake.run_to_the_end()
    lake.check()


@pytest.mark.parametrize("name", [*CHILDREN, "before_commit", "commit_reply", "after_commit"])
def test_kill_an_overwrite(tmp_path, name):
    lake = NestedLake.at(str(tmp_path / "lake"), tmp_path, mode="overwrite")
    for number in range(3):
        lake.add(f"2024/{number:02d}.json")
    lake.run_to_the_end()
    lake.add("2024/01.json")  # another version of it
    killed = lake.run(LAKERAY_FAILPOINTS=f"{name}=kill")
    assert killed.returncode == -9, killed.stdout + killed.stderr
    lake.run_to_the_end()
    assert lake.table_ids() == lake.ids
    assert lake.held() == lake.expected()


@pytest.mark.parametrize("name", NEW_COLUMNS)
def test_kill_while_a_child_gets_a_column(lake, name):
    lake.run_to_the_end()
    uri = lake.add("2024/99.json", rows=10)

    open_store(uri).put(uri, open_store(uri).read(uri).replace(b'"sku"', b'"ean": 1, "sku"'))
    killed = lake.run(LAKERAY_FAILPOINTS=f"{name}=kill")
    assert killed.returncode == -9, killed.stdout + killed.stderr
    lake.run_to_the_end()
    lake.check()
    assert "ean" in lake.read(lake.uri_of("items")).column_names


def test_a_lost_reply_of_a_childs_commit_repeats_nothing(lake):
    done = lake.run(LAKERAY_FAILPOINTS="after_child_commit=error:3")
    assert done.returncode == 0, done.stderr
    lake.check()
