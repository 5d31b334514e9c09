"""Optimize keeps every row, null, NaN and nested value; what races with it wins; a kill leaves only orphans.

Crash points: optimize_staged, optimize_committed, on the first and on a later commit.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake

from lakeray.delta.commit import commit_once
from lakeray.delta.files import data_files
from lakeray.delta.rewrite import Rewrite, commit_rewrite
from lakeray.delta.table import TableHandle, add_columns, create_table, require_table
from lakeray.delta.upkeep import history
from lakeray.delta.writer import StagedWriter
from lakeray.errors import StoreUnavailable, TableError, UnsupportedTable
from lakeray.importer.executor import Died, InlineExecutor, Task, Told
from lakeray.importer.upkeep import optimize as module
from lakeray.importer.upkeep.optimize import optimize
from lakeray.importer.upkeep.work import Wish
from tests.commands import python
from tests.unit.delta.readers import READERS, rows, with_delta_rs

NESTED = pa.struct([("x", pa.int64()), ("l", pa.list_(pa.field("element", pa.string())))])
SCHEMA = pa.schema([("n", pa.int64()), ("f", pa.float64()), ("s", pa.string()), ("o", NESTED), ("p", pa.string())])


def some(first: int, count: int = 5, part: str | None = "a b/é") -> pa.Table:
    numbers = list(range(first, first + count))
    return pa.table(
        {
            "n": [number if number % 7 else None for number in numbers],
            "f": [float("nan") if number % 5 == 0 else (None if number % 3 == 0 else number / 2) for number in numbers],
            "s": [f"text {number * 7919 % 1000}" for number in numbers],
            "o": [None if number % 4 == 0 else {"x": number, "l": ["é", None]} for number in numbers],
            "p": pa.array([part] * count, pa.string()),
        },
        schema=SCHEMA,
    )


def append(uri: str, table: pa.Table, number: int) -> None:
    handle = require_table(uri)
    writer = StagedWriter(uri, schema=handle.schema, partition_by=handle.partition_by, prefix=f"part-{number:05d}")
    writer.write(table)
    commit_once(uri, app_id="app", number=number, previous=None, files=writer.close())


@pytest.fixture
def uri(tmp_path: Path) -> str:
    """Six files in each of two partitions."""
    made = str(tmp_path / "t")
    create_table(made, SCHEMA, ["p"])
    for number in range(1, 13):
        append(made, some(number * 5, part="a b/é" if number % 2 else None), number)
    return made


def stray(uri: str) -> set[str]:
    """Data files that no version of the table names."""
    named = set()
    for entry in Path(uri, "_delta_log").glob("*.json"):
        for line in entry.read_text().splitlines():
            action = json.loads(line)
            named |= {unquote(action[kind]["path"]) for kind in ("add", "remove") if kind in action}
    return {str(path.relative_to(uri)) for path in Path(uri).rglob("*.parquet")} - named


def test_every_reader_finds_every_row_once_in_fewer_files(uri: str) -> None:
    before = with_delta_rs(uri)
    done = optimize(uri)
    assert (done.files_removed, done.files_added, done.commits, done.given_up) == (12, 2, 1, 0)
    assert require_table(uri).transaction_version("app") == 12
    for name, read in READERS.items():
        wanted = before if name != "duckdb" else before.drop_columns(["p"])
        assert rows(read(uri)) == rows(wanted), name
    again = optimize(uri)
    assert (again.files_removed, again.commits, again.version) == (0, 0, done.version)


def test_the_commit_says_that_no_row_changed(uri: str) -> None:
    done = optimize(uri)
    entry = Path(uri, "_delta_log", f"{done.version:020d}.json").read_text().splitlines()
    actions = [json.loads(line) for line in entry]
    files = [action.get("add") or action.get("remove") for action in actions if "commitInfo" not in action]
    assert len(files) == 14
    assert all(file["dataChange"] is False for file in files)
    assert history(uri, 1)[0].operation == "OPTIMIZE"
    assert not any("txn" in action for action in actions), "ids of optimizes would pile up in the log"


def test_new_files_have_full_statistics(uri: str) -> None:
    optimize(uri)
    for file in data_files(require_table(uri), ["n", "f", "s"]):
        assert file.rows == 30
        assert file.bounds["n"].low is not None
        assert file.bounds["n"].nulls
        assert file.bounds["f"].low is None, "it has a NaN"


def test_columns_that_came_later_stay(uri: str) -> None:
    add_columns(uri, [pa.field("more", pa.string())])
    append(uri, some(1000).append_column("more", pa.array(["m"] * 5)), 13)
    before = rows(with_delta_rs(uri))
    optimize(uri)
    assert rows(with_delta_rs(uri)) == before
    optimize(uri, Wish(z_order=("more", "n")))
    assert rows(with_delta_rs(uri)) == before


def test_z_order_in_memory_and_beyond_give_narrow_files(tmp_path: Path) -> None:
    """The second time no partition fits the task: rows go through scratch files, of which none stays."""
    uri = str(tmp_path / "t")
    create_table(uri, SCHEMA, [])
    random = np.random.default_rng(3)
    for number in range(1, 9):
        table = some(1, 4_000)
        a, b = random.integers(0, 10**6, 4_000), random.integers(0, 10**6, 4_000)
        table = table.set_column(0, "n", pa.array(a)).set_column(1, "f", pa.array(b / 2))
        append(uri, table, number)
    before = rows(with_delta_rs(uri))
    for memory, target in ((512 * 2**20, 40_000), (4 * 2**20, 40_000)):
        done = optimize(uri, Wish(z_order=("n", "f"), memory_bytes=memory, target_bytes=target))
        assert done.commits == 1
        assert rows(with_delta_rs(uri)) == before
        files = data_files(require_table(uri), ["n", "f"])
        assert len(files) >= 4
        for name, whole in (("n", 10**6), ("f", 10**6 / 2)):
            widths = [file.bounds[name].high - file.bounds[name].low for file in files]
            assert sum(widths) / len(widths) < 0.85 * whole
        assert not list(Path(uri, "_lakeray").rglob("*.parquet"))
    optimize(uri, Wish(z_order=("n",), target_bytes=40_000))
    ends = sorted((file.bounds["n"].low, file.bounds["n"].high) for file in data_files(require_table(uri), ["n"]))
    assert all(one[1] <= other[0] for one, other in pairwise(ends))


def test_memory_bounds_what_is_sorted_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from lakeray.delta.arrange import tasks

    uri = str(tmp_path / "t")
    create_table(uri, SCHEMA, [])
    for number in range(1, 9):
        append(uri, some(number * 10_000, 5_000), number)
    seen: list[int] = []
    plain = tasks.in_order
    monkeypatch.setattr(tasks, "in_order", lambda table, cuts: seen.append(table.nbytes) or plain(table, cuts))
    optimize(uri, Wish(z_order=("n",), memory_bytes=4 * 2**20))
    assert len(seen) > 4
    assert max(seen) <= 4 * 2**20 / 8


def test_many_commits_or_one(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "GROUPS_A_COMMIT", 1)
    wish = Wish(target_bytes=3 * max(file.size_bytes for file in data_files(require_table(uri))))
    before = rows(with_delta_rs(uri))
    done = optimize(uri, wish)
    assert done.commits > 2
    for number in range(13, 19):
        append(uri, some(number * 5), number)
    assert optimize(uri, Wish(target_bytes=wish.target_bytes, one_commit=True)).commits == 1
    assert rows(with_delta_rs(uri)) == before + rows(pa.concat_tables(some(number * 5) for number in range(13, 19)))


class Beside(InlineExecutor):
    """Does something when the tasks have staged their files, before anything is committed."""

    def __init__(self, work: Callable[[], object]) -> None:
        self._work = work

    def run(self, tasks: Sequence[Task]) -> Iterator[Told]:
        yield from list(super().run(tasks))
        self._work()


def test_an_append_in_between_goes_on(uri: str) -> None:
    before = rows(with_delta_rs(uri))
    done = optimize(uri, executor=Beside(lambda: append(uri, some(900), 13)))
    assert (done.files_removed, done.given_up) == (12, 0)
    assert rows(with_delta_rs(uri)) == before + rows(some(900))


def test_a_group_that_another_writer_changed_is_given_up_alone(uri: str) -> None:
    def take_one(handle: TableHandle) -> Rewrite:
        chosen = next(file for file in data_files(handle) if file.partition["p"] is None)
        return Rewrite(removes=[chosen])

    def delete_one() -> None:
        commit_rewrite(uri, app_id="d", number=1, previous=None, plan=take_one, operation="DELETE")

    done = optimize(uri, executor=Beside(delete_one))
    assert (done.files_removed, done.files_added, done.given_up) == (6, 1, 1)
    assert with_delta_rs(uri).num_rows == 55, "what was deleted does not come back"
    assert not stray(uri), "files of the group that was given up are deleted"


def test_two_at_once_do_the_work_once(uri: str) -> None:
    before = rows(with_delta_rs(uri))
    done = optimize(uri, executor=Beside(lambda: optimize(uri)))
    assert (done.files_removed, done.given_up, done.commits) == (0, 2, 0)
    assert rows(with_delta_rs(uri)) == before
    assert not stray(uri)


def test_a_recreated_table_gets_nothing_of_the_old_one(uri: str) -> None:
    def again() -> None:
        write_deltalake(uri, pa.table({"n": ["other"]}), mode="overwrite", schema_mode="overwrite", partition_by=[])

    assert optimize(uri, executor=Beside(again)).given_up == 2
    assert with_delta_rs(uri).to_pylist() == [{"n": "other"}]


class Dies(InlineExecutor):
    """The worker of every task dies the first ``times`` times."""

    def __init__(self, times: int) -> None:
        self._times = times

    def run(self, tasks: Sequence[Task]) -> Iterator[Told]:
        self._times -= 1
        if self._times < 0:
            yield from super().run(tasks)
        else:
            yield from (Told(place, Died("killed")) for place in range(len(tasks)))


def test_a_task_whose_worker_died_is_done_again(uri: str) -> None:
    before = rows(with_delta_rs(uri))
    with pytest.raises(StoreUnavailable, match="died 3 times: killed"):
        optimize(uri, executor=Dies(3))
    assert optimize(uri, executor=Dies(2)).files_removed == 12
    assert rows(with_delta_rs(uri)) == before


def test_what_cannot_be_written_is_refused_by_name(uri: str, tmp_path: Path) -> None:
    with pytest.raises(TableError, match="no column 'x'"):
        optimize(uri, Wish(z_order=("x",)))
    mapped = str(tmp_path / "mapped")
    write_deltalake(mapped, pa.table({"n": [1]}))
    DeltaTable(mapped).alter.set_table_properties({"delta.enableRowTracking": "true"}, raise_if_not_exists=False)
    with pytest.raises(UnsupportedTable, match="row tracking"):
        optimize(mapped)


def test_an_append_only_table_with_a_change_feed_can_be_put_together(tmp_path: Path) -> None:
    uri = str(tmp_path / "t")
    create_table(uri, SCHEMA, [], {"delta.appendOnly": "true", "delta.enableChangeDataFeed": "true"})
    for number in (1, 2):
        append(uri, some(number * 5), number)
    assert optimize(uri).files_removed == 2
    feed = pa.table(DeltaTable(uri).load_cdf(starting_version=1).read_all())
    assert feed["_change_type"].to_pylist() == ["insert"] * 10, "readers of changes see none of it"


@pytest.mark.parametrize("point", ["optimize_staged", "optimize_committed"])
@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("z_order", [(), ("n",)])
def test_a_kill_leaves_only_orphans(uri: str, point: str, count: int, z_order: tuple[str, ...]) -> None:
    before = rows(with_delta_rs(uri))
    code = (
        "from lakeray.importer.upkeep import optimize as m\nfrom lakeray.importer.upkeep.work import Wish\n"
        f"m.GROUPS_A_COMMIT = 1\nm.optimize({uri!r}, Wish(z_order={z_order!r}))"
    )
    done = python(code, LAKERAY_FAILPOINTS=f"{point}=kill:{count}")
    assert done.returncode == -9, done.stderr
    assert rows(with_delta_rs(uri)) == before
    assert stray(uri) or point == "optimize_committed"
    assert all("optimized-" in path for path in stray(uri))
    optimize(uri, Wish(z_order=z_order))
    assert rows(with_delta_rs(uri)) == before
