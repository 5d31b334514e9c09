"""Delta tables behave alike on local disk, S3 and Azure."""

from __future__ import annotations

import datetime as dt
import threading
import time
import uuid
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pytest
from deltalake import DeltaTable, QueryBuilder

from lakeray.delta.commit import commit_once, record_rows
from lakeray.delta.files import data_files
from lakeray.delta.rewrite import Rewrite, commit_rewrite
from lakeray.delta.table import TableHandle, add_columns, create_table, open_table, require_table
from lakeray.delta.upkeep import history, live_files, restore, restores_since
from lakeray.delta.vacuum import vacuum
from lakeray.delta.writer import StagedWriter
from lakeray.errors import AccessDenied, ObjectError, ObjectNotFound, StoreUnavailable
from lakeray.importer.upkeep.log import clean_log, write_checkpoint
from lakeray.importer.upkeep.optimize import optimize
from lakeray.importer.upkeep.work import Wish
from lakeray.objects import delta_uri, open_store, storage_options
from tests.servers import S3Server

SCHEMA = pa.schema([("n", pa.int64()), ("p", pa.string())])
NASTY = ["a b/%é", "x=y", "+", "plain", None]


def stage(uri: str, numbers: list[int], values: list[str | None]) -> list[Any]:
    writer = StagedWriter(uri, schema=SCHEMA, partition_by=["p"], prefix=f"part-{uuid.uuid4().hex}")
    writer.write(pa.table({"n": numbers, "p": pa.array(values, pa.string())}))
    return writer.close()


def rows(uri: str) -> list[tuple[int, str | None]]:
    table = DeltaTable(delta_uri(uri), storage_options=storage_options(uri))
    found = pa.table(QueryBuilder().register("t", table).execute("SELECT n, p FROM t").read_all())
    return sorted(zip(found["n"].to_pylist(), found["p"].to_pylist(), strict=True))


def test_a_tables_life(lake_root: str) -> None:
    uri = f"{lake_root}silver/orders x"
    assert open_table(uri) is None
    created = create_table(uri, SCHEMA, ["p"], {"lakeray.pipeline": "p"})
    assert create_table(uri, SCHEMA, ["p"]).id == created.id
    files = stage(uri, list(range(5)), NASTY)
    first = commit_once(uri, app_id="a", number=1, previous=None, files=files, metadata={"lakeray.result": "r"})
    assert (first.version, first.won) == (1, True)
    again = commit_once(uri, app_id="a", number=1, previous=None, files=stage(uri, list(range(5)), NASTY))
    assert (again.won, again.metadata["lakeray.result"]) == (False, "r")
    commit_once(uri, app_id="a", number=2, previous=1, files=stage(uri, [9], ["plain"]))
    wanted = sorted([*zip(range(5), NASTY, strict=True), (9, "plain")])
    assert rows(uri) == wanted
    assert optimize(uri).files_removed == 2
    assert rows(uri) == wanted
    orphans = vacuum(uri, 0, dry_run=False)
    assert len(orphans) == len(NASTY) + 2
    assert rows(uri) == wanted
    store = open_store(uri)
    held = [name for page in store.list(uri + "/") for name in page["uri"].to_pylist() if name.endswith(".parquet")]
    assert sorted(held) == sorted(f"{uri}/{file.path}" for file in live_files(uri))
    version = require_table(uri).version
    commit_once(uri, app_id="a", number=3, previous=2, files=stage(uri, [1], ["new"]), mode="overwrite")
    assert rows(uri) == [(1, "new")]
    restore(uri, version)
    assert [one.to_version for one in restores_since(uri, version)] == [version]
    assert rows(uri) == wanted
    assert history(uri, 1)[0].operation == "RESTORE"
    assert add_columns(uri, [pa.field("more", pa.int64())]).schema.names == ["n", "p", "more"]
    assert record_rows(uri, pa.table({"n": [7], "p": ["q"], "more": [1]}), app_id="l", number=1).won


def test_racing_writers_of_the_same_batches_repeat_nothing(lake_root: str) -> None:
    uri = f"{lake_root}t"
    wins: list[int] = []
    gate = threading.Barrier(3)

    def importer() -> None:
        gate.wait()
        create_table(uri, SCHEMA, ["p"])
        for number in range(1, 6):
            files = stage(uri, [number], ["x"])
            done = commit_once(uri, app_id="a", number=number, previous=number - 1 or None, files=files)
            if done.won:
                wins.append(number)

    threads = [threading.Thread(target=importer) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(wins) == [1, 2, 3, 4, 5]
    assert rows(uri) == [(number, "x") for number in range(1, 6)]


def test_racing_rewrites_and_appends_on_one_table_lose_and_repeat_nothing(lake_root: str) -> None:
    """Two rewriters replace every file again and again beside an appender; each row stays there once."""
    uri = f"{lake_root}t"
    create_table(uri, SCHEMA, ["p"])
    commit_once(uri, app_id="first", number=1, previous=None, files=stage(uri, list(range(5)), NASTY))
    gate = threading.Barrier(3)
    wins: list[tuple[str, int]] = []

    def again(handle: TableHandle) -> Rewrite:
        table = DeltaTable(delta_uri(uri), version=handle.version, storage_options=storage_options(uri))
        found = pa.table(QueryBuilder().register("t", table).execute("SELECT n, p FROM t").read_all())
        adds = stage(uri, found["n"].to_pylist(), found["p"].to_pylist())
        return Rewrite(adds=adds, removes=data_files(handle))

    def rewriter(name: str) -> None:
        gate.wait()
        for number in range(1, 4):
            done = commit_rewrite(
                uri, app_id=name, number=number, previous=None, plan=again, operation="WRITE", concerns=bool
            )
            wins.append((name, done.version))

    def appender() -> None:
        gate.wait()
        for number in range(1, 6):
            files = stage(uri, [10 + number], ["x"])
            commit_once(uri, app_id="appender", number=number, previous=number - 1 or None, files=files)

    threads = [threading.Thread(target=rewriter, args=(name,)) for name in ("one", "two")]
    threads.append(threading.Thread(target=appender))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({version for _, version in wins}) == len(wins) == 6
    assert rows(uri) == sorted([*zip(range(5), NASTY, strict=True), *((10 + n, "x") for n in range(1, 6))])


def test_optimize_in_order_keeps_rows_beside_an_appender(lake_root: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Small files are put together, then rows put in order, the second time through scratch files."""
    uri = f"{lake_root}a b/t"
    create_table(uri, SCHEMA, ["p"])
    for number in range(1, 4):
        files = stage(uri, [number * 10 + place for place in range(5)], NASTY)
        commit_once(uri, app_id="a", number=number, previous=number - 1 or None, files=files)
    wanted = rows(uri)
    ended = threading.Event()

    def appender() -> None:
        for number in range(4, 8):
            commit_once(uri, app_id="a", number=number, previous=number - 1, files=stage(uri, [number], ["x"]))
        ended.set()

    thread = threading.Thread(target=appender)
    thread.start()
    while not ended.is_set():
        optimize(uri)
    thread.join()
    wanted = sorted([*wanted, *((number, "x") for number in range(4, 8))], key=repr)
    assert sorted(rows(uri), key=repr) == wanted
    monkeypatch.setattr("lakeray.importer.upkeep.sort._PART_SHARE", 2**40)  # nothing fits
    done = optimize(uri, Wish(z_order=("n",)))
    assert (done.given_up, done.commits) == (0, 1)
    assert sorted(rows(uri), key=repr) == wanted
    held = [name for page in open_store(uri).list(f"{uri}/") for name in page["uri"].to_pylist()]
    assert not [name for name in held if "_lakeray/optimize" in name], "scratch files are gone"
    assert write_checkpoint(uri) == done.version
    assert clean_log(uri, now=dt.datetime.now(dt.UTC) + dt.timedelta(days=40)).deleted > 0
    assert sorted(rows(uri), key=repr) == wanted
    vacuum(uri, 0, dry_run=False)
    assert sorted(rows(uri), key=repr) == wanted


def within(seconds: float, work: Callable[[], Any]) -> Exception:
    """The ObjectError that ``work`` raises in time."""
    started = time.monotonic()
    with pytest.raises(ObjectError) as caught:
        work()
    assert time.monotonic() - started < seconds
    assert caught.value.hint
    return caught.value


@pytest.mark.s3
def test_s3_refusals_are_told_in_time(s3_server: S3Server, cloud_environment: Callable[[dict[str, str]], None]) -> None:
    cloud_environment(s3_server.env)
    uri = f"{s3_server.new_bucket()}t"
    create_table(uri, SCHEMA)
    assert isinstance(within(10, lambda: open_table("s3://no-such-bucket-here/t")), ObjectNotFound)
    if s3_server.kind == "radosgw":
        cloud_environment({**s3_server.env, "AWS_SECRET_ACCESS_KEY": "wrong"})
        assert isinstance(within(10, lambda: open_table(uri)), AccessDenied)
        assert isinstance(within(10, lambda: open_table(uri + "-absent")), AccessDenied)
    if s3_server.stranger:
        cloud_environment(s3_server.stranger())
        assert isinstance(within(10, lambda: open_table(uri)), AccessDenied)
    cloud_environment({**s3_server.env, "AWS_ENDPOINT_URL": "http://127.0.0.1:9"})
    assert isinstance(within(10, lambda: open_table(uri)), StoreUnavailable)
